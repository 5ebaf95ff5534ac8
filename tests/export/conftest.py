import pytest
import torch


@pytest.fixture(autouse=True, scope="package")
def one_thread():
    """The models are so tiny that several threads would mostly wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="package")
def onnx_packages():
    """For tests that export: they need the extra `onnx`."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: it comes with the extra `onnx`")
