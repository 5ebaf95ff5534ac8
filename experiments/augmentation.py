"""Changed copies of a waveform, for training sets of a few hundred clips."""

import numpy as np
import soxr


def augment(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A copy that differs in pitch and speed, level, colour, phase of the frames, and background noise.

    Codec codes react to all of these while the class stays, and none can be had by changing codes after the fact. The
    paper uses no augmentation; this serves the small bundled models only.

    Args:
        waveform (`np.ndarray` of shape `(samples,)`): Mono float, full scale 1.0.
        rng (`np.random.Generator`): Source of every draw.

    Returns:
        `np.ndarray` of shape `(about samples,)`: float32 within full scale. Pitch and speed move together, by up to a
        third of an octave.
    """
    speed = 2 ** rng.uniform(-1 / 3, 1 / 3)
    changed = soxr.resample(waveform.astype(np.float32), speed, 1.0)
    changed = np.roll(changed, rng.integers(len(changed)))
    tilt = rng.uniform(-0.5, 0.5)  # a one-tap filter: brighter below zero, duller above
    changed = changed + tilt * np.concatenate([changed[:1], changed[:-1]])
    changed = changed * 10 ** rng.uniform(-0.5, 0.3)
    changed = changed + 10 ** rng.uniform(-4.5, -2.5) * rng.standard_normal(len(changed))
    return np.clip(changed, -1.0, 1.0).astype(np.float32)
