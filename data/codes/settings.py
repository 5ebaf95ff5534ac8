"""What decides which codes come out, apart from the audio and the codec."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class EncodingSettings:
    """How clips become rows of codes.

    Args:
        num_codebooks (`int`, defaults to 4): Rows to keep, C1 to C4.
        max_length_s (`float`, defaults to 10.0): Longest clip in seconds.
        long_files (`"cut"` or `"windows"`, defaults to `"cut"`): What happens to longer ones: their first
            `max_length_s` are encoded, or all of them, as windows of `max_length_s` named `id#start`.
        max_duration_s (`float`, *optional*): Files longer than this, in seconds, are rejected.
        keep_silent (`bool`, defaults to `True`): Whether clips without any sound are encoded, or rejected.
        max_rejected_share (`float`, defaults to 0.01): Share of the clips that may be unreadable or empty.
        clips_per_shard (`int`, defaults to 500): Clips a file.

    Raises:
        ValueError: If a number is out of range.
    """

    num_codebooks: int = 4
    max_length_s: float = 10.0
    long_files: Literal["cut", "windows"] = "cut"
    max_duration_s: float | None = None
    keep_silent: bool = True
    max_rejected_share: float = 0.01
    clips_per_shard: int = 500

    def __post_init__(self) -> None:
        for name in ("num_codebooks", "clips_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("max_length_s", "max_duration_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"`{name}` must be more than 0 seconds, got {value}.")
        if self.long_files not in ("cut", "windows"):
            raise ValueError(f"`long_files` must be 'cut' or 'windows', got {self.long_files!r}.")
        if not 0 <= self.max_rejected_share <= 1:
            raise ValueError(f"`max_rejected_share` must be in [0, 1], got {self.max_rejected_share}.")
