"""Augmented copies of waveforms: what each change does, and that copies can be made again."""

import numpy as np
import pytest

from audioformer.data.audio import ReadingSettings
from audioformer.data.audio.augmentation import CHANGES, Augmentation, AugmentedCopy
from audioformer.data.audio.clip_reading import read_clip
from audioformer.data.listing import ListedClip

SINE = (0.5 * np.sin(np.arange(24_000) * 0.1)).astype(np.float32)


def only(change: str, **ranges) -> Augmentation:
    return Augmentation(changes=(change,), **ranges)


def rms_of(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


def frequency_of(waveform: np.ndarray) -> float:
    return np.abs(np.fft.rfft(waveform)).argmax() * 2 * np.pi / len(waveform)


def test_a_copy_depends_on_seed_name_and_number_alone():
    first, again = (Augmentation().copy_of(SINE, "a.wav", 1) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32
    others = [
        Augmentation().copy_of(SINE, "a.wav", 2),
        Augmentation().copy_of(SINE, "b.wav", 1),
        Augmentation(seed=1).copy_of(SINE, "a.wav", 1),
    ]
    assert len({copy.tobytes() for copy in [first, *others]}) == 4
    # A name that is no Unicode is one as well.
    assert len(Augmentation().copy_of(SINE, "\udcff.wav", 1))


def test_pitch_and_speed_change_together_within_the_range():
    lengths = []
    for number in range(1, 20):
        copy = only("speed", speed=(0.5, 1.6)).copy_of(SINE, "a", number)
        lengths.append(len(copy) / len(SINE))
        np.testing.assert_allclose(frequency_of(copy), 0.1 / lengths[-1], rtol=0.02)
    assert 1 / 1.6 - 0.001 < min(lengths) < 0.8 and 1.5 < max(lengths) < 2.001
    exact = only("speed", speed=(1.25, 1.25)).copy_of(SINE, "a", 1)
    assert len(exact) == 19_200


def test_noise_is_measured_against_the_clip_and_gain_against_nothing():
    for level in (1.0, 0.001):
        noise = only("noise", noise_db=(-20, -20)).copy_of(level * SINE, "a", 1) - level * SINE
        np.testing.assert_allclose(rms_of(noise), 0.1 * rms_of(level * SINE), rtol=0.03)
    np.testing.assert_allclose(only("gain", gain_db=(20, 20)).copy_of(SINE, "a", 1), 10 * SINE, rtol=1e-5)
    gains = [rms_of(only("gain", gain_db=(-20, 10)).copy_of(SINE, "a", n)) / rms_of(SINE) for n in range(1, 30)]
    assert 0.099 < min(gains) < 0.3 and 1.5 < max(gains) < 3.17


def test_shift_moves_and_tilt_filters():
    shifted = only("shift").copy_of(np.arange(100), "a", 1)
    assert shifted[0] != 0
    np.testing.assert_array_equal(np.roll(shifted, -int(np.flatnonzero(shifted == 0)[0])), np.arange(100))
    noise = np.random.default_rng(0).standard_normal(24_000)
    shares = []
    for number in range(1, 20):
        spectrum = np.abs(np.fft.rfft(only("tilt", tilt=0.5).copy_of(noise, "a", number))) ** 2
        shares.append(spectrum[:6000].sum() / spectrum.sum())
    assert min(shares) < 0.4 and max(shares) > 0.6


def test_copies_are_not_clipped_and_end_where_the_longest_clip_may():
    loud = only("gain", gain_db=(20, 20)).copy_of(SINE, "a", 1, max_samples=1000)
    assert len(loud) == 1000 and np.abs(loud).max() > 4
    for samples in (1, 2, 100):
        copy = Augmentation().copy_of(np.zeros(samples, dtype=np.float32), "a", 1)
        assert len(copy) and not copy.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"changes": ()}, "`augment_with` must name at least one of speed, shift, tilt, noise, gain"),
        ({"changes": ("pitch",)}, "`augment_with` must name"),
        (
            {"speed": (1.2, 0.8)},
            r"`augment_speed` must be two numbers in \[0.25, 4\], the lower .* got 1.2 0.8",
        ),
        ({"speed": (0.1, 1.0)}, "`augment_speed`"),
        ({"noise_db": (-20.0, 3.0)}, "`augment_noise_db`"),
        ({"gain_db": (3.0,)}, "`augment_gain_db` must be two numbers"),
        ({"tilt": 1.0}, r"`augment_tilt` must be in \[0, 1\), got 1"),
        ({"seed": -1}, "`augment_seed` must be at least 0"),
    ],
)
def test_ranges_that_are_none_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**wrong)


def test_only_the_settings_of_what_is_changed_decide_a_copy():
    assert Augmentation().to_dict() == {
        "changes": list(CHANGES),
        "speed": [0.8, 1.25],
        "tilt": 0.5,
        "noise_db": [-60.0, -20.0],
        "gain_db": [-20.0, 10.0],
        "seed": 0,
    }
    assert only("shift", tilt=0.1).to_dict() == {"changes": ["shift"], "seed": 0}
    same = Augmentation(changes=CHANGES[::-1])
    assert same.to_dict() == Augmentation().to_dict()
    np.testing.assert_array_equal(same.copy_of(SINE, "a", 1), Augmentation().copy_of(SINE, "a", 1))


def test_copies_of_a_file_have_its_names_and_its_windows():
    audio = {"array": np.tile(SINE, 5), "sampling_rate": 24_000}
    clip = ListedClip("long", audio)
    settings = ReadingSettings(max_length_s=2.0)
    slower = Augmentation(changes=("speed",), speed=(0.8, 0.8))
    own, _ = read_clip(clip, 24_000, settings)
    copies, _ = read_clip(clip, 24_000, ReadingSettings(max_length_s=2.0, copy=AugmentedCopy(slower, 3)))
    assert [part.id for part in copies] == [part.id for part in own] == ["long#0", "long#2", "long#3"]
    for part, copy in zip(own, copies, strict=True):
        assert len(copy.waveform) == 48_000 and copy.duration_s == part.duration_s
        np.testing.assert_array_equal(copy.waveform, slower.copy_of(part.waveform, part.id, 3)[:48_000])
    silent = ListedClip("silent", {"array": np.zeros(24_000, dtype=np.float32), "sampling_rate": 24_000})
    (read,), _ = read_clip(silent, 24_000, ReadingSettings(copy=AugmentedCopy(Augmentation(), 1)))
    assert read.rejection is not None and read.rejection["kind"] == "silent"
