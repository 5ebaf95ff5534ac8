"""What the generators are made of, against scipy and direct sums."""

import numpy as np
import pytest
from scipy import signal

from audioformer.data.synthetic.resonances import count_frames, filter_frames, resonator_responses
from audioformer.data.synthetic.shaping import (
    CONTROL_HOP,
    band,
    echo,
    fade,
    harmonic_tone,
    num_control_points,
    phase_of,
    place,
    random_curve,
    shaped_noise,
    stretch,
)
from audioformer.data.synthetic.vocal_tract import glottal_period

RATE = 24000


def test_noise_has_the_spectrum_that_was_asked_for():
    gain = band(500, 3000)
    noise = shaped_noise(np.random.default_rng(0), 20 * RATE, RATE, gain)
    frequencies, power = signal.welch(noise, RATE, nperseg=512)
    inside = (frequencies > 150) & (frequencies < 8000)
    ratio = 10 * np.log10(power[inside] / gain(frequencies[inside]) ** 2)
    assert np.ptp(ratio) < 1.5
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-4)


def test_a_tone_is_the_sum_of_its_harmonics():
    frequency = np.linspace(200, 400, RATE)
    amplitudes = np.array([1.0, 0.5, 0.25])
    phase = phase_of(frequency, RATE).astype(np.float64)
    expected = sum(a * np.sin(2 * np.pi * (k + 1) * phase) for k, a in enumerate(amplitudes))
    np.testing.assert_allclose(harmonic_tone(amplitudes, frequency, RATE), expected, atol=2e-4)


def test_harmonics_above_the_nyquist_frequency_are_left_out():
    tone = harmonic_tone(np.ones(30), np.full(RATE, 1000.0), RATE)
    power = np.abs(np.fft.rfft(tone)) ** 2
    assert power[1000::1000][:11].min() > 1e3 * power[11500:].max()


def test_resonators_filter_as_their_difference_equations():
    frequencies, bandwidths = np.array([[500.0, 1500.0]]), np.array([[80.0, 120.0]])
    source = np.random.default_rng(0).standard_normal(RATE).astype(np.float32)
    responses = np.repeat(resonator_responses(frequencies, bandwidths, RATE, 2048), count_frames(len(source), 512), 0)
    expected = source.astype(np.float64)
    for frequency, bandwidth in zip(frequencies[0], bandwidths[0], strict=True):
        radius = np.exp(-np.pi * bandwidth / RATE)
        denominator = [1, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]
        expected = signal.lfilter([sum(denominator)], denominator, expected)
    error = filter_frames(source, responses, 512) - expected
    # What rings on after 1,024 samples wraps around.
    assert np.sqrt(np.mean(error**2)) < 2e-3 * np.sqrt(np.mean(expected**2))


def test_curves_stay_in_bounds_and_have_no_jumps():
    curve = random_curve(np.random.default_rng(0), RATE, RATE, 5, 0.2, 0.9)
    assert curve.shape == (RATE,) and curve.min() >= 0.2 and curve.max() <= 0.9
    assert np.abs(np.diff(curve)).max() < 5 * np.pi * 0.7 / RATE


@pytest.mark.parametrize("num_samples", [1, CONTROL_HOP, CONTROL_HOP + 1, 1000])
def test_a_stretched_curve_passes_through_its_points(num_samples):
    points = np.random.default_rng(0).random(num_control_points(num_samples))
    stretched = stretch(points, num_samples)
    assert stretched.shape == (num_samples,)
    np.testing.assert_allclose(stretched[::CONTROL_HOP], points[:-1][: len(stretched[::CONTROL_HOP])], rtol=1e-6)


def test_an_echo_is_a_convolution():
    rng = np.random.default_rng(0)
    waveform, response = rng.standard_normal(1000), rng.standard_normal(300)
    np.testing.assert_allclose(echo(waveform, response), np.convolve(waveform, response)[:1000], atol=1e-3)


def test_sounds_are_placed_faded_and_cut_at_the_end():
    target = np.zeros(10, dtype=np.float32)
    place(target, np.ones(4, dtype=np.float32), 8, 0.5)
    place(target, np.ones(4, dtype=np.float32), 12)
    np.testing.assert_array_equal(target, [0] * 8 + [0.5, 0.5])
    faded = fade(np.ones(100, dtype=np.float32), 1000, 0.01, 0.02)
    assert faded[0] == 0 and faded[-1] == 0 and (faded[10:80] == 1).all()


def test_the_glottis_is_closed_for_the_rest_of_its_period():
    period = glottal_period(0.5, 1000)
    assert np.abs(period[1100:]).max() < 0.05 * np.abs(period).max()
    # The closing is what is heard: the sharpest moment of the period.
    assert 0.33 <= np.abs(period).argmax() / 2048 <= 0.51
