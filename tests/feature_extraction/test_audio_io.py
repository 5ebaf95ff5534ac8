"""Reading files: soundfile writes them, so what comes back is known."""

import io

import numpy as np
import pytest
import soundfile
import soxr

from audioformer.feature_extraction import load_audio

from .common import make_clip


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


def test_open_files():
    buffer = io.BytesIO()
    soundfile.write(buffer, make_clip(100) / 4, 8000, format="WAV", subtype="FLOAT")
    buffer.seek(0)
    np.testing.assert_array_equal(load_audio(buffer)[0], make_clip(100) / 4)


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.wav"):
        load_audio(tmp_path / "nowhere.wav")
    (tmp_path / "text.wav").write_text("This is no audio.")
    with pytest.raises(ValueError, match="text.wav"):
        load_audio(tmp_path / "text.wav")
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(ValueError, match="empty.wav' holds no samples"):
        load_audio(tmp_path / "empty.wav")
    soundfile.write(tmp_path / "good.wav", np.zeros(9), 8000)
    with pytest.raises(ValueError, match="`sampling_rate` must be a positive"):
        load_audio(tmp_path / "good.wav", 0)


def test_what_soundfile_cannot_read_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchcodec", None)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    (tmp_path / "sound.m4a").write_bytes(b"\0\0\0\x18ftypM4A " + b"\0" * 100)
    with pytest.raises(ValueError, match=r"sound.m4a.*pip install torchcodec"):
        load_audio(tmp_path / "sound.m4a")
