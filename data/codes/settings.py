"""Settings that determine the codes, apart from the audio and the codec."""

from dataclasses import dataclass
from typing import Any

from ..audio.windows import ReadingSettings

HOP = "hop_s"
"""Stored setting that only windows have. Where it is missing, an earlier rule made them: the last one is shorter."""

GAIN = "gain_db"
"""Stored setting that only changed waveforms have."""

COPY = "augmented_copy"
"""Stored setting that only augmented copies have."""


@dataclass(frozen=True, kw_only=True)
class EncodingSettings(ReadingSettings):
    """How clips become codes: how their audio is read ([`ReadingSettings`]), and what is kept of it.

    Args:
        num_codebooks (`int`, defaults to 4): Number of codebooks to keep, starting with the first.
        max_rejected_share (`float`, defaults to 0.01): Share of the clips that may be unreadable or empty, in [0, 1].
        clips_per_shard (`int`, defaults to 500): Clips per file.

    Raises:
        ValueError: If a value is not allowed.
    """

    num_codebooks: int = 4
    max_rejected_share: float = 0.01
    clips_per_shard: int = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("num_codebooks", "clips_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        if not 0 <= self.max_rejected_share <= 1:
            raise ValueError(f"`max_rejected_share` must be in [0, 1], got {self.max_rejected_share}.")

    def to_stored(self) -> dict[str, Any]:
        """Settings under the names and in the order that files of codes have used since the first version.

        Names of cache folders and the check of a folder that was started depend on both. Only windows have a `hop_s`,
        and only changed waveforms a `gain_db` or an `augmented_copy`.
        """
        stored: dict[str, Any] = {
            "num_codebooks": self.num_codebooks,
            "max_length_s": self.max_length_s,
            "long_files": self.long_files,
            "max_duration_s": self.max_duration_s,
            "keep_silent": self.keep_silent,
            "max_rejected": self.max_rejected_share,
            "clips_per_shard": self.clips_per_shard,
        }
        if self.window_hop_s is not None:
            stored[HOP] = self.window_hop_s
        if self.gain_db:
            stored[GAIN] = self.gain_db
        if self.copy is not None:
            stored[COPY] = self.copy.to_dict()
        return stored
