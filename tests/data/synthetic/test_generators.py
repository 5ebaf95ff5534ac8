"""The generators of synthetic sound: bounds, and what each is to sound like."""

import numpy as np
import pytest
from scipy import signal
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import cross_val_score

from audioformer.data.synthetic.chirps import CHIRPS
from audioformer.data.synthetic.impacts import IMPACTS, MATERIALS, strike
from audioformer.data.synthetic.modulated_noise import MACHINES, clock, engine, pulsating
from audioformer.data.synthetic.resonances import filter_frames, frame_times, resonator_responses
from audioformer.data.synthetic.rhythms import RHYTHMS
from audioformer.data.synthetic.scenes import SOURCES, place_in_room, scene
from audioformer.data.synthetic.textures import TEXTURES
from audioformer.data.synthetic.vocal_tract import Score, Speaker, sing
from audioformer.data.synthetic.voices import VOICES, VOWELS_HZ

RATE = 24000
GENERATORS = dict.fromkeys([*TEXTURES, *IMPACTS, *CHIRPS, *MACHINES, *RHYTHMS, *VOICES, scene])


@pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)
@pytest.mark.parametrize(("duration_s", "sampling_rate"), [(0.25, 8000), (0.5, 44100), (2.0, 16000)])
def test_every_generator_stays_in_bounds_and_is_never_silent(make, duration_s, sampling_rate):
    for index in range(4):
        waveform = make(np.random.default_rng([7, index]), duration_s, sampling_rate)
        assert waveform.dtype == np.float32 and waveform.shape == (round(duration_s * sampling_rate),)
        assert np.isfinite(waveform).all()
        assert 0.0099 < np.abs(waveform).max() <= 1.0


@pytest.mark.parametrize("make", GENERATORS, ids=lambda make: make.__name__)
def test_no_generator_has_an_offset(make):
    waveform = make(np.random.default_rng(3), 2.0, RATE)
    assert abs(waveform.mean()) < 0.05 * np.sqrt(np.mean(waveform**2))


def test_the_kinds_sound_different():
    def features(waveform: np.ndarray) -> np.ndarray:
        _, _, spectrum = signal.stft(waveform, RATE, nperseg=512)
        power = np.log(np.abs(spectrum[1:]) ** 2 + 1e-9)
        bands = np.stack([part.mean(axis=0) for part in np.array_split(power, 12)])
        tonality = power.mean(axis=0) - np.log(np.exp(power).mean(axis=0))
        moves = np.abs(np.diff(bands, axis=1)).mean(axis=1)
        return np.concatenate([bands.mean(axis=1), bands.std(axis=1), moves, [tonality.mean(), tonality.std()]])

    kinds = [(number, make) for number, make in enumerate(SOURCES.values()) for _ in range(40)]
    sounds = [make(np.random.default_rng([1, index]), 2.0, RATE) for index, (_, make) in enumerate(kinds)]
    labels = [number for number, _ in kinds]
    scores = cross_val_score(LinearDiscriminantAnalysis(), np.stack([features(sound) for sound in sounds]), labels)
    # Chance is .17.
    assert scores.mean() > 0.45


@pytest.mark.parametrize(("vowel", "tract"), [(0, 1.0), (3, 1.0), (3, 1.3), (6, 1.0)])
def test_formants_are_where_they_should_be(vowel, tract):
    score = Score(formants=[(0.0, VOWELS_HZ[vowel])], whisper=[(0.0, 1.0)])
    whispered = sing(np.random.default_rng(0), Speaker(120, tract), score, 8 * RATE, RATE)
    frequencies, power = signal.welch(whispered, RATE, nperseg=1024)
    peaks = frequencies[signal.find_peaks(10 * np.log10(power), prominence=2)[0]]
    for formant in VOWELS_HZ[vowel]:
        assert np.abs(peaks - tract * formant).min() < 50


def test_the_pitch_of_a_voice_is_that_of_the_speaker_and_follows_the_score():
    score = Score(formants=[(0.0, VOWELS_HZ[8])], voicing=[(0.0, 1.0)], octaves=[(0.99, 0.0), (1.01, 1.0)])
    sung = sing(np.random.default_rng(0), Speaker(150, breath=0, jitter=0), score, 2 * RATE, RATE)
    for part, pitch in ((sung[: RATE - 1000], 150), (sung[RATE + 1000 :], 300)):
        power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2
        frequencies = np.fft.rfftfreq(len(part), 1 / RATE)
        near = np.abs(frequencies / pitch - np.round(frequencies / pitch)) * pitch < 5
        assert power[near].sum() > 0.98 * power.sum()
        assert power[np.abs(frequencies - pitch) < 5].sum() > 0.02 * power.sum()


