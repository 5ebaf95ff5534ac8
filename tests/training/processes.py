"""Running a script on two processes that talk over gloo."""

import os
import socket
import subprocess
import sys
from pathlib import Path

# A process that exits with its group open may crash in the threads of gloo, after all its work is done. Wrapped models
# hold the group: they have to go first.
LEAVE_THE_GROUP = """
import gc, os, runpy, sys
import torch.distributed

sys.argv = sys.argv[1:]
sys.path.insert(0, os.path.dirname(sys.argv[0]))
runpy.run_path(sys.argv[0], run_name="__main__")
if torch.distributed.is_initialized():
    gc.collect()
    torch.distributed.destroy_process_group()
"""


def run_on_two_processes(script: Path, *arguments: str, timeout_s: float = 120) -> None:
    """Run a script as rank 0 and 1 of one group; raises if one fails, with what it said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", LEAVE_THE_GROUP, str(script), *arguments]
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        for process in processes:
            said, _ = process.communicate(timeout=timeout_s)
            assert process.returncode == 0, said
    finally:
        for process in processes:
            process.kill()
