"""Running functions and scripts in fresh processes, alone or as a group that communicates over gloo."""

import gc
import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from torch.multiprocessing import start_processes

PRELOADED = ["accelerate", "datasets", "transformers.trainer", "audioformer.training"]
"""Imported once, in the server from which all processes are forked: importing them takes seconds per process."""


def run_in_process(target: Callable[..., Any] | Path, *arguments: Any, timeout_s: float = 120) -> None:
    """Run a function, or a script with arguments, in a process of its own.

    Raises:
        torch.multiprocessing.ProcessRaisedException: If it raised, with its traceback.
        torch.multiprocessing.ProcessExitedException: If it was killed or exited otherwise.
        TimeoutError: If it took more than `timeout_s` seconds; it is killed then.
    """
    _run(target, arguments, 1, timeout_s)


def run_on_two_processes(target: Callable[..., Any] | Path, *arguments: Any, timeout_s: float = 120) -> None:
    """Run a function, or a script with arguments, as rank 0 and 1 of one group; raises as [`run_in_process`]."""
    _run(target, arguments, 2, timeout_s)


def _run(target: Callable[..., Any] | Path, arguments: tuple[Any, ...], num_processes: int, timeout_s: float) -> None:
    multiprocessing.set_forkserver_preload(PRELOADED)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = start_processes(
        _enter,
        args=(num_processes, port, multiprocessing.get_start_method(), target, arguments),
        nprocs=num_processes,
        join=False,
        start_method="forkserver",
    )
    deadline = time.monotonic() + timeout_s
    try:
        while not processes.join(timeout=deadline - time.monotonic()):
            if time.monotonic() >= deadline:
                raise TimeoutError(f"{target} takes more than {timeout_s} s.")
    finally:
        for process in processes.processes:
            process.kill()


def _enter(
    rank: int,
    num_processes: int,
    port: int,
    start_method: str,
    target: Callable[..., Any] | Path,
    arguments: tuple[Any, ...],
) -> None:
    # A forked process would start its own children, such as the workers of a data loader, from a server of its own.
    multiprocessing.set_start_method(start_method, force=True)
    if num_processes > 1:
        os.environ |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(num_processes),
            "LOCAL_WORLD_SIZE": str(num_processes),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "ACCELERATE_USE_CPU": "true",
            "OMP_NUM_THREADS": "1",
        }
    torch.set_num_threads(1)
    if isinstance(target, Path):
        sys.argv = [str(target), *map(str, arguments)]
        sys.path.insert(0, str(target.parent))
        runpy.run_path(str(target), run_name="__main__")
    else:
        target(*arguments)
    if torch.distributed.is_initialized():
        # A process that exits with its group open may crash in the threads of gloo after all its work is done.
        # Wrapped models hold the group, and whoever lets go of it last waits for its thread. A model would do so with
        # Python's lock held, which that thread may need: models must be gone first.
        gc.collect()
        torch.distributed.destroy_process_group()
