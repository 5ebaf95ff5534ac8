"""Settings for training a small codec."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

from .crops import MIN_LEVEL_DB

SAMPLING_RATE, HOP_LENGTH = 24_000, 320
"""Of every codec that is trained here: samples per second, and samples per code."""


@dataclass
class CodecTrainingArguments:
    """Settings for training a small codec. Each field is an option of the command.

    Raises:
        ValueError: If a value is outside its range, or two of them exclude each other.
    """

    output: str = field(metadata={"help": "Folder in which to save the codec."})
    data: str | None = field(
        default=None,
        metadata={"help": "Folder of audio files, including its subfolders; optional with --synthetic-share 1."},
    )
    synthetic_share: float = field(
        default=0.0, metadata={"help": "Share of the crops that are drawn from endless synthetic sound, from 0 to 1."}
    )
    exclude: list[str] = field(default_factory=list, metadata={"help": "Names of files to skip."})
    attribution: str | None = field(
        default=None, metadata={"help": "CSV file with the columns filename and license; needs --licenses."}
    )
    licenses: list[str] = field(
        default_factory=list, metadata={"help": "Use only files with these licenses, according to --attribution."}
    )
    max_steps: int = field(default=4000, metadata={"help": "Number of optimizer steps, both stages together."})
    quantizer_start_step: int = field(
        default=3000,
        metadata={
            "help": "Steps of the first stage, which trains the encoder. Then k-means initializes the codebooks, and "
            "codebooks and decoder are trained."
        },
    )
    batch_size: int = field(default=16, metadata={"help": "Crops per step."})
    segment_s: float = field(default=0.64, metadata={"help": "Length of a crop in seconds."})
    learning_rate: float = field(default=3e-3, metadata={"help": "Peak learning rate of AdamW."})
    warmup_steps: int = field(
        default=50, metadata={"help": "Steps of linear warm-up before the cosine decay to 0, in each stage."}
    )
    max_grad_norm: float = field(default=1.0, metadata={"help": "Gradients are clipped to this norm."})
    level_db: list[float] = field(
        default_factory=lambda: [-40.0, 0.0],
        metadata={"help": "The RMS of each crop is set to a random level from LOW to HIGH dBFS."},
    )
    mel_weight: float = field(default=1.0, metadata={"help": "Weight of the decoder's multi-scale log-mel distance."})
    waveform_weight: float = field(
        default=1.0, metadata={"help": "Weight of the mean absolute error of the decoder's waveform."}
    )
    quantizer_decay: float = field(default=0.99, metadata={"help": "Decay of the moving averages of the codebooks."})
    all_codebooks_rate: float = field(
        default=0.5, metadata={"help": "Share of crops that use all codebooks; others use a random number of them."}
    )
    upsampling_ratios: list[int] = field(
        default_factory=lambda: [2, 4, 5, 8],
        metadata={"help": "Strides of the decoder; the encoder has them in reverse. Their product is 320 samples."},
    )
    num_filters: int = field(default=12, metadata={"help": "Channels of the first convolution."})
    hidden_size: int = field(default=64, metadata={"help": "Dimension of the codebooks' entries."})
    num_lstm_layers: int = field(default=1, metadata={"help": "LSTM layers in the encoder and in the decoder."})
    codebook_size: int = field(default=1024, metadata={"help": "Entries of each of the four codebooks, a power of 2."})
    seed: int = field(default=0, metadata={"help": "Seed for weights, crops, gains and codebooks."})
    logging_steps: int = field(default=50, metadata={"help": "Steps between log entries."})
    save_steps: int = field(default=200, metadata={"help": "Steps between checkpoints."})
    num_threads: int = field(default=0, metadata={"help": "Number of torch threads; 0 keeps torch's default."})
    overwrite: bool = field(
        default=False, metadata={"help": "Start over even if --output contains a codec or a checkpoint."}
    )

    def __post_init__(self) -> None:
        for name in ("max_steps", "batch_size", "num_filters", "hidden_size", "num_lstm_layers", "save_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 0 < self.quantizer_start_step < self.max_steps:
            raise ValueError(
                f"`quantizer_start_step` must be in (0, max_steps), got {self.quantizer_start_step} with `max_steps` "
                f"{self.max_steps}: either the encoder or the codebooks would never be trained."
            )
        if math.prod(self.upsampling_ratios) != HOP_LENGTH:
            raise ValueError(
                f"`upsampling_ratios` must have the product {HOP_LENGTH}, got {self.upsampling_ratios}, whose product "
                f"is {math.prod(self.upsampling_ratios)}."
            )
        if round(self.segment_s * SAMPLING_RATE) < HOP_LENGTH:
            raise ValueError(
                f"`segment_s` must be at least {HOP_LENGTH / SAMPLING_RATE:.4f} s, one code, got {self.segment_s}."
            )
        if not 0 <= self.synthetic_share <= 1:
            raise ValueError(f"`synthetic_share` must be in [0, 1], got {self.synthetic_share}.")
        if self.data is None and self.synthetic_share < 1:
            raise ValueError(f"`data` is needed unless `synthetic_share` is 1, got {self.synthetic_share}.")
        if self.data is None and (self.exclude or self.attribution):
            raise ValueError("`exclude` and `attribution` select files of `data`, which is missing.")
        if not (len(self.level_db) == 2 and MIN_LEVEL_DB <= self.level_db[0] <= self.level_db[1] <= 0):
            raise ValueError(
                f"`level_db` must be two levels in [{MIN_LEVEL_DB:g}, 0] dBFS, the lower first, got {self.level_db}."
            )
        if bool(self.attribution) != bool(self.licenses):
            raise ValueError("`attribution` and `licenses` must be given together.")

    def recipe(self) -> dict[str, Any]:
        """Return the settings that affect the weights: all but those of folders, logging and speed."""
        skipped = ("data", "output", "attribution", "logging_steps", "save_steps", "num_threads", "overwrite")
        return {name: value for name, value in asdict(self).items() if name not in skipped}
