import pytest
import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor

from .common import make_codec


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """The models are tiny: on a busy machine, threads would wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def codec():
    """Shared by all tests: never change it."""
    return make_codec()


@pytest.fixture
def extractor(codec):
    return AudioFormerFeatureExtractor(codec=codec)


@pytest.fixture
def hf_home(tmp_path, monkeypatch):
    """Keeps what is cached away from the user's own cache."""
    from transformers.utils.hub import constants

    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf_home"))
    return tmp_path / "hf_home"
