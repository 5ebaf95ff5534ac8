"""Processes on one machine share its cores."""

import multiprocessing
import os

import pytest
import torch

from audioformer.commands.threads import share_cores, usable_cores
from audioformer.feature_extraction.codec import use_one_thread_after_fork


@pytest.fixture
def threads(monkeypatch) -> list[int]:
    """The number of threads of torch, as commands set it: the first entry is that of a machine with 8 cores."""
    counts = [8]
    monkeypatch.setattr(torch, "get_num_threads", lambda: counts[-1])
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    for name in ("OMP_NUM_THREADS", "LOCAL_WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    return counts


@pytest.mark.parametrize(
    ("cores", "processes", "expected"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 2, 1), (2, 4, 1), (2, 1, 2)]
)
def test_each_process_has_its_share(threads, monkeypatch, cores, processes, expected):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert share_cores(cores) is None
    assert threads[-1] == expected


def test_what_the_user_sets_stands_and_too_much_is_said_once(threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert share_cores(8) is None
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    advice = share_cores(8)
    assert advice == "2 processes of 8 threads share 8 cores and will wait for each other: set OMP_NUM_THREADS=4"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert share_cores(8) is None
    assert threads == [8]


@pytest.mark.parametrize(("text", "limit"), [("max 100000", 99), ("150000 100000", 2), ("50000 100000", 1), ("?", 99)])
def test_the_quota_of_a_container_counts(tmp_path, monkeypatch, text, limit):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(6)), raising=False)
    (tmp_path / "cpu.max").write_text(text)
    assert usable_cores(tmp_path) == min(6, limit)
    assert usable_cores(tmp_path / "none") == 6


def test_workers_that_were_spawned_have_one_thread(threads, monkeypatch):
    use_one_thread_after_fork()
    assert threads == [8]
    monkeypatch.setattr(multiprocessing, "parent_process", lambda: object())
    use_one_thread_after_fork()
    assert threads == [8, 1]
