"""The family of the tests, registered while they run, and sounds for it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audioformer.training import families

from . import spectrogram_family


@pytest.fixture(scope="package")
def family() -> Iterator[families.Family]:
    spectrogram_family.register_auto_classes()
    families.register_family(spectrogram_family.FAMILY)
    yield spectrogram_family.FAMILY
    families._ADDED.pop(spectrogram_family.FAMILY.name)


@pytest.fixture(scope="package")
def sounds(tmp_path_factory) -> Path:
    """Hums and hisses of half a second to two, in folders of classes, for training and for testing."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(40):
        rng = np.random.default_rng(index)
        time_s = np.arange(rng.integers(4000, 16000)) / 8000
        kind = ("hum", "hiss")[index % 2]
        hum = 0.3 * np.sin(2 * np.pi * rng.uniform(150, 400) * time_s)
        waveform = hum if kind == "hum" else 0.1 * rng.standard_normal(len(time_s))
        path = folder / ("test" if index % 4 >= 2 else "train") / kind / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform, 8000)
    return folder
