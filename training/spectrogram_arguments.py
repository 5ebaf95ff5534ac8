"""The Trainer settings of families whose models read audio or spectrograms: augmentation of the training clips."""

from dataclasses import dataclass

from audioformer.data.audio.windows import MAX_GAIN_DB

from .arguments import FINETUNE, AudioTrainingArguments, setting
from .ranges import SHARE, Range, at_least


@dataclass
class SpectrogramTrainingArguments(AudioTrainingArguments):
    """What families of spectrograms add to the settings of all families.

    Raises:
        ValueError: If a value is outside its range.
    """

    spec_augment: float = setting(
        0.0,
        "Hide a stretch of frames and a band of mel bins of each training clip, each of at most this share, in [0, 1) "
        "(0 turns it off).",
        (FINETUNE,),
        range=Range(0, 1, open_high=True),
    )
    mixup_alpha: float = setting(
        0.0,
        "Mix the waveforms of pairs of clips, with weights from Beta(alpha, alpha).",
        (FINETUNE,),
        range=at_least(0, "(0 turns it off)"),
    )
    mixup_probability: float = setting(
        1.0, "Share of the training clips that --mixup-alpha mixes.", (FINETUNE,), range=SHARE
    )
    spectrogram_mixup_alpha: float = setting(
        0.0,
        "Mix the log spectrograms of pairs of clips, after all other changes, with weights from Beta(alpha, alpha).",
        (FINETUNE,),
        range=at_least(0, "(0 turns it off)"),
    )
    roll: bool = setting(
        False,
        "Let each training clip begin at a random sample, and continue with what preceded it.",
        (FINETUNE,),
    )
    roll_samples: int = setting(
        0,
        "Let each training clip begin at most N samples earlier or later, in place of --roll (0 turns it off).",
        (FINETUNE,),
        range=at_least(0),
    )
    gain_db: list[float] | None = setting(
        None,
        "Amplify each training clip by a random gain between these two, in dB (default: clips keep their level).",
        (FINETUNE,),
        range=Range(-MAX_GAIN_DB, MAX_GAIN_DB, note="dB"),
    )
    mel_jitter: list[float] | None = setting(
        None,
        "Let the edges of the mel bins move from clip to clip: the lowest rises by up to the first number of Hz, the "
        "highest moves by up to the second, up or down (default: they stay).",
        (FINETUNE,),
        range=at_least(0),
    )
    mask_frames: int = setting(
        0,
        "Hide a stretch of up to N frames of each training clip, at most half of it (0 turns it off).",
        (FINETUNE,),
        range=at_least(0),
    )
    mask_bins: int = setting(
        0,
        "Hide a band of up to N mel bins of each training clip, at most half of them (0 turns it off).",
        (FINETUNE,),
        range=at_least(0),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("gain_db", "mel_jitter"):
            value = getattr(self, name)
            if value is not None and len(value) != 2:
                raise ValueError(f"`{name}` must be two numbers, got {value}.")
        if self.gain_db is not None and self.gain_db[0] > self.gain_db[1]:
            raise ValueError(f"`gain_db` must be the lower gain and the higher one, got {self.gain_db}.")
        if self.roll and self.roll_samples:
            raise ValueError(f"`roll` begins anywhere: `roll_samples` must be 0 with it, got {self.roll_samples}.")
