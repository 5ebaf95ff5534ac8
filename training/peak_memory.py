"""The most memory that this process has used."""

import re
import resource
import sys
from pathlib import Path

import torch


def peak_memory_gb() -> float:
    """Peak memory of this process in GB: on the GPU if there is one, else in main memory."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `ru_maxrss`: on Linux it starts at what the parent held when it forked this process.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if peak is not None:
            return int(peak[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
