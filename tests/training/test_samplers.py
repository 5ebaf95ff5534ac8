"""The order of the clips: what is drawn together, how often, and the same on every process."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator, skip_first_batches
from torch.utils.data import DataLoader

from audioformer.training.samplers import (
    ClassBalancedSampler,
    EpochSampler,
    LengthGroupedSampler,
    ShuffledSampler,
    class_balanced_weights,
)

from .processes import run_in_process, run_on_two_processes
from .run_recorded import record

LENGTHS = np.random.default_rng(0).integers(75, 750, 1003)


def samplers():
    labels = np.random.default_rng(1).integers(0, 5, len(LENGTHS))
    return [
        ShuffledSampler(len(LENGTHS), seed=3),
        LengthGroupedSampler(LENGTHS, 16, seed=3),
        ClassBalancedSampler(labels, seed=3),
        ClassBalancedSampler(labels, distinct_within=32, seed=3),
        ShuffledSampler(len(LENGTHS), seed=3, buffer_size=100),
        LengthGroupedSampler(LENGTHS, 16, seed=3, buffer_size=100),
    ]


@pytest.mark.parametrize("number", range(6))
def test_the_order_follows_from_seed_and_epoch(number):
    sampler, again = samplers()[number], samplers()[number]
    first = list(sampler)
    torch.manual_seed(12345)
    assert list(again) == first and len(sampler) == len(first) == 1003
    again.set_epoch(1)
    assert list(again) != first
    again.set_epoch(0)
    assert list(again) == first


@pytest.mark.parametrize("number", [0, 1, 4, 5])
def test_every_clip_comes_once(number):
    assert sorted(samplers()[number]) == list(range(1003))


def test_batches_are_of_similar_length():
    order = list(LengthGroupedSampler(LENGTHS, 16))
    grouped = [LENGTHS[order[start : start + 16]] for start in range(0, 992, 16)]
    shuffled = [LENGTHS[start : start + 16] for start in range(0, 992, 16)]
    padded, unsorted = (sum(batch.max() * 16 for batch in batches) for batches in (grouped, shuffled))
    assert padded < 1.05 * LENGTHS.sum() < 1.5 * LENGTHS.sum() < unsorted
    means = np.array([batch.mean() for batch in grouped])
    assert abs(np.corrcoef(means[:-1], means[1:])[0, 1]) < 0.4  # not from long to short


@pytest.mark.parametrize("grouped", [False, True])
def test_what_is_drawn_for_a_while_lies_in_few_places(grouped):
    num_clips, buffer_size, batch_size = 20_000, 1600, 32
    lengths = np.random.default_rng(0).integers(75, 750, num_clips)
    if grouped:
        sampler = LengthGroupedSampler(lengths, batch_size, buffer_size=buffer_size)
    else:
        sampler = ShuffledSampler(num_clips, buffer_size=buffer_size)
    orders = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        orders.append(np.array(list(sampler)))
        assert sorted(orders[-1]) == list(range(num_clips))
        shards = orders[-1] // 100
        places = [len(set(shards[start : start + 800])) for start in range(0, num_clips - 800, 100)]
        # Sixteen shards of a hundred clips, and those of the next buffer at its border; of two hundred there are.
        assert max(places) <= 34 and np.median(places) <= 32
        assert len(set(shards[:800])) == 16
    together = [set(order[:buffer_size] // 100) for order in orders]
    assert len(together[0] & together[1]) < 8, "other shards in another epoch"
    if grouped:
        batches = lengths[orders[0][: 600 * batch_size].reshape(-1, batch_size)]
        assert batches.max(axis=1).sum() * batch_size < 1.05 * batches.sum()


def test_weights_of_single_labels_make_classes_equal():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    draws = np.array(list(ClassBalancedSampler(labels, num_samples=30_000)))
    np.testing.assert_allclose(np.bincount(labels[draws]) / 30_000, 1 / 3, atol=0.01)


def test_weights_of_several_labels_are_sums():
    labels = np.array([[1, 0], [1, 0], [1, 1], [0, 0]])
    weights = class_balanced_weights(labels)
    expected = np.array([1 / 3, 1 / 3, 1 / 3 + 1, 1 / 3])
    np.testing.assert_allclose(weights, expected / expected.sum())
    draws = np.bincount(list(ClassBalancedSampler(labels, num_samples=40_000)), minlength=4) / 40_000
    np.testing.assert_allclose(draws, weights, atol=0.01)


def test_no_clip_twice_in_a_block():
    labels = np.repeat([0, 1], [995, 8])
    draws = list(ClassBalancedSampler(labels, distinct_within=64))
    blocks = [draws[start : start + 64] for start in range(0, len(draws), 64)]
    assert all(len(set(block)) == len(block) for block in blocks)
    rare = np.mean([sum(index >= 995 for index in block) for block in blocks[:-1]])
    assert rare > 7.9  # half of the draws would be the eight rare clips: they are nearly always in
    with pytest.raises(ValueError, match=r"`distinct_within` must be 1 to.*1003.*got 2000"):
        ClassBalancedSampler(labels, distinct_within=2000)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="`batch_size` must be at least 1, got 0"):
        LengthGroupedSampler([1, 2], 0)
    with pytest.raises(ValueError, match="`buffer_size` must be at least 1, got 0"):
        ShuffledSampler(2, buffer_size=0)
    with pytest.raises(ValueError, match="shape"):
        ClassBalancedSampler(np.zeros((2, 2, 2)))


def samplers_of_32_clips() -> dict[str, EpochSampler]:
    return {
        "length": LengthGroupedSampler(np.arange(32) % 7, 8, seed=1),
        "class": ClassBalancedSampler(np.arange(32) % 5, distinct_within=8, seed=1),
        "buffer": LengthGroupedSampler(np.arange(32) % 7, 8, seed=1, buffer_size=16),
    }


def write_orders(output: Path) -> None:
    """Write the batches that this process gets from accelerate's data loaders."""
    accelerator = Accelerator(cpu=True)
    orders = {}
    for name, sampler in samplers_of_32_clips().items():
        loader = accelerator.prepare(DataLoader(range(32), 4, sampler=sampler))
        for epoch in range(2):
            sampler.set_epoch(epoch)
            orders[f"{name} {epoch}"] = [batch.tolist() for batch in loader]
        sampler.set_epoch(1)
        orders[f"{name} skipped"] = [batch.tolist() for batch in skip_first_batches(loader, 2)]
    (output / f"{accelerator.process_index}.json").write_text(json.dumps(orders))


