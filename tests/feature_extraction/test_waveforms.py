"""Which inputs count as clips, and which are refused."""

import logging as python_logging
from types import SimpleNamespace

import numpy as np
import pytest
import soxr
import torch
from transformers.utils import logging

from audioformer.data.audio import load_audio
from audioformer.feature_extraction import waveforms
from audioformer.feature_extraction.waveforms import prepare_waveforms, resample

RATE = 24000
CLIP = np.linspace(-0.9, 0.9, 500).astype(np.float32)


def prepare(raw_speech, sampling_rate=RATE):
    return prepare_waveforms(raw_speech, sampling_rate, RATE)


class Decoder:
    """Looks like the torchcodec `AudioDecoder` that `datasets` returns."""

    def __init__(self, data, sample_rate=RATE):
        self._samples = SimpleNamespace(data=torch.as_tensor(data), sample_rate=sample_rate)

    def get_all_samples(self):
        return self._samples


@pytest.mark.parametrize(
    "clip",
    [
        CLIP,
        CLIP.astype(np.float64),
        CLIP.tolist(),
        tuple(CLIP.tolist()),
        torch.from_numpy(CLIP),
        torch.from_numpy(CLIP).double().requires_grad_(),
        CLIP[None],
        np.stack([CLIP + 0.05, CLIP - 0.05]),
        torch.from_numpy(np.stack([CLIP + 0.05, CLIP - 0.05])),
        CLIP[::-1].copy()[::-1],
        {"array": CLIP, "sampling_rate": RATE},
        {"raw": CLIP.tolist(), "sampling_rate": RATE},
        {"array": CLIP, "path": "a.wav", "sampling_rate": np.int64(RATE)},
        Decoder(np.stack([CLIP, CLIP])),
    ],
)
@pytest.mark.parametrize("listed", [False, True])
def test_kinds_of_float_clips(clip, listed):
    [waveform] = prepare([clip] if listed else clip)
    assert waveform.dtype == np.float32 and waveform.flags.c_contiguous
    np.testing.assert_allclose(waveform, CLIP, atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float16, torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    clip = torch.from_numpy(CLIP).to(dtype) if isinstance(dtype, torch.dtype) else CLIP.astype(dtype)
    np.testing.assert_allclose(prepare(clip)[0], CLIP, atol=4e-3)


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        ("int8", [-128, 0, 64]),
        ("uint8", [0, 128, 192]),
        ("int16", [-32768, 0, 16384]),
        ("int32", [-(2**31), 0, 2**30]),
    ],
)
def test_pcm_is_scaled_by_its_range(dtype, values):
    array = np.array(values, dtype=dtype)
    for clip in (array, torch.from_numpy(array), np.stack([array, array])):
        np.testing.assert_array_equal(prepare(clip)[0], np.array([-1, 0, 0.5], np.float32))


def test_lists_of_unequal_clips_of_all_kinds():
    waveforms = prepare([CLIP, CLIP[:3].tolist(), torch.zeros(2, 7), {"raw": CLIP[:5], "sampling_rate": RATE}])
    assert [len(waveform) for waveform in waveforms] == [500, 3, 7, 5]
    assert len(prepare([[0.0, 0.5], [0.5]])) == 2
    assert len(prepare([torch.tensor(0.1), torch.tensor(0.2)])) == 1


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000, 96000.0, np.float32(11025)])
def test_resampling_is_soxr(rate):
    clip = np.random.default_rng(0).standard_normal(3001).astype(np.float32)
    expected = soxr.resample(clip, float(rate), RATE, quality="HQ")
    np.testing.assert_array_equal(prepare(clip, rate)[0], expected)
    # A clip's own rate counts, the rate of the call is for the others.
    first, second = prepare([{"array": clip, "sampling_rate": rate}, clip], RATE)
    np.testing.assert_array_equal(first, expected)
    np.testing.assert_array_equal(second, clip)
    np.testing.assert_array_equal(prepare(Decoder(clip[None], rate), None)[0], expected)


def test_a_clip_shorter_than_one_target_sample_survives_resampling():
    assert len(prepare(np.ones(1, np.float32), 192000)[0]) == 1


def test_resample_leaves_its_own_rate_alone_and_names_what_is_missing(monkeypatch):
    assert resample(CLIP, RATE, RATE) is CLIP
    monkeypatch.setattr(waveforms, "soxr", None)
    assert resample(CLIP, RATE, RATE) is CLIP
    with pytest.raises(ImportError, match="from 44100 Hz to 24000 Hz needs soxr"):
        resample(CLIP, 44100, RATE)


