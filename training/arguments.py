"""The settings of a run: data, model and training, one dataclass each.

Every field is a flag of the commands and a key of the recipes. Its metadata say what it does (`help`), which commands
take it (`commands`), whether it names something on disk or on the Hub (`path`), and which field of the model's
configuration it sets (`config`). Settings specific to a model family are in the family's own dataclass.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from transformers import TrainingArguments
from transformers.utils import is_bitsandbytes_available

from audioformer.data.audio import ReadingSettings
from audioformer.data.audio.augmentation import Augmentation
from audioformer.data.audio.windows import MAX_GAIN_DB
from audioformer.data.group_patterns import compile_group_pattern

from .ranges import DROPOUT, SEED, SHARE, Range, at_least, check_ranges, more_than

PRETRAIN, FINETUNE, EVALUATE, PROBE = "pretrain", "finetune", "evaluate", "probe"
TRAIN = (PRETRAIN, FINETUNE)
DIVIDE = (PRETRAIN, FINETUNE, PROBE)
"""Commands that train on some clips of the data and not on others."""
TEST = (FINETUNE, EVALUATE, PROBE)
RUN = (PRETRAIN, FINETUNE, EVALUATE)
ALL = (PRETRAIN, FINETUNE, EVALUATE, PROBE)
READING = ("max_length_s", "long_files", "keep_silent")
"""Settings of how audio is read; codes that exist already were made with their own."""


class SettingMetadata(dict[str, Any]):
    """Metadata of a field. `HfArgumentParser` passes everything listed to argparse, which only knows the help."""

    def keys(self) -> Any:
        return {"help": None}.keys()


def setting(default: Any, help: str, commands: tuple[str, ...] = ALL, **metadata: Any) -> Any:
    """A field of one of the dataclasses here.

    Args:
        default: Value if neither a recipe nor a flag sets it.
        help (`str`): What it does, for `--help`.
        commands (`tuple[str, ...]`, defaults to all): Commands that take it.
        metadata: `path="any"` for a folder, a file or a Hub id that must exist, `path="local"` where it cannot be on
            the Hub; `config="name"` for a field of the configuration, `fresh=True` if only of a fresh model's;
            `range` for a number, see [`Range`].
    """
    return field(default=default, metadata=SettingMetadata(help=help, commands=commands, **metadata))


def commands_of(entry: dataclasses.Field) -> tuple[str, ...]:
    """The commands that take a field; those that `TrainingArguments` itself declares are for training."""
    return entry.metadata.get("commands", TRAIN)


@dataclass
class DataArguments:
    """What to train, select and test on."""

    data: str | None = setting(
        None,
        "Audio with labels: a folder (AudioSet, FSD50K, ESC-50, Speech Commands, or one sub-folder per class), a CSV "
        "or JSON manifest, a folder saved by `datasets`, or a data set on the Hub.",
        path="any",
    )
    eval_data: str | None = setting(
        None, "Separate source to test on (default: the test part of --data).", TEST, path="any"
    )
    layout: str = setting("auto", "Layout of --data; detected from its content by default.")
    train_split: list[str] | None = setting(None, 'Splits to train on (default: those named "train").', DIVIDE)
    eval_split: list[str] | None = setting(None, 'Splits to test on (default: those named "test").', TEST)
    train_folds: list[int] | None = setting(None, "Folds to train on, in data with folds.", DIVIDE)
    eval_folds: list[int] | None = setting(None, "Folds to test on, in data with folds.", TEST)
    audio_column: str = setting("audio", "Column of a `datasets` data set that holds the audio.")
    label_column: str = setting("label", "Column of a `datasets` data set or manifest that holds the labels.")
    label_delimiter: str = setting(";", "Separator between the labels of a clip in a manifest.")
    group_pattern: str | None = setting(
        None,
        "Regular expression, searched in the path of each clip relative to its source: its named group `group`, else "
        "its first group, is the recording or speaker, whose clips are never divided (default: groups of the data).",
    )
    max_length_s: float = setting(
        10.0, "Longest clip in seconds; see --long-files for longer ones.", range=more_than(0, "seconds")
    )
    long_files: Literal["windows", "cut"] = setting(
        "windows",
        "windows: longer files become windows of --max-length-s, all of which count; cut: only their beginning does.",
    )
    hop_s: float | None = setting(
        None,
        "Seconds from one window to the next; windows overlap if it is less than their length (default: it).",
        range=more_than(0),
    )
    keep_silent: bool = setting(False, "Keep clips in which no sample reaches one step of 16-bit audio.")
    max_rejected_share: float = setting(
        0.01, "Share of clips that may be unreadable before the run stops and lists them.", range=SHARE
    )
    max_missing_share: float | None = setting(
        None,
        "Share of the listed clips that may have no file (default: 0.01, and no class may lose all of its clips; any "
        "number in AudioSet).",
        range=SHARE,
    )
    held_out_share: float = setting(
        0.1,
        "Share of the training clips, stratified by class, that selects the best checkpoint.",
        DIVIDE,
        range=Range(0, 1, open_low=True, open_high=True),
    )
    select_on_eval: bool = setting(
        False,
        "Select the checkpoint on the test clips, as the paper does; the reported metric is then optimistic.",
        (FINETUNE,),
    )
    augment_copies: int = setting(
        0,
        "Augmented copies of each training clip: every epoch draws the clip itself or one of them (0 turns it off).",
        TRAIN,
        range=at_least(0),
    )
    augment_with: list[Literal["speed", "shift", "tilt", "noise", "gain"]] | None = setting(
        None, "What differs in the copies (default: speed shift tilt noise gain).", TRAIN
    )
    augment_speed: list[float] | None = setting(
        None, "Lowest and highest factor of speed and pitch, which change together (default: 0.8 1.25).", TRAIN
    )
    augment_tilt: float | None = setting(
        None,
        "Most that the spectrum is tilted, to duller or brighter sound, in [0, 1) (default: 0.5).",
        TRAIN,
        range=Range(0, 1, open_high=True),
    )
    augment_noise_db: list[float] | None = setting(
        None, "Lowest and highest level of white noise in dB against the RMS of the clip (default: -60 -20).", TRAIN
    )
    augment_gain_db: list[float] | None = setting(
        None, "Lowest and highest amplification in dB (default: -20 10).", TRAIN
    )
    augment_seed: int = setting(
        0, "Seed of the copies, apart from --seed: runs that differ in --seed share their codes.", TRAIN, range=SEED
    )
    gains: list[float] | None = setting(
        None,
        "Measure the test clips again with their waveforms amplified by each of these gains in dB, and print what is "
        "lost against 0 dB; needs audio, not codes.",
        (EVALUATE,),
        range=Range(-MAX_GAIN_DB, MAX_GAIN_DB, note="dB"),
    )
    streaming: bool = setting(
        False,
        "Read clips one after the other while training, without listing or storing them first: tar files in the "
        "WebDataset layout, a data set on the Hub, or any other source. Needs --max-steps; whole shards are held out.",
        (PRETRAIN,),
    )
    max_train_clips: int | None = setting(
        None, "Train on the first N clips only, to try a recipe.", TRAIN, range=at_least(1)
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.group_pattern is not None:
            compile_group_pattern(self.group_pattern)
        ReadingSettings(max_length_s=self.max_length_s, long_files=self.long_files, hop_s=self.hop_s)
        if self.gains is not None and not self.gains:
            raise ValueError("`gains` must name at least one gain in dB.")
        self._ranges_of_copies()

    @property
    def augmentation(self) -> Augmentation | None:
        """How augmented copies of training clips differ from them; `None` without copies."""
        return self._ranges_of_copies() if self.augment_copies else None

    def describe_copies(self) -> dict[str, Any] | None:
        """Number and settings of the augmented copies, for records and cards; `None` without copies."""
        return None if self.augmentation is None else {"copies": self.augment_copies, **self.augmentation.to_dict()}

    def copies_in_words(self) -> str | None:
        """The same for cards; `None` without copies."""
        return (
            None if self.augmentation is None else f"{self.augment_copies} of each clip: {self.augmentation.to_text()}"
        )

    def _ranges_of_copies(self) -> Augmentation:
        given = {name: getattr(self, f"augment_{name}") for name in ("speed", "tilt", "noise_db", "gain_db")}
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in {"changes": self.augment_with, **given}.items()
            if value is not None
        }
        return Augmentation(seed=self.augment_seed, **values)


@dataclass
class ModelArguments:
    """Which model to start from, and what kind of classifier it becomes."""

    family: str | None = setting(
        None, "Model family of a fresh model, where neither --model nor the recipe determines it.", TRAIN
    )
    model: str | None = setting(
        None, "Folder or Hub id to start from (default: a fresh model of the family's sizes).", path="any"
    )
    model_revision: str | None = setting(None, "Revision of a model on the Hub.")
    attn_implementation: str | None = setting(
        None, '"sdpa", "eager", "flash_attention_2", ... (default: the best available).'
    )
    classification_loss: Literal["lsep", "bce", "cross_entropy"] | None = setting(
        None,
        "Loss of the classifier (default: cross_entropy for one label per clip, lsep for several).",
        (FINETUNE,),
    )
    bce_reduction: Literal["mean", "sum"] = setting(
        "mean",
        "bce: sum over the classes of a clip (Eq. 6 of the paper), or their mean, smaller by the number of classes.",
        (FINETUNE,),
    )
    new_head: bool = setting(
        False, "Put a fresh classifier on a checkpoint that was trained for other labels.", (FINETUNE,)
    )
    multi_label: bool | None = setting(
        None, "Whether a clip can have several labels (default: what the data say).", (FINETUNE,)
    )

    @property
    def loading_options(self) -> dict[str, Any]:
        """Keywords of `from_pretrained` for the model to start from."""
        return {"revision": self.model_revision or "main", "attn_implementation": self.attn_implementation}


@dataclass
class FamilyArguments:
    """Settings specific to one model family: the sizes of a fresh model, its front end, its methods.

    Raises:
        ValueError: If a number is outside its range.
    """

    def __post_init__(self) -> None:
        check_ranges(self)

    def config_values(self, fresh: bool) -> dict[str, Any]:
        """Fields of the model's configuration that these settings determine.

        Args:
            fresh (`bool`): Whether the model is a fresh one; otherwise its sizes are those of the checkpoint.
        """
        values = {}
        for entry in dataclasses.fields(self):
            name, value = entry.metadata.get("config"), getattr(self, entry.name)
            if name is not None and value is not None and (fresh or not entry.metadata.get("fresh")):
                values[name] = value
        return values


def size(default: Any, help: str, config: str | None = None) -> Any:
    """A setting for the size of a fresh model; `config` names the field of the configuration."""
    return setting(default, help, TRAIN, config=config, fresh=True, range=at_least(1))


def rate(help: str, config: str, commands: tuple[str, ...] = TRAIN) -> Any:
    """A setting for a share in [0, 1), such as a dropout; `config` names the field of the configuration.

    By default it is that of a fresh model or of the checkpoint.
    """
    return setting(None, help, commands, config=config, range=DROPOUT)


@dataclass
class AudioTrainingArguments(TrainingArguments):
    """`TrainingArguments` of transformers, and what the trainers of every model family add. The additions are off in
    the recipes of papers.

    Raises:
        ValueError: If a value is outside its range, or two of them exclude each other.
    """

    # Declared again with the commands that take them; types and defaults are those of `TrainingArguments`.
    output_dir: str | None = setting(None, "Folder to write.")
    per_device_eval_batch_size: int = setting(8, "Clips per batch and device in evaluations.")
    dataloader_num_workers: int = setting(0, "Processes that load batches; 0 loads them in the main process.")
    bf16_full_eval: bool = setting(False, "Evaluate in bfloat16.", RUN)
    fp16_full_eval: bool = setting(False, "Evaluate in float16.", RUN)
    use_cpu: bool = setting(False, "Use the CPU even if there is a GPU.")
    seed: int = setting(42, "Seed of weights, order, held-out clips and all other random choices.", RUN)
    label_smoothing_factor: float = setting(
        0.0, "Share of each target that is spread over the other classes.", (FINETUNE,)
    )
    # Batches carry more than the forward's arguments: seeds of the masking, vectors of other models.
    remove_unused_columns: bool = setting(False, "Leave at false.", TRAIN)
    # Every parameter is used in every step, and looking for unused ones costs a pass over the graph.
    ddp_find_unused_parameters: bool | None = setting(False, "Leave at false.", TRAIN)
    report_to: None | str | list[str] = setting(
        "none", "Where to report besides the console and the output folder.", TRAIN
    )
    layer_wise_lr_decay: float | None = setting(
        None,
        "Factor of the learning rate from each layer to the one below it, in (0, 1].",
        TRAIN,
        range=Range(0, 1, open_low=True),
    )
    group_by_length: bool = setting(
        True, "Put clips of similar length into one batch, so that little is padded.", TRAIN
    )
    shuffle_buffer_size: int | None = setting(
        None,
        "Shuffle shards of neighbouring clips, and N clips at a time, so that a disk reads in few places (default: "
        "all clips at once, best where the data fit into memory; 512 with --streaming, where every reader holds up to "
        "twice as many decoded clips).",
        TRAIN,
        range=at_least(1),
    )
    class_balanced_sampling: bool = setting(
        False, "Draw clips by the rarity of their classes, with replacement.", (FINETUNE,)
    )
    ema_decay: float = setting(
        0.0,
        "Evaluate, select and save an exponential moving average of the weights with this decay per step, below 1, in "
        "place of the last weights, 0.999 for example (0 turns it off).",
        TRAIN,
        range=Range(0, 1, open_high=True),
    )
    average_best_checkpoints: int = setting(
        0,
        "Save the mean of the weights of the N best checkpoints, by the metric that selects them, or of the last N "
        "without evaluations (0 turns it off).",
        TRAIN,
        range=at_least(0),
    )
    keep_checkpoints: bool = setting(
        False, "Keep the checkpoints of a finished run, which is not resumed any more.", TRAIN
    )
    early_stopping_patience: int | None = setting(
        None, "Stop after N evaluations without a better metric.", TRAIN, range=at_least(1)
    )

    def __post_init__(self) -> None:
        # First of all: transformers divides by some of them.
        check_ranges(self)
        check_optimizer(str(getattr(self.optim, "value", self.optim)), self.use_cpu)
        super().__post_init__()
        # Without a device to copy to, torch warns in every epoch.
        self.dataloader_pin_memory = self.dataloader_pin_memory and torch.accelerator.is_available()
        if self.push_to_hub:
            raise ValueError(
                "`push_to_hub` would upload during training what no check has seen: use `audioformer push` or "
                "`trainer.push_to_hub(license=...)` when it is finished."
            )
        if self.average_best_checkpoints and self.save_strategy == "no":
            raise ValueError(
                f"`average_best_checkpoints` {self.average_best_checkpoints} needs checkpoints, but `save_strategy` "
                "is 'no'."
            )
        if self.class_balanced_sampling and self.shuffle_buffer_size is not None:
            raise ValueError("`class_balanced_sampling` draws from all clips: it has no `shuffle_buffer_size`.")

    def check_early_stopping(self) -> None:
        """Check that early stopping has evaluations to count, a metric, and the best model at the end.

        Raises:
            ValueError: If it is requested without one of them.
        """
        if self.early_stopping_patience is not None and not (
            self.load_best_model_at_end and self.metric_for_best_model and self.eval_strategy != "no"
        ):
            raise ValueError(
                f"`early_stopping_patience` {self.early_stopping_patience} needs `load_best_model_at_end`, "
                '`metric_for_best_model`, and an `eval_strategy` other than "no".'
            )


def is_of_bitsandbytes(optimizer: str) -> bool:
    """Whether an optimizer of transformers' Trainer is one of bitsandbytes, by its name."""
    return optimizer == "adamw_8bit" or any(part in optimizer for part in ("bnb", "paged", "lion", "ademamix"))


def check_optimizer(optimizer: str, use_cpu: bool) -> None:
    """Check that there is what an optimizer of bitsandbytes needs, before data are read.

    Args:
        optimizer (`str`): Value of `optim`.
        use_cpu (`bool`): Whether a GPU is left unused.

    Raises:
        ValueError: If bitsandbytes or a GPU is missing.
    """
    if not is_of_bitsandbytes(optimizer):
        return
    missing = []
    if not is_bitsandbytes_available():
        missing.append("bitsandbytes (`pip install bitsandbytes`)")
    if use_cpu or not torch.cuda.is_available():
        missing.append("an NVIDIA GPU, and no `use_cpu`" if use_cpu else "an NVIDIA GPU")
    if missing:
        raise ValueError(f"`optim` {optimizer!r} needs {' and '.join(missing)}; 'adamw_torch' needs neither.")
