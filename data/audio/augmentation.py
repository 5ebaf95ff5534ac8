"""Augmented copies of waveforms: other speed, place, spectral tilt, background noise and level, but the same class.

What is drawn for a copy follows from the seed, the name of its clip and its number alone, so that a copy is the same
whenever, wherever and for whichever model it is made. The paper of AudioFormer trains without augmentation.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .reading import resample

CHANGES = ("speed", "shift", "tilt", "noise", "gain")
"""What can be changed, in the order in which it is done."""

RATE = 24_000
"""Any rate in Hz: a change of speed is a ratio of rates."""
SPEED_LIMITS = (0.25, 4.0)
NOISE_LIMITS_DB = (-120.0, 0.0)
GAIN_LIMITS_DB = (-120.0, 120.0)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How copies of a clip differ from it. Each is drawn uniformly from its range, and every copy is changed in all.

    Args:
        changes (`tuple[str, ...]`, defaults to all of `CHANGES`): What is changed; ranges of others have no effect.
        speed (`tuple[float, float]`, defaults to `(0.8, 1.25)`): Factor of speed and pitch, which change together as
            those of a tape do, in [0.25, 4]; uniform in its logarithm.
        tilt (`float`, defaults to 0.5): The spectrum is tilted by the filter `x[n] + t * x[n - 1]` with `t` between
            plus and minus this: duller above zero, brighter below; in [0, 1).
        noise_db (`tuple[float, float]`, defaults to `(-60.0, -20.0)`): Level of added white noise in dB against the
            root mean square of the clip, so that soft clips are not drowned; in [-120, 0].
        gain_db (`tuple[float, float]`, defaults to `(-20.0, 10.0)`): Amplification in dB, in [-120, 120]. As with
            `gain_db` of [`ReadingSettings`], samples beyond 1 are not clipped.
        seed (`int`, defaults to 0): Seed of all draws, at least 0.

    The change `shift` moves the clip to a random place, its end following its beginning.

    Raises:
        ValueError: If a value is not allowed, or nothing is changed.
    """

    changes: tuple[str, ...] = CHANGES
    speed: tuple[float, float] = (0.8, 1.25)
    tilt: float = 0.5
    noise_db: tuple[float, float] = (-60.0, -20.0)
    gain_db: tuple[float, float] = (-20.0, 10.0)
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.changes or set(self.changes) - set(CHANGES):
            raise ValueError(f"`augment_with` must name at least one of {', '.join(CHANGES)}, got {self.changes}.")
        limits = {"speed": SPEED_LIMITS, "noise_db": NOISE_LIMITS_DB, "gain_db": GAIN_LIMITS_DB}
        for name, (lowest, highest) in limits.items():
            values = getattr(self, name)
            if len(values) != 2 or not lowest <= values[0] <= values[1] <= highest:
                raise ValueError(
                    f"`augment_{name}` must be two numbers in [{lowest:g}, {highest:g}], the lower one first, got "
                    f"{' '.join(f'{value:g}' for value in values)}."
                )
        if not 0 <= self.tilt < 1:
            raise ValueError(f"`augment_tilt` must be in [0, 1), got {self.tilt:g}.")
        if self.seed < 0:
            raise ValueError(f"`augment_seed` must be at least 0, got {self.seed}.")

    def to_dict(self) -> dict[str, Any]:
        """What decides the copies, for JSON: the changes in order, the ranges of these, and the seed."""
        ranges: dict[str, dict[str, Any]] = {
            "speed": {"speed": list(self.speed)},
            "tilt": {"tilt": self.tilt},
            "noise": {"noise_db": list(self.noise_db)},
            "gain": {"gain_db": list(self.gain_db)},
        }
        described: dict[str, Any] = {"changes": [name for name in CHANGES if name in self.changes]}
        for name in described["changes"]:
            described |= ranges.get(name, {})
        return {**described, "seed": self.seed}

    def to_text(self) -> str:
        """The changes and their ranges in words, for cards."""
        (slow, fast), (softest, loudest), (lowest, highest) = self.speed, self.noise_db, self.gain_db
        texts = {
            "speed": f"speed and pitch times {slow:g} to {fast:g}",
            "shift": "shifted",
            "tilt": f"spectral tilt up to {self.tilt:g}",
            "noise": f"white noise {softest:g} to {loudest:g} dB against the clip",
            "gain": f"level {lowest:+g} to {highest:+g} dB",
        }
        return ", ".join(texts[name] for name in CHANGES if name in self.changes)

    def apply(self, waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Make a copy.

        Args:
            waveform (`np.ndarray` of shape `(num_samples,)`): Mono, at any level and sampling rate.
            rng (`np.random.Generator`): Source of every draw.

        Returns:
            `np.ndarray` of shape `(about num_samples / speed,)`: float32, at least one sample.
        """
        copy: np.ndarray = waveform.astype(np.float32)
        if "speed" in self.changes:
            low, high = np.log(self.speed)
            copy = resample(copy, RATE * float(np.exp(rng.uniform(low, high))), RATE)
        if "shift" in self.changes:
            copy = np.roll(copy, rng.integers(len(copy)))
        if "tilt" in self.changes:
            copy = copy + rng.uniform(-self.tilt, self.tilt) * np.concatenate([copy[:1], copy[:-1]])
        if "noise" in self.changes:
            rms = np.sqrt(np.mean(np.square(copy, dtype=np.float64)))
            copy = copy + rms * 10 ** (rng.uniform(*self.noise_db) / 20) * rng.standard_normal(len(copy))
        if "gain" in self.changes:
            copy = copy * 10 ** (rng.uniform(*self.gain_db) / 20)
        return copy.astype(np.float32)

    def copy_of(self, waveform: np.ndarray, name: str, number: int, max_samples: int | None = None) -> np.ndarray:
        """Make a certain copy of a clip, the same whenever it is asked for.

        Args:
            waveform (`np.ndarray` of shape `(num_samples,)`): Mono.
            name (`str`): Name of the clip or window.
            number (`int`): Number of the copy, from 1.
            max_samples (`int`, *optional*): Longest copy; what a slower one has beyond is left out.

        Returns:
            `np.ndarray` of shape `(about num_samples / speed,)`: float32.
        """
        # File names need not be Unicode.
        rng = np.random.default_rng([self.seed, number, *name.encode("utf-8", "surrogateescape")])
        return self.apply(waveform, rng)[:max_samples]


@dataclass(frozen=True)
class AugmentedCopy:
    """One copy of every clip.

    Args:
        augmentation ([`Augmentation`]): How copies differ from their clips.
        number (`int`): Number of the copy, from 1.
    """

    augmentation: Augmentation
    number: int

    def to_dict(self) -> Mapping[str, Any]:
        """What decides the copies, for JSON."""
        return {**self.augmentation.to_dict(), "number": self.number}
