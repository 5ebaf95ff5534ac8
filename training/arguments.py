"""Arguments of a run in three dataclasses: the data, the model, and the training over `TrainingArguments`."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers import TrainingArguments


@dataclass
class DataArguments:
    """What to train, select and test on. Every field is a flag of the commands and a key of the recipes."""

    data: str | None = field(
        default=None,
        metadata={
            "help": "Audio with labels: a folder (AudioSet, FSD50K, ESC-50, Speech Commands, or a folder a class), "
            "a CSV or JSON manifest, a folder saved by `datasets`, or a data set on the Hub. Encoded on first use."
        },
    )
    codes: str | None = field(
        default=None, metadata={"help": "Folder of codes that were encoded before, instead of --data."}
    )
    eval_data: str | None = field(
        default=None, metadata={"help": "A separate source to test on; by default the test part of --data."}
    )
    eval_codes: str | None = field(default=None, metadata={"help": "The same, encoded before."})
    layout: str = field(
        default="auto", metadata={"help": "Layout of --data; found out by what lies there unless given."}
    )
    train_split: list[str] | None = field(
        default=None, metadata={"help": 'Splits to train on (default: those named "train").'}
    )
    eval_split: list[str] | None = field(
        default=None, metadata={"help": 'Splits to test on (default: those named "test").'}
    )
    train_folds: list[int] | None = field(default=None, metadata={"help": "Folds to train on, in data with folds."})
    eval_folds: list[int] | None = field(default=None, metadata={"help": "Folds to test on, in data with folds."})
    audio_column: str = field(
        default="audio", metadata={"help": "Column of a `datasets` data set that holds the audio."}
    )
    label_column: str = field(
        default="label", metadata={"help": "Column of a `datasets` data set or manifest with the label or labels."}
    )
    label_delimiter: str = field(
        default=";", metadata={"help": "What separates several labels of a clip in a manifest."}
    )
    codec: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id of the codec (default: that of the model, or the bundled one)."},
    )
    codec_revision: str | None = field(default=None, metadata={"help": "Revision of a codec on the Hub."})
    codec_type: str | None = field(
        default=None, metadata={"help": "Kind of a codec on the Hub: encodec (default), mimi, dac or xcodec2."}
    )
    codec_backend: str = field(
        default="transformers", metadata={"help": "encodec: --codec is an original checkpoint, run by that package."}
    )
    num_codebooks: int = field(default=4, metadata={"help": "Rows of codes to encode and keep: C1 to C4 by default."})
    max_length_s: float = field(
        default=10.0, metadata={"help": "Seconds of a clip that are used; what lies behind is cut, and counted."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where codes of --data are kept (default: in the user's cache folder)."}
    )
    max_rejected_share: float = field(
        default=0.01, metadata={"help": "Share of clips that may be unreadable before the run stops with their list."}
    )
    held_out_share: float = field(
        default=0.1, metadata={"help": "Share of the training clips, stratified, that selects the best checkpoint."}
    )
    select_on_eval: bool = field(
        default=False,
        metadata={
            "help": "Select the checkpoint on the test clips, as the paper does: its metric is then optimistic."
        },
    )
    max_train_clips: int | None = field(
        default=None, metadata={"help": "Train on the first so many clips only, to try a recipe."}
    )

    def __post_init__(self) -> None:
        _check_range("max_rejected_share", self.max_rejected_share, 0, 1)
        if not 0 < self.held_out_share < 1:
            raise ValueError(f"`held_out_share` must be in (0, 1), got {self.held_out_share}.")
        if self.max_length_s <= 0:
            raise ValueError(f"`max_length_s` must be more than 0 seconds, got {self.max_length_s}.")
        if self.num_codebooks < 1:
            raise ValueError(f"`num_codebooks` must be at least 1, got {self.num_codebooks}.")
        if self.max_train_clips is not None and self.max_train_clips < 1:
            raise ValueError(f"`max_train_clips` must be at least 1, got {self.max_train_clips}.")


@dataclass
class ModelArguments:
    """Which model to start from, or the sizes of a fresh one, and how to fine-tune it."""

    model: str | None = field(
        default=None,
        metadata={"help": "Folder or Hub id to start from; without it a fresh model of the sizes below is made."},
    )
    model_revision: str | None = field(default=None, metadata={"help": "Revision of a model on the Hub."})
    hidden_size: int = field(default=768, metadata={"help": "Width of a fresh model."})
    num_hidden_layers: int = field(default=12, metadata={"help": "Layers of a fresh model."})
    num_attention_heads: int = field(default=12, metadata={"help": "Attention heads of a fresh model."})
    intermediate_size: int = field(default=3072, metadata={"help": "Feed-forward width of a fresh model."})
    dropout: float | None = field(
        default=None, metadata={"help": "Dropout of the layers (default: 0.1, or what the checkpoint says)."}
    )
    attention_dropout: float | None = field(
        default=None,
        metadata={"help": "Dropout of the attention (the same); above 0 it keeps a CPU from its fast attention."},
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": '"sdpa", "eager", "flash_attention_2", ... (default: the best there is).'}
    )
    codebooks: list[int] | None = field(
        default=None,
        metadata={
            "help": "Rows of codes: pre-training makes one model for each (default: all rows, 0 1 2 3 = C1 to C4); "
            "fine-tuning reads one (default: the model's own, else 0 = C1)."
        },
    )
    method: Literal["ft1", "ft2"] = field(
        default="ft1",
        metadata={"help": "ft1: classification alone. ft2: classification and the multi-positive contrastive loss."},
    )
    teachers: list[str] | None = field(
        default=None,
        metadata={"help": "FT2: folders or Hub ids of the pre-trained models of the other rows, C2 to CN."},
    )
    classification_loss: Literal["lsep", "bce", "cross_entropy"] | None = field(
        default=None,
        metadata={"help": "Loss of the classifier (default: cross_entropy for one label a clip, lsep for several)."},
    )
    new_head: bool = field(
        default=False, metadata={"help": "Put a fresh classifier on a checkpoint that was trained for other labels."}
    )
    multi_label: bool | None = field(
        default=None, metadata={"help": "Whether a clip can have several labels (default: what the data says)."}
    )

    def __post_init__(self) -> None:
        for name in ("dropout", "attention_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        if self.method == "ft2" and not self.teachers:
            raise ValueError('`method` "ft2" needs `teachers`: the pre-trained models of the rows C2 to CN.')
        if self.codebooks is not None and (not self.codebooks or min(self.codebooks) < 0):
            raise ValueError(f"`codebooks` must be rows from 0 on, got {self.codebooks}.")


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """`TrainingArguments` of transformers, and what the trainers of every model family add. The additions are off in
    the recipes of papers.

    Raises:
        ValueError: If a value is outside its range, or two of them exclude each other.
    """

    # Batches carry more than the forward's arguments: the teachers' vectors, the seeds of the masking.
    remove_unused_columns: bool | None = field(default=False, metadata={"help": "Leave at False."})
    # Every parameter is used in every step, and looking for others costs a pass over the graph.
    ddp_find_unused_parameters: bool | None = field(default=False, metadata={"help": "Leave at False."})
    report_to: None | str | list[str] = field(
        default="none", metadata={"help": "Where to report besides the console and the output folder."}
    )
    layer_wise_lr_decay: float | None = field(
        default=None, metadata={"help": "Factor of the learning rate from each layer to the one below it, in (0, 1]."}
    )
    group_by_length: bool = field(
        default=True, metadata={"help": "Put clips of similar length into one batch, so that little is padded."}
    )
    shuffle_buffer_size: int | None = field(
        default=None,
        metadata={
            "help": "Shuffle shards of neighbouring clips, and this many clips at a time, so that a disk reads in few "
            "places (default: all clips at once, best where the codes fit into memory)."
        },
    )
    class_balanced_sampling: bool = field(
        default=False, metadata={"help": "Draw clips by the rarity of their classes, with replacement."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better metric."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Without a device to copy to, torch warns in every epoch.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        for name in ("early_stopping_patience", "shuffle_buffer_size"):
            _check_at_least_one(name, getattr(self, name))
        if self.layer_wise_lr_decay is not None and not 0 < self.layer_wise_lr_decay <= 1:
            raise ValueError(f"`layer_wise_lr_decay` must be in (0, 1], got {self.layer_wise_lr_decay}.")
        if self.push_to_hub:
            raise ValueError(
                "`push_to_hub` would upload during training what no check has seen: use `audioformer push` or "
                "`trainer.push_to_hub(license=...)` when it is finished."
            )
        if self.class_balanced_sampling and self.shuffle_buffer_size is not None:
            raise ValueError("`class_balanced_sampling` draws from all clips: it has no `shuffle_buffer_size`.")


@dataclass
class AudioFormerTrainingArguments(AudioTrainingArguments):
    """What masked-LM pre-training, FT1 and FT2 of AudioFormer add. The additions are off in the paper's recipes.

    Raises:
        ValueError: If a value is outside its range, or two of them exclude each other.
    """

    mask_probability: float = field(default=0.25, metadata={"help": "Pre-training: share of the codes to predict."})
    replace_probability: float = field(
        default=0.8, metadata={"help": "Pre-training: share of these hidden by <MASK>."}
    )
    random_probability: float = field(
        default=0.1, metadata={"help": "Pre-training: share of these replaced by a random code; the rest stay."}
    )
    mask_span_length: int = field(
        default=1, metadata={"help": "Pre-training: neighbouring codes hidden together; 1 hides them one by one."}
    )
    crop_frames: int | None = field(
        default=None, metadata={"help": "Train on a random stretch of so many codes of a longer clip (75 a second)."}
    )
    classification_weight: float = field(
        default=0.95,
        metadata={"help": "FT2: weight of the classification loss; the contrastive one has the rest (Eq. 9)."},
    )
    mpc_temperature: float = field(
        default=0.05, metadata={"help": "FT2: temperature tau of the contrastive loss (Eq. 8)."}
    )
    gather_across_devices: bool = field(
        default=True, metadata={"help": "FT2: negatives come from the batches of all processes."}
    )
    online_teachers: bool = field(
        default=False, metadata={"help": "FT2: run the frozen models in every step, needed where the data changes."}
    )
    teacher_cache_dir: str | None = field(
        default=None,
        metadata={"help": "FT2: where the frozen models' vectors are kept (default: in the output folder)."},
    )
    mixup_alpha: float = field(
        default=0.0,
        metadata={"help": "Mix the code embeddings of pairs of clips, with shares from Beta(alpha, alpha)."},
    )
    packed: bool = field(
        default=False, metadata={"help": "Join the clips of a batch without padding; needs flash_attention_2."}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("replace_probability", "random_probability", "classification_weight"):
            _check_range(name, getattr(self, name), 0, 1)
        if not 0 < self.mask_probability <= 1:
            raise ValueError(f"`mask_probability` must be in (0, 1], got {self.mask_probability}.")
        if self.replace_probability + self.random_probability > 1 + 1e-9:
            raise ValueError(
                "`replace_probability` and `random_probability` must not sum to more than 1, got "
                f"{self.replace_probability} and {self.random_probability}."
            )
        for name in ("mask_span_length", "crop_frames"):
            _check_at_least_one(name, getattr(self, name))
        if self.mpc_temperature <= 0:
            raise ValueError(f"`mpc_temperature` must be more than 0, got {self.mpc_temperature}.")
        if self.mixup_alpha < 0:
            raise ValueError(f"`mixup_alpha` must be at least 0 (0 turns it off), got {self.mixup_alpha}.")
        if self.packed and self.mixup_alpha:
            raise ValueError("`packed` and `mixup_alpha` exclude each other: packed clips are not aligned.")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ValueError(f"`{name}` must be in [{low}, {high}], got {value}.")


def _check_at_least_one(name: str, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"`{name}` must be at least 1, got {value}.")
