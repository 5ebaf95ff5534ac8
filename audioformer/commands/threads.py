"""How many threads a command computes with."""

import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def usable_cores(cgroup: Path = CGROUP) -> int:
    """Number of cores that this process may use, by its affinity and the quota of its container.

    Args:
        cgroup (`Path`, *optional*): Folder of the control group.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        # Not Linux, or an older kernel: there is no such limit.
        pass
    return max(1, cores)


def share_cores(cores: int | None = None) -> str | None:
    """Give each process of a job on this machine its share of the cores, unless `OMP_NUM_THREADS` says otherwise.

    Processes that have more threads than cores between them wait for each other in every operation, which makes all of
    them several times slower.

    Args:
        cores (`int`, *optional*): Cores that the job may use, by default [`usable_cores`].

    Returns:
        `str` or `None`: Advice, for the first process of a job whose `OMP_NUM_THREADS` is too high.
    """
    import torch

    cores = usable_cores() if cores is None else cores
    processes = max(1, int(os.environ.get("LOCAL_WORLD_SIZE") or 1))
    share = max(1, cores // processes)
    if not os.environ.get("OMP_NUM_THREADS"):
        if torch.get_num_threads() > share:
            torch.set_num_threads(share)
        return None
    threads = torch.get_num_threads()
    if processes == 1 or threads <= share or os.environ.get("LOCAL_RANK", "0") != "0":
        return None
    return (
        f"{processes} processes of {threads} threads share {cores} cores and will wait for each other: set "
        f"OMP_NUM_THREADS={share}"
    )
