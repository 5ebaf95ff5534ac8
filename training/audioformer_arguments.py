"""The settings of AudioFormer, in addition to those of every family."""

from dataclasses import dataclass
from typing import Literal

from audioformer.data.synthetic.scenes import MIN_DURATION_S

from .arguments import (
    ALL,
    EVALUATE,
    FINETUNE,
    PRETRAIN,
    RUN,
    TEST,
    TRAIN,
    AudioTrainingArguments,
    FamilyArguments,
    rate,
    setting,
    size,
)
from .ranges import SHARE, Range, at_least, more_than


@dataclass
class AudioFormerArguments(FamilyArguments):
    """The codec and its codes, the sizes of a fresh model, and the method of fine-tuning.

    Raises:
        ValueError: If a value is outside its range, or FT2 has no teachers.
    """

    codes: str | None = setting(
        None, "Folder of codes that `audioformer encode` wrote, instead of --data.", path="local"
    )
    eval_codes: str | None = setting(None, "The same, instead of --eval-data.", TEST, path="local")
    codec: str | None = setting(
        None, "Folder or Hub id of the codec (default: that of the model, or the bundled one).", path="any"
    )
    codec_revision: str | None = setting(None, "Revision of a codec on the Hub.")
    codec_type: str | None = setting(None, "Type of a codec on the Hub: encodec (default), mimi, dac or xcodec2.")
    codec_backend: str = setting(
        "transformers", "encodec: --codec is an original checkpoint, run by that package.", ALL
    )
    normalize: Literal["rms"] | None = setting(
        None,
        "rms: the codec reads every clip at one level, so that codes do not depend on loudness; for a fresh feature "
        "extractor, that is, without --model or with --codec (default: that of the model, or none, as in the paper).",
        TRAIN,
    )
    num_codebooks: int = setting(4, "Codebooks to encode and keep, beginning with C1.", range=at_least(1))
    cache_dir: str | None = setting(
        None, "Where the codes of --data are kept (default: in the Hugging Face home folder)."
    )
    synthetic_hours: float = setting(
        0.0,
        "Hours of synthetic sound to train on, beside or without --data; only its codes are stored.",
        (PRETRAIN,),
        range=at_least(0, "hours"),
    )
    synthetic_clip_s: float = setting(
        5.0, "Length of a synthetic clip in seconds.", (PRETRAIN,), range=at_least(MIN_DURATION_S, "seconds")
    )
    synthetic_seed: int = setting(
        0,
        "Seed of the synthetic clips, apart from --seed: runs that differ in --seed share their codes.",
        (PRETRAIN,),
        range=at_least(0),
    )
    codebooks: list[int] | None = setting(
        None,
        "Codebooks from 0 (C1). pretrain: those to pre-train a model for, one model each unless --joint-codebooks "
        "(default: all). finetune: several that the classifier reads together (default: those of the model).",
        TRAIN,
    )
    joint_codebooks: bool = setting(
        False, "Pre-train one model that reads all --codebooks together, instead of one model each.", (PRETRAIN,)
    )
    codebook_dropout: float | None = rate(
        "Share of several codebooks that is left out of a clip in training (default: 0, or that of the checkpoint).",
        "codebook_dropout",
    )
    codebook: int | None = setting(
        None,
        "Codebook that the classifier reads, from 0 (default: the model's own, else 0 = C1).",
        (FINETUNE,),
        config="codebook",
        range=at_least(0),
    )
    hidden_size: int = size(768, "Width of a fresh model.", "hidden_size")
    num_hidden_layers: int = size(12, "Layers of a fresh model.", "num_hidden_layers")
    num_attention_heads: int = size(12, "Attention heads of a fresh model.", "num_attention_heads")
    intermediate_size: int = size(3072, "Feed-forward width of a fresh model.", "intermediate_size")
    embedding_init: Literal["random", "code_vectors"] = setting(
        "random",
        "Embedding of a fresh model: random (the paper), or code_vectors: that of the codec, in which "
        "codes that sound alike are close.",
        TRAIN,
    )
    dropout: float | None = rate(
        "Dropout of the layers (default: 0.1, or that of the checkpoint).", "hidden_dropout_prob"
    )
    attention_dropout: float | None = rate(
        "Dropout of the attention (same default); above 0 it rules out the fast attention of a CPU.",
        "attention_probs_dropout_prob",
    )
    method: Literal["ft1", "ft2"] = setting(
        "ft1",
        "ft1: classification alone. ft2: classification and the multi-positive contrastive loss.",
        (FINETUNE,),
    )
    teachers: list[str] | None = setting(
        None,
        "FT2: folders or Hub ids of the pre-trained models of the other codebooks, C2 to CN.",
        (FINETUNE,),
        path="any",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method == "ft2" and not self.teachers:
            raise ValueError('`method` "ft2" needs `teachers`: the pre-trained models of the codebooks C2 to CN.')
        if self.codebooks is not None and not self.codebooks:
            raise ValueError("`codebooks` must name at least one codebook.")
        if self.codebooks is not None and len(set(self.codebooks)) < len(self.codebooks):
            raise ValueError(f"`codebooks` must be different ones, got {self.codebooks}.")
        if self.codebooks is not None and self.codebook is not None:
            raise ValueError(
                f"`codebook` {self.codebook} and `codebooks` {self.codebooks} exclude each other: give one of them."
            )
        num_joint = self.num_codebooks if self.codebooks is None else len(self.codebooks)
        if self.joint_codebooks and num_joint < 2:
            raise ValueError("`joint_codebooks` needs at least two codebooks.")
        for name, indices in (("codebooks", self.codebooks or []), ("codebook", [self.codebook or 0])):
            wrong = [index for index in indices if not 0 <= index < self.num_codebooks]
            if wrong:
                raise ValueError(
                    f"`{name}` must be at least 0 and below `num_codebooks` ({self.num_codebooks}), got {wrong[0]}."
                )


@dataclass
class AudioFormerTrainingArguments(AudioTrainingArguments):
    """What masked-LM pre-training, FT1 and FT2 of AudioFormer add. The additions are off in the paper's recipes.

    Raises:
        ValueError: If a value is outside its range, or two of them exclude each other.
    """

    mask_probability: float = setting(
        0.25, "Share of the codes to predict.", (PRETRAIN,), range=Range(0, 1, open_low=True)
    )
    replace_probability: float = setting(0.8, "Share of these that are replaced by <MASK>.", (PRETRAIN,), range=SHARE)
    random_probability: float = setting(
        0.1, "Share of these that are replaced by a random code; the rest stay.", (PRETRAIN,), range=SHARE
    )
    mask_span_length: int = setting(
        1,
        "Number of neighbouring codes that are masked together; 1 masks them one by one.",
        (PRETRAIN,),
        range=at_least(1),
    )
    mask_whole_frames: bool = setting(
        True,
        "With --joint-codebooks, mask all codes of a frame together, since they tell a lot about each other; "
        "otherwise the share of each codebook is drawn by itself.",
        (PRETRAIN,),
    )
    crop_frames: int | None = setting(
        None,
        "Train on a random stretch of N codes of each longer clip (75 per second with EnCodec).",
        RUN,
        range=at_least(1),
    )
    eval_crops: int = setting(
        0,
        "Test on N evenly spaced crops of --crop-frames codes of each longer clip, whose probabilities are averaged; "
        "checkpoints are selected, and LSEP calibrated, on whole clips (0 turns it off).",
        (FINETUNE, EVALUATE),
        range=at_least(0),
    )
    classification_weight: float = setting(
        0.95,
        "FT2: weight alpha of the classification loss; the contrastive loss has the rest (Eq. 9).",
        (FINETUNE,),
        range=SHARE,
    )
    mpc_temperature: float = setting(
        0.05, "FT2: temperature tau of the contrastive loss (Eq. 8).", (FINETUNE,), range=more_than(0)
    )
    gather_across_devices: bool = setting(True, "FT2: take negatives from the batches of all processes.", (FINETUNE,))
    online_teachers: bool = setting(
        False, "FT2: run the frozen models in every step, which changing clips require.", (FINETUNE,)
    )
    teacher_cache_dir: str | None = setting(
        None, "FT2: where the frozen models' vectors are kept (default: in the output folder).", (FINETUNE,)
    )
    mixup_alpha: float = setting(
        0.0,
        "Mix the code embeddings of pairs of clips, with weights from Beta(alpha, alpha).",
        (FINETUNE,),
        range=at_least(0, "(0 turns it off)"),
    )
    token_mixup_alpha: float = setting(
        0.0,
        "Mix pairs of clips frame by frame: each code is that of one of them, with shares from Beta(alpha, alpha).",
        (FINETUNE,),
        range=at_least(0, "(0 turns it off)"),
    )
    packed: bool = setting(
        False, "Pack the clips of a batch end to end, without padding; needs flash_attention_2.", TRAIN
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replace_probability + self.random_probability > 1 + 1e-9:
            raise ValueError(
                "`replace_probability` and `random_probability` must not sum to more than 1, got "
                f"{self.replace_probability} and {self.random_probability}."
            )
        if self.eval_crops and self.crop_frames is None:
            raise ValueError(f"`eval_crops` {self.eval_crops} needs `crop_frames`, the length of a crop.")
        mixed = [name for name in ("mixup_alpha", "token_mixup_alpha") if getattr(self, name)]
        if self.packed and mixed:
            raise ValueError(f"`packed` and `{mixed[0]}` exclude each other: packed clips are not aligned.")
        if len(mixed) > 1:
            raise ValueError("`mixup_alpha` and `token_mixup_alpha` exclude each other: clips are mixed once.")
