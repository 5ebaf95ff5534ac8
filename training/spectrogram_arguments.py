"""The Trainer settings of families whose models read audio or spectrograms: augmentation of the training clips."""

from dataclasses import dataclass

from .arguments import FINETUNE, AudioTrainingArguments, setting
from .ranges import Range, at_least


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
    roll: bool = setting(
        False,
        "Let each training clip begin at a random sample, and continue with what preceded it.",
        (FINETUNE,),
    )
