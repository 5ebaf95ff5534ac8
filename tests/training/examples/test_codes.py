"""Encoded clips as training examples."""

import numpy as np
import pytest
import torch

from audioformer.training.examples.codes import CodeExamples


def test_an_item_is_boa_codes_eoa_and_label():
    examples = CodeExamples([[np.array([0, 1023], dtype=np.uint16)]], labels=[4])
    assert examples[0]["input_ids"].tolist() == [0, 3, 1026, 2]
    assert examples[0]["labels"].item() == 4
    assert "labels" not in CodeExamples([[np.array([5])]])[0]


def test_crops_and_copies_follow_from_seed_epoch_and_clip_alone():
    codes = np.arange(100, dtype=np.uint16)
    examples = CodeExamples([[codes, codes + 500]] * 3, crop_frames=10, seed=1)
    drawn = []
    for epoch in range(50):
        examples.set_epoch(epoch)
        drawn.append(examples[0]["input_ids"])
    assert all(len(ids) == 12 for ids in drawn)
    assert all(torch.equal(ids[2:-1] - ids[1:-2], torch.ones(9, dtype=torch.int64)) for ids in drawn)
    assert len({ids[1].item() for ids in drawn}) > 20
    assert {ids[1].item() >= 503 for ids in drawn} == {True, False}
    again = CodeExamples([[codes, codes + 500]] * 3, crop_frames=10, seed=1)
    again.set_epoch(7)
    torch.manual_seed(99)
    assert torch.equal(again[0]["input_ids"], drawn[7])
    assert len({example["draw_seed"] for example in (again[0], again[1], again[2])}) == 3
    assert CodeExamples([[codes]], seed=2)[0]["draw_seed"] != CodeExamples([[codes]], seed=1)[0]["draw_seed"]


def test_rows_of_codes():
    rows = np.array([[1, 2, 3], [11, 12, 13], [21, 22, 23]], dtype=np.uint16)
    item = CodeExamples([rows], codebook=1, positive_codebooks=[0, 2])[0]
    assert item["input_ids"].tolist() == [0, 14, 15, 16, 2]
    assert item["positive_input_ids"].tolist() == [[0, 4, 5, 6, 2], [0, 24, 25, 26, 2]]


def test_all_rows_are_cropped_at_one_place():
    rows = np.arange(100, dtype=np.uint16) + np.array([[0], [200]], dtype=np.uint16)
    item = CodeExamples([rows], crop_frames=5, positive_codebooks=[1])[0]
    assert torch.equal(item["positive_input_ids"][0, 1:-1], item["input_ids"][1:-1] + 200)


def test_positives_are_those_of_the_clip(tmp_path):
    vectors = np.lib.format.open_memmap(tmp_path / "v.npy", mode="w+", dtype=np.float32, shape=(3, 2, 4))
    vectors[:] = np.arange(24).reshape(3, 2, 4)
    examples = CodeExamples([np.array([1, 2])] * 3, positives=vectors)
    assert examples[1]["positives"].tolist() == vectors[1].tolist()
    for options in ({"crop_frames": 1}, {}):
        clips = [[np.array([1, 2])]] * 3 if not options else [np.array([1, 2])] * 3
        with pytest.raises(ValueError, match="whole clips"):
            CodeExamples(clips, positives=vectors, **options)


def test_lengths_are_those_of_the_items():
    clips = [np.zeros(length, dtype=np.uint16) for length in (3, 50, 12)]
    assert CodeExamples(clips).lengths.tolist() == [5, 52, 14]
    cropped = CodeExamples(clips, crop_frames=10)
    assert cropped.lengths.tolist() == [5, 12, 12] == [len(item["input_ids"]) for item in cropped]


def test_workers_that_live_on_see_the_epoch():
    examples = CodeExamples([np.arange(100)] * 4, crop_frames=5)
    loader = torch.utils.data.DataLoader(
        examples, num_workers=2, persistent_workers=True, batch_size=None, multiprocessing_context="fork"
    )
    by_epoch = []
    for epoch in (0, 1, 0):
        examples.set_epoch(epoch)
        by_epoch.append([item["input_ids"].tolist() for item in loader])
    assert by_epoch[0] != by_epoch[1] and by_epoch[0] == by_epoch[2]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 labels for 1 clips"):
        CodeExamples([[np.array([1])]], labels=[0, 1])
    with pytest.raises(ValueError, match="at least one array"):
        CodeExamples([[]])
    with pytest.raises(ValueError, match="3 positives for 1 clips"):
        CodeExamples([np.array([1])], positives=np.zeros((3, 1, 2)))


def test_a_codebook_that_the_codes_lack_is_never_replaced_by_another():
    alone = np.array([7, 8], dtype=np.uint16)
    assert CodeExamples([alone], codebook=3)[0]["input_ids"].tolist() == [0, 10, 11, 2]
    for num_codebooks in (1, 2):
        with pytest.raises(IndexError):
            CodeExamples([np.tile(alone, (num_codebooks, 1))], codebook=num_codebooks)[0]
