"""Sounds for the page, good and bad, and the page as a process of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from audioformer.data import SOUND_EVENTS, synthesize_sound_events

SAMPLING_RATE = 24000


def write_event(path: Path, label: str = "knocks_slowing_down") -> Path:
    """A synthetic sound event, which is none of the page's examples."""
    clip = synthesize_sound_events(1, seed=1)[list(SOUND_EVENTS).index(label)]
    soundfile.write(path, clip.waveform, clip.sampling_rate)
    return path


def write_noise(path: Path, seconds: float, sampling_rate: int = SAMPLING_RATE, channels: int = 1) -> Path:
    noise = 0.1 * np.random.default_rng(0).standard_normal((round(seconds * sampling_rate), channels))
    soundfile.write(path, noise, sampling_rate)
    return path


def write_bad(folder: Path, kind: str) -> Path:
    """A file of a kind that must be refused."""
    path = folder / f"{kind}.wav"
    waveform = np.zeros(SAMPLING_RATE, dtype=np.float32)
    if kind == "text":
        path.write_text("this is not a sound\n" * 100)
    elif kind == "empty":
        path.touch()
    elif kind == "no_samples":
        soundfile.write(path, waveform[:0], SAMPLING_RATE)
    elif kind == "two_hours":
        path = folder / "two_hours.flac"
        soundfile.write(path, np.zeros(2 * 3600 * 8000, dtype=np.int16), 8000)
    elif kind in ("nan", "infinite"):
        waveform[5000] = np.nan if kind == "nan" else np.inf
        soundfile.write(path, waveform, SAMPLING_RATE, subtype="FLOAT")
    elif kind == "raw":
        path = folder / "samples.raw"
        path.write_bytes(waveform.tobytes())
    elif kind == "absurd_rate":
        soundfile.write(path, waveform, 2_000_000_000)
    elif kind == "many_channels":
        soundfile.write(path, np.zeros((100, 200)), SAMPLING_RATE)
    elif kind == "too_large":
        path.touch()
        os.truncate(path, 52_000_000)
    return path


BAD = {
    "text": "text.wav cannot be read as sound",
    "empty": "empty.wav is an empty file",
    "no_samples": "no_samples.wav holds no samples",
    "two_hours": "two_hours.flac lasts 120.0 minutes; up to 10 minutes are accepted",
    "nan": "nan.wav holds NaN or infinite samples",
    "infinite": "infinite.wav holds NaN or infinite samples",
    "raw": "samples.raw cannot be read as sound",
    "absurd_rate": "absurd_rate.wav has a rate of 2,000,000,000 Hz; 1,000 to 768,000 Hz are accepted",
    "many_channels": "many_channels.wav has 200 channels; up to 64 are accepted",
    "too_large": "too_large.wav has 52.0 MB; up to 50 MB are accepted",
}
"""What is said of each kind of bad file."""

APP = ("-m", "audioformer.cli", "app")


@contextmanager
def running_page(command: Sequence[str], **options) -> Iterator[tuple[str, subprocess.Popen]]:
    """Run a command that serves the page; gives its address and its process, and ends it as `kill` does."""
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.PIPE, text=True, **options)
    try:
        line = process.stdout.readline()
        assert "The page is at http://" in line, line
        yield line.split(" is at ")[1].split()[0], process
    finally:
        process.terminate()
        process.communicate(timeout=30)
