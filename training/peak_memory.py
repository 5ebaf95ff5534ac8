"""The most memory that this process has used."""

import contextlib
import ctypes
import gc
import re
import resource
import sys
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"


def peak_memory_gb(device: str | None = None) -> float:
    """Peak memory of this process in GB.

    Args:
        device (`str`, *optional*): `"cuda"` for that on the GPU, anything else for main memory; by default the GPU if
            there is one.
    """
    if _is_gpu(device):
        return torch.cuda.max_memory_allocated() / 1e9
    peak = _from_status("VmHWM")
    if peak is not None:
        # Not `ru_maxrss`: on Linux it starts at what the parent held when it forked this process.
        return peak
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def restart_peak_memory(device: str | None = None) -> float | None:
    """Let [`peak_memory_gb`] tell the peak from now on, and free what can be freed before.

    Args:
        device (`str`, *optional*): As for [`peak_memory_gb`].

    Returns:
        `float` or `None`: What this process holds now in GB, to be subtracted from the peak; `None` where the peak
        goes on from what it was, as the system offers no way to restart it.
    """
    gc.collect()
    if _is_gpu(device):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated() / 1e9
    # What the allocator keeps of earlier models would be used again, and counted for none. Only glibc has it.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
    try:
        _RESET.write_text(_RESET_PEAK)
    except OSError:
        return None
    return _from_status("VmRSS")


def _is_gpu(device: str | None) -> bool:
    return torch.cuda.is_available() and device in (None, "cuda")


def _from_status(name: str) -> float | None:
    """A size of this process in GB from what Linux says of it; `None` elsewhere."""
    if not _STATUS.is_file():
        return None
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    return None if found is None else int(found[1]) * 1024 / 1e9