def test_a_moving_formant_does_not_click():
    # A tone that passes through a tract in motion stays a tone: its spectrum stays free of broad-band clicks.

    times = frame_times(2 * RATE, 512, RATE)
    formants = np.stack(
        [500 + 300 * np.sin(2 * np.pi * 3 * times), 1500 + 500 * np.sin(2 * np.pi * 5 * times)], axis=1
    )
    tone = np.sin(2 * np.pi * 400 * np.arange(2 * RATE) / RATE).astype(np.float32)
    moved = filter_frames(tone, resonator_responses(formants, 0.1 * formants, RATE, 2048), 512)
    middle = moved[4096:-4096] * signal.windows.blackmanharris(len(moved) - 8192)
    spectrum = np.abs(np.fft.rfft(middle)) ** 2
    far = np.fft.rfftfreq(len(middle), 1 / RATE) > 1000
    assert spectrum[far].sum() < 1e-5 * spectrum.sum()


def spectrum_of_level(waveform: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    level = np.abs(waveform).reshape(-1, 24).mean(axis=1)
    return np.fft.rfftfreq(len(level), 24 / RATE), np.abs(np.fft.rfft(level - level.mean()))


@pytest.mark.parametrize("rate_hz", [3.0, 7.0, 25.0])
def test_pulsating_noise_is_modulated_at_its_rate(rate_hz):
    frequencies, strengths = spectrum_of_level(pulsating(np.random.default_rng(2), 6.0, RATE, rate_hz))
    assert abs(frequencies[strengths.argmax()] - rate_hz) < 0.2


@pytest.mark.parametrize("rate_hz", [30.0, 80.0])
def test_the_pulses_of_an_engine_come_at_its_rate(rate_hz):
    for seed in range(4):
        waveform = engine(np.random.default_rng(seed), 4.0, RATE, rate_hz)
        frequencies, strengths = spectrum_of_level(waveform)
        # Unequal cylinders add slower changes; ignitions themselves remain a line, far above its surroundings.
        line = strengths[np.abs(frequencies - rate_hz) < 0.3].max()
        around = (np.abs(frequencies - rate_hz) > 1) & (np.abs(frequencies - rate_hz) < 4)
        assert line > 4 * np.median(strengths[around])


def test_a_clock_ticks_at_its_rate():
    level = np.abs(clock(np.random.default_rng(5), 4.0, RATE, 2.0)).reshape(-1, 240).max(axis=1)
    onsets = signal.find_peaks(level, height=0.1, distance=20)[0]
    assert len(onsets) == 8
    np.testing.assert_allclose(np.diff(onsets), 50, atol=2)


@pytest.mark.parametrize("material", MATERIALS)
def test_a_struck_body_decays(material):
    sound = strike(np.random.default_rng(4), RATE, material)
    energy = [float(np.mean(part**2)) for part in np.array_split(sound, 4)]
    assert energy == sorted(energy, reverse=True)
    assert np.abs(sound[-10:]).max() < 1e-3


def test_a_bell_rings_longer_than_plastic():
    lengths = {
        name: np.mean([len(strike(np.random.default_rng(i), RATE, name)) for i in range(8)]) for name in MATERIALS
    }
    assert lengths["bell"] > 5 * lengths["plastic"]


def test_a_room_prolongs_a_sound():
    click = np.zeros(RATE, dtype=np.float32)
    click[100] = 1
    after = [np.sum(place_in_room(np.random.default_rng(i), click, RATE)[600:] ** 2) for i in range(5)]
    assert min(after) > 0


def test_scenes_take_only_the_sources_they_are_given():
    def tone(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
        calls.append(duration_s)
        return np.ones(round(duration_s * sampling_rate), dtype=np.float32)

    calls: list[float] = []
    for index in range(20):
        scene(np.random.default_rng(index), 1.0, RATE, [tone])
    assert 20 < len(calls) <= 60
    assert min(calls) < 0.7 and max(calls) == 1.0
