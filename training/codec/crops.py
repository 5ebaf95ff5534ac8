"""The crops that a codec is trained on: of real clips, of synthetic ones without end, or of both, at random levels."""

from collections.abc import Sequence

import numpy as np

from audioformer.data.synthetic import SyntheticClips

MIN_LEVEL_DB = -100.0
"""Lowest level that crops can be given, in dBFS."""

MIN_RMS = 1e-4
"""A crop that is softer is amplified no more than one of this level: silence stays silence."""

_ROOM_S = 0.5


class CropSource:
    """Draws the crops of a step. They depend on the seed and the number of the step only.

    Args:
        waveforms (`Sequence[np.ndarray]`): Real clips, mono, each of shape `(num_samples,)`; may be empty where
            `synthetic_share` is 1.
        seed (`int`): Determines all crops.
        length (`int`): Samples per crop.
        sampling_rate (`int`): In Hz.
        batch_size (`int`): Crops per step.
        level_db (`tuple[float, float]`): The root mean square of each crop is set to a random level between these
            bounds, in dBFS. A crop whose peaks would exceed full scale stays below.
        synthetic_share (`float`, defaults to 0.0): Share of the crops that are drawn from synthetic clips, of which
            each is used once.
    """

    def __init__(
        self,
        waveforms: Sequence[np.ndarray],
        seed: int,
        length: int,
        sampling_rate: int,
        batch_size: int,
        level_db: tuple[float, float],
        synthetic_share: float = 0.0,
    ) -> None:
        self.waveforms, self.seed, self.length, self.batch_size = waveforms, seed, length, batch_size
        self.level_db, self.synthetic_share = level_db, synthetic_share
        # Longer than the crops, which then begin in the midst of sounds too.
        self.synthetic = SyntheticClips(2**62, seed, length / sampling_rate + _ROOM_S, sampling_rate)

    def draw(self, step: int, batch_size: int | None = None) -> np.ndarray:
        """Draw the crops of a step, float32 of shape `(batch_size, num_samples)` in [-1, 1]."""
        rng = np.random.default_rng([self.seed, step])
        crops = []
        for index in range(batch_size or self.batch_size):
            if self.synthetic_share and rng.random() < self.synthetic_share:
                crop = self._cut(rng, [self.synthetic[step * self.batch_size + index]])
            else:
                crop = self._cut(rng, self.waveforms)
            crops.append(self._with_level(rng, crop))
        return np.stack(crops).astype(np.float32)

    def _cut(self, rng: np.random.Generator, waveforms: Sequence[np.ndarray], attempts: int = 3) -> np.ndarray:
        # Data sets pad short sounds with digital silence. A codec learns nothing from it, so it is drawn less often.
        for _ in range(attempts):
            waveform = waveforms[int(rng.integers(len(waveforms)))]
            start = int(rng.integers(max(1, len(waveform) - self.length + 1)))
            crop = waveform[start : start + self.length]
            if np.abs(crop).max() > 1e-3:
                break
        return np.pad(crop, (0, self.length - len(crop)))

    def _with_level(self, rng: np.random.Generator, crop: np.ndarray) -> np.ndarray:
        rms = float(np.sqrt(np.mean(np.square(crop, dtype=np.float64))))
        crop = crop * (10 ** (rng.uniform(*self.level_db) / 20) / max(rms, MIN_RMS))
        return crop / max(1.0, float(np.abs(crop).max()))
