"""Reading audio: soundfile writes the files, so what must come back is known."""

import io
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr
import torch

from audioformer.data.audio import load_audio, open_audio

from ...feature_extraction.common import make_clip

M4A = b"\0\0\0\x18ftypM4A " + b"\0" * 100


def install_decoder(monkeypatch, samples: np.ndarray, sampling_rate: int) -> list:
    """Install a look-alike of torchcodec that decodes every source to `samples`; returns the list of its sources."""
    sources = []

    class AudioDecoder:
        def __init__(self, source):
            sources.append(source)

        def get_all_samples(self):
            return SimpleNamespace(data=torch.from_numpy(samples), sample_rate=sampling_rate)

    decoders = ModuleType("torchcodec.decoders")
    decoders.AudioDecoder = AudioDecoder
    package = ModuleType("torchcodec")
    package.decoders = decoders
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    return sources


def flac_of_unknown_length(samples: np.ndarray, sampling_rate: int) -> bytes:
    """A FLAC file as an encoder writes it that cannot seek: its header leaves the number of samples at 0."""
    file = io.BytesIO()
    soundfile.write(file, samples, sampling_rate, format="FLAC")
    content = bytearray(file.getvalue())
    # 36 bits, behind "fLaC", the header of the first block, and 13.5 bytes of that block.
    content[21] &= 0xF0
    content[22:26] = bytes(4)
    return bytes(content)


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.2), ("mp3", 0.2)])
def test_formats(tmp_path, suffix, tolerance):
    clip = 0.3 * np.sin(np.arange(8000) / 20).astype(np.float32)
    path = tmp_path / f"a clip.{suffix}"
    soundfile.write(path, clip, 16000)
    waveform, rate = load_audio(path)
    assert rate == 16000 and waveform.dtype == np.float32 and waveform.ndim == 1
    np.testing.assert_allclose(waveform[1000:7000], clip[1000:7000], atol=tolerance)
    assert load_audio(str(path))[0].shape == waveform.shape


def test_stereo_is_averaged_and_resampled(tmp_path):
    stereo = np.stack([make_clip(4410, 1), make_clip(4410, 2)], axis=1) / 4
    path = tmp_path / "stereo.wav"
    soundfile.write(path, stereo, 44100, subtype="FLOAT")
    waveform, rate = load_audio(path, 24000)
    assert rate == 24000 and waveform.flags.c_contiguous
    np.testing.assert_allclose(
        waveform, soxr.resample(stereo.mean(axis=1), 44100, 24000, quality="HQ"), rtol=0, atol=1e-6
    )


def test_every_kind_of_source_gives_the_same_samples(tmp_path):
    stereo = np.stack([make_clip(1000, 1), make_clip(1000, 2)], axis=1) / 4
    path = tmp_path / "a.wav"
    soundfile.write(path, stereo, 8000, subtype="FLOAT")
    with path.open("rb") as file:
        sources = [
            path,
            str(path),
            {"path": str(path), "bytes": None},
            {"path": "elsewhere.wav", "bytes": path.read_bytes()},
            {"array": stereo.T, "sampling_rate": 8000},
            {"array": stereo.mean(axis=1).tolist(), "sampling_rate": 8000},
            io.BytesIO(path.read_bytes()),
            file,
        ]
        for source in sources:
            waveform, rate = load_audio(source)
            assert rate == 8000 and waveform.dtype == np.float32
            np.testing.assert_allclose(waveform, stereo.mean(axis=1), atol=1e-7)


def test_pieces_are_read_in_any_order_and_end_where_the_audio_ends(tmp_path):
    samples = make_clip(1000) / 4
    soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
    with open_audio(tmp_path / "a.wav") as audio:
        assert (audio.sampling_rate, audio.num_samples) == (8000, 1000)
        for start, stop in ((500, 600), (600, 700), (0, 10), (990, 1200)):
            np.testing.assert_array_equal(audio.read(start, stop), samples[start:stop])


@pytest.mark.parametrize("num_samples", [5000, 1_500_000])
def test_a_file_that_does_not_state_its_length_is_read_to_its_end(tmp_path, num_samples):
    """Also one of minutes, which is decoded in many blocks."""
    samples = (make_clip(num_samples) / 4).astype(np.float32)
    content = flac_of_unknown_length(samples, 16000)
    (tmp_path / "a.flac").write_bytes(content)
    for source in (tmp_path / "a.flac", {"bytes": content}):
        with open_audio(source) as audio:
            assert audio.num_samples == num_samples
            tail = samples[num_samples - 1000 :]
            np.testing.assert_allclose(audio.read(num_samples - 1000, num_samples), tail, atol=1e-4)


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.wav"):
        load_audio(tmp_path / "nowhere.wav")
    (tmp_path / "text.wav").write_text("This is not audio.")
    with pytest.raises(ValueError, match="text.wav"):
        load_audio(tmp_path / "text.wav")
    (tmp_path / "text.raw").write_text("This is not audio either.")
    with pytest.raises(ValueError, match="text.raw"):
        load_audio(tmp_path / "text.raw")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(ValueError, match="empty.wav' holds no samples"):
        load_audio(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "good.wav", np.zeros(9), 8000)
    with pytest.raises(ValueError, match="`sampling_rate` must be a positive"):
        load_audio(tmp_path / "good.wav", 0)


@pytest.mark.parametrize(
    "source, message",
    [
        ({"path": None, "bytes": None}, "neither a path nor bytes nor samples"),
        ({"array": np.zeros(9, np.int16), "sampling_rate": 8000}, "type int16; floating point"),
        ({"array": np.zeros((1, 1, 9)), "sampling_rate": 8000}, r"shape \(1, 1, 9\)"),
        ({"array": np.zeros(9)}, "`sampling_rate` of audio in memory must be a positive number of Hz, got None"),
        (7, "must be a path, a binary file, or a dict.*got a int"),
    ],
)
def test_sources_that_are_not_audio_are_refused(source, message):
    with pytest.raises(ValueError, match=message):
        load_audio(source)


def test_what_soundfile_cannot_read_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    (tmp_path / "sound.m4a").write_bytes(M4A)
    with pytest.raises(ValueError, match=r"sound.m4a.*pip install torchcodec"):
        load_audio(tmp_path / "sound.m4a")


def test_what_soundfile_cannot_read_is_left_to_torchcodec(tmp_path, monkeypatch):
    stereo = np.stack([make_clip(1000, 1), make_clip(1000, 2)]) / 4
    sources = install_decoder(monkeypatch, stereo, 48000)
    (tmp_path / "sound.m4a").write_bytes(M4A)
    for source in (tmp_path / "sound.m4a", {"path": "sound.m4a", "bytes": M4A}):
        waveform, rate = load_audio(source)
        assert rate == 48000
        np.testing.assert_allclose(waveform, stereo.mean(axis=0), atol=1e-7)
    assert sources[0] == str(tmp_path / "sound.m4a") and sources[1].tell() == 0
    with open_audio(tmp_path / "sound.m4a") as audio:
        assert audio.num_samples == 1000 and len(audio.read(900, 2000)) == 100