@pytest.mark.parametrize(
    ("raw_speech", "message"),
    [
        ([], "empty list"),
        (np.zeros(0, np.float32), r"clip 1 of 1 is empty"),
        ([CLIP, CLIP, np.zeros((2, 0))], r"clip 3 of 3 is empty"),
        ([CLIP, []], r"clip 2 of 2 is empty"),
        ([CLIP, np.array([0.0, np.nan])], r"clip 2 of 2 contains NaN or infinite"),
        (np.array([np.inf, 0.0]), r"clip 1 of 1 contains NaN or infinite"),
        (np.array([1e300, 0.0]), r"clip 1 of 1 contains NaN or infinite"),
        (np.zeros((1, 2, 3)), r"clip 1 of 1 has rank 3"),
        (np.float32(0.5), r"clip 1 of 1 has rank 0"),
        ([CLIP, torch.tensor(0.5)], r"clip 2 of 2 has rank 0"),
        (np.zeros((500, 2)), r"clip 1 of 1 has shape \(500, 2\).*transpose"),
        ("a.wav", r"clip 1 of 1 is a str.*load_audio"),
        (bytearray(b"RIFF"), r"clip 1 of 1 is a bytearray.*load_audio"),
        ([memoryview(b"RIFF")], r"clip 1 of 1 is a memoryview.*load_audio"),
        (torch.zeros(5, device="meta"), r"clip 1 of 1 is a meta tensor"),
        ([CLIP, torch.zeros(2, 5).to_sparse()], r"clip 2 of 2 is a sparse_coo tensor"),
        (torch.quantize_per_tensor(torch.zeros(5), 0.1, 0, torch.qint8), r"clip 1 of 1 is a quantized tensor"),
        ([CLIP, b"RIFF"], r"clip 2 of 2 is a bytes.*load_audio"),
        (["a.wav"], r"clip 1 of 1 is a str"),
        (None, r"clip 1 of 1 has samples of type object"),
        (np.zeros(5, bool), r"clip 1 of 1 has samples of type bool.*int16"),
        ([CLIP, np.zeros(5, complex)], r"clip 2 of 2 has samples of type complex128"),
        (np.zeros(5, np.int64), r"clip 1 of 1 has samples of type int64"),
        (torch.zeros(5, dtype=torch.int64), r"clip 1 of 1 has samples of type int64"),
        ([CLIP, [0.5, "x"]], r"clip 2 of 2 has samples of type"),
        ([[[0.5], [0.5, 0.5]]], r"clip 1 of 1 is not an array of samples"),
        ({"bytes": b"RIFF", "path": None}, r"clip 1 of 1 is a dict with the keys \['bytes', 'path'\].*load_audio"),
        ([{"array": CLIP, "sampling_rate": 0}], r'"sampling_rate" of clip 1 of 1 must be a positive .* got 0'),
        ([CLIP, {"array": CLIP, "sampling_rate": "16k"}], r'"sampling_rate" of clip 2 of 2 .* got \'16k\''),
        ([Decoder(CLIP[None], -1)], r"`sample_rate` of clip 1 of 1 must be a positive"),
    ],
)
def test_refusals_name_the_clip(raw_speech, message):
    with pytest.raises(ValueError, match=message):
        prepare(raw_speech)


@pytest.mark.parametrize("rate", [0, -16000, float("nan"), float("inf"), "16000", True, [16000]])
def test_rates_that_are_not_positive_numbers_are_refused(rate):
    with pytest.raises(ValueError, match="`sampling_rate` must be a positive number of Hz"):
        prepare(CLIP, rate)


@pytest.fixture
def warnings_of_the_library():
    messages = []
    handler = python_logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())
    logger = logging.get_logger("audioformer.feature_extraction.waveforms")
    logger.addHandler(handler)
    yield messages
    logger.removeHandler(handler)


def test_missing_rate_warns_once_per_call(warnings_of_the_library):
    prepare([CLIP, CLIP], None)
    assert len(warnings_of_the_library) == 1
    assert "24000 Hz" in warnings_of_the_library[0]
    prepare([CLIP, {"array": CLIP, "sampling_rate": None}], None)
    assert len(warnings_of_the_library) == 2


def test_known_rates_do_not_warn(warnings_of_the_library):
    prepare(CLIP, RATE)
    prepare([{"array": CLIP, "sampling_rate": 8000}, Decoder(CLIP[None])], None)
    assert warnings_of_the_library == []


def test_input_is_not_changed():
    stereo, pcm = np.stack([CLIP, CLIP]), np.arange(5, dtype=np.int16)
    copies = stereo.copy(), pcm.copy()
    prepare([stereo, pcm])
    np.testing.assert_array_equal(stereo, copies[0])
    np.testing.assert_array_equal(pcm, copies[1])


@pytest.mark.parametrize("channels", [3, 8])
def test_a_single_array_of_many_channels_is_one_clip(channels):
    array = np.random.default_rng(0).standard_normal((channels, 500)).astype(np.float32)
    (waveform,) = prepare(array)
    np.testing.assert_array_equal(waveform, array.mean(0, dtype=np.float32))


@pytest.mark.parametrize("rate", [1e-3, 1, 99.9, 10_000_001, 1e300])
def test_rates_that_no_audio_has_are_refused(rate):
    message = "must be from 100 Hz to 10 MHz, got "
    with pytest.raises(ValueError, match=f"`sampling_rate` {message}"):
        prepare(CLIP, rate)
    with pytest.raises(ValueError, match=f'"sampling_rate" of clip 1 of 1 {message}'):
        prepare({"array": CLIP, "sampling_rate": rate})
    with pytest.raises(ValueError, match=message):
        resample(CLIP, rate, RATE)
    with pytest.raises(ValueError, match=message):
        load_audio({"array": CLIP, "sampling_rate": RATE}, rate)
    with pytest.raises(ValueError, match=message):
        load_audio({"array": CLIP, "sampling_rate": rate})


@pytest.mark.parametrize("rate", [100, 10_000_000])
def test_the_limits_themselves_are_allowed(rate):
    assert len(prepare(CLIP[:100], rate)[0])
