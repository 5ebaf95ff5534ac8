"""Synthetic clips without end, each of them known by its number."""

import operator
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from .scenes import MIN_DURATION_S, SOURCES, scene

SCENES = "scenes"
KINDS = (*SOURCES, SCENES)
"""Kinds of clips: sources alone, and scenes, which mix them."""

VERSION = 1
"""Changes with what the generators make of a seed, so that codes in caches are not taken for those of other sound."""

_LOWEST_RATE = 8000
_STREAM = 0x50554E44
"""Sets these random numbers apart from others that begin with a seed and a number."""


class SyntheticClips(Sequence[np.ndarray]):
    """Clips that are generated when they are asked for.

    Clip `i` depends on `seed`, `i`, the length, the rate and the kinds, not on other clips and not on `num_clips`: a
    longer set begins with the clips of a shorter one, and any number of processes may share a set.

    Args:
        num_clips (`int`): Number of clips.
        seed (`int`): Determines all of them.
        duration_s (`float`): Length of each clip in seconds, at least 0.25.
        sampling_rate (`int`, defaults to 24000): In Hz, at least 8,000.
        kinds (sequence of `str`, *optional*): Some of `KINDS`, which take turns. By default `"scenes"`: mixes of all
            kinds at peaks of -40 to 0 dBFS. The other kinds are sources alone, with a peak of 0 dBFS.

    Raises:
        ValueError: If a number is too small, or a kind is unknown.
    """

    def __init__(
        self,
        num_clips: int,
        seed: int,
        duration_s: float,
        sampling_rate: int = 24000,
        kinds: Sequence[str] | None = None,
    ) -> None:
        kinds = (SCENES,) if kinds is None else tuple(kinds)
        for name, value, least in (
            ("num_clips", num_clips, 0),
            ("seed", seed, 0),
            ("duration_s", duration_s, MIN_DURATION_S),
            ("sampling_rate", sampling_rate, _LOWEST_RATE),
        ):
            if not value >= least:
                raise ValueError(f"`{name}` must be at least {least}, got {value}.")
        unknown = [kind for kind in kinds if kind not in KINDS]
        if unknown or not kinds:
            raise ValueError(f"`kinds` must be some of {', '.join(KINDS)}, got {list(kinds)}.")
        self.num_clips, self.seed, self.duration_s = num_clips, seed, duration_s
        self.sampling_rate, self.kinds = sampling_rate, kinds

    def __len__(self) -> int:
        return self.num_clips

    @property
    def description(self) -> str:
        """Everything that the sound of all clips depends on, in one line."""
        return (
            f"{self.num_clips} synthetic clips of {self.duration_s:g} s at {self.sampling_rate} Hz, seed {self.seed}, "
            f"{', '.join(self.kinds)}, version {VERSION}"
        )

    def kind(self, index: int) -> str:
        """The kind of clip `index`."""
        return self.kinds[index % len(self.kinds)]

    def id(self, index: int) -> str:
        """Name of clip `index`, unique among sets with other seeds too."""
        return f"synthetic-{self.kind(index)}-{self.seed}-{index:07d}"

    @property
    def ids(self) -> list[str]:
        """Name of each clip."""
        return [self.id(index) for index in range(len(self))]

    @overload
    def __getitem__(self, index: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, index: slice) -> list[np.ndarray]: ...

    def __getitem__(self, index: int | slice) -> np.ndarray | list[np.ndarray]:
        """Generate clip `index`: float32 of shape `(num_samples,)` in [-1, 1]; a list of clips for a slice."""
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = operator.index(index)
        position += len(self) if position < 0 else 0
        if not 0 <= position < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        rng = np.random.default_rng([_STREAM, self.seed, position])
        make = SOURCES.get(self.kind(position), scene)
        return make(rng, self.duration_s, self.sampling_rate)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[index] for index in range(len(self)))