def test_two_processes_see_together_what_one_sees(tmp_path):
    run_on_two_processes(write_orders, tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    for name, sampler in samplers_of_32_clips().items():
        for epoch in range(2):
            sampler.set_epoch(epoch)
            batches = zip(first[f"{name} {epoch}"], second[f"{name} {epoch}"], strict=True)
            assert [index for pair in batches for batch in pair for index in batch] == list(sampler)
        for seen in (first, second):
            assert seen[f"{name} 0"] != seen[f"{name} 1"]
            assert seen[f"{name} skipped"] == seen[f"{name} 1"][2:]


def test_skipped_batches_on_one_process_are_those_of_the_epoch():
    sampler = LengthGroupedSampler(np.arange(32) % 7, 8, seed=1)
    loader = DataLoader(range(32), 4, sampler=sampler)
    sampler.set_epoch(3)
    whole = [batch.tolist() for batch in loader]
    assert [batch.tolist() for batch in skip_first_batches(loader, 3)] == whole[3:]


def test_the_trainer_feeds_two_processes_what_it_feeds_one_in_every_epoch_and_after_a_resume(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    run_in_process(record, one, 8)
    run_on_two_processes(record, two, 4)
    alone = json.loads((one / "0.json").read_text())
    first, second = (json.loads((two / f"{rank}.json").read_text()) for rank in range(2))
    assert len(alone["whole"]) == 3 * 24 and len(alone["resumed"]) == 4 * 8
    epochs = [alone["whole"][start : start + 24] for start in (0, 24, 48)]
    assert not any(clip in epochs[0] for later in epochs[1:] for clip in later)  # other masks and other crops
    for run in ("whole", "resumed"):
        # Each process has half of the eight clips of a step.
        steps = range(0, len(first[run]), 4)
        together = [
            clip for start in steps for clips in (first[run], second[run]) for clip in clips[start : start + 4]
        ]
        assert together == alone[run]
    assert alone["resumed"] == alone["whole"][5 * 8 :]
