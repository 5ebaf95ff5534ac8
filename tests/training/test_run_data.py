"""A resumed run has the clips that it was begun with, or is refused."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.data.clips import Clips, ClipSplits
from audioformer.data.codes.encoded import EncodedClips
from audioformer.data.report import DataReport
from audioformer.files import RUN_DATA
from audioformer.training.run_data import check_run_data

ROWS = [("a", ["x"]), ("b", ["y"]), ("c", ["x", "y"])]


def clips_of(rows=ROWS, labels=("x", "y"), contents: str | None = None) -> Clips:
    dataset = Dataset.from_dict(
        {"id": [name for name, _ in rows], "labels": [tags for _, tags in rows], "duration_s": [1.0] * len(rows)}
    )
    report = DataReport(source="sounds", layout="class_folders", listed=3, found=3, missing=0, max_length_s=10.0)
    shared = dict(dataset=dataset, labels=list(labels), multi_label=True, label_ids={}, report=report)
    if contents is None:
        return Clips(**shared)
    return EncodedClips(**shared, codec_fingerprint="codec", num_codebooks=1, source="codes", contents=contents)


def arguments(output: Path, resume: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(output_dir=str(output), resume_from_checkpoint=resume)


@pytest.mark.parametrize(
    "changed",
    [
        ClipSplits(clips_of(ROWS[:2]), None, clips_of()),
        ClipSplits(clips_of([("a", ["y"]), *ROWS[1:]]), None, clips_of()),
        ClipSplits(clips_of(ROWS[::-1]), None, clips_of()),
        ClipSplits(clips_of(labels=["y", "x"]), None, clips_of()),
        ClipSplits(clips_of(contents="other codes"), None, clips_of()),
    ],
)
def test_a_run_is_not_resumed_on_other_clips(tmp_path, changed):
    begun = ClipSplits(clips_of(), None, clips_of())
    check_run_data(arguments(tmp_path), begun)
    written = (tmp_path / RUN_DATA).read_text()
    check_run_data(arguments(tmp_path, "last"), begun)
    then, now = begun.train.digest[:12], changed.train.digest[:12]
    message = rf"training clips \(then 3 of sounds, SHA-256 {then}, now \d of sounds, SHA-256 {now}\)"
    with pytest.raises(ValueError, match=message):
        check_run_data(arguments(tmp_path, "last"), changed)
    assert (tmp_path / RUN_DATA).read_text() == written
    # A run that begins records its own.
    check_run_data(arguments(tmp_path), changed)
    assert json.loads((tmp_path / RUN_DATA).read_text())["train"]["digest"] == changed.train.digest


def test_held_out_and_test_clips_count_as_well(tmp_path):
    check_run_data(arguments(tmp_path), ClipSplits(clips_of(), clips_of(), None))
    with pytest.raises(ValueError, match=r"held-out clips \(then 3 .*, now none\), test clips \(then none, now 2 of"):
        check_run_data(arguments(tmp_path, "last"), ClipSplits(clips_of(), None, clips_of(ROWS[:2])))


def test_synthetic_clips_count_as_well(tmp_path):
    begun = ClipSplits(clips_of(), None, None, synthetic=clips_of(ROWS[:2]))
    check_run_data(arguments(tmp_path), begun)
    check_run_data(arguments(tmp_path, "last"), begun)
    assert json.loads((tmp_path / RUN_DATA).read_text())["synthetic"]["num_clips"] == 2
    with pytest.raises(ValueError, match=r"synthetic clips \(then 2 .*, now none\)"):
        check_run_data(arguments(tmp_path, "last"), ClipSplits(clips_of(), None, None))
    check_run_data(arguments(tmp_path / "without"), ClipSplits(clips_of(), None, None))
    assert "synthetic" not in json.loads((tmp_path / "without" / RUN_DATA).read_text())


def test_the_record_of_a_named_checkpoint_lies_above_it(tmp_path):
    begun = tmp_path / "begun"
    check_run_data(arguments(begun), ClipSplits(clips_of(), None, None))
    (begun / "C1" / "checkpoint-5").mkdir(parents=True)
    changed = ClipSplits(clips_of(ROWS[:1]), None, None)
    with pytest.raises(ValueError, match="the run in .*begun was begun with other clips"):
        check_run_data(arguments(tmp_path / "new", str(begun / "C1" / "checkpoint-5")), changed)


def test_runs_of_earlier_versions_are_resumed_with_a_warning(tmp_path, caplog):
    (tmp_path / "checkpoint-5").mkdir()
    check_run_data(arguments(tmp_path, "last"), ClipSplits(clips_of(), None, None))
    assert "an earlier version began the run" in caplog.text
    (tmp_path / RUN_DATA).write_text("[1]")
    with pytest.raises(ValueError, match=r"run_data.json is damaged"):
        check_run_data(arguments(tmp_path, "last"), ClipSplits(clips_of(), None, None))


names = st.text(st.sampled_from("ab,\x00é"), max_size=3)
rows = st.lists(st.tuples(names, st.lists(st.sampled_from(["x", "y"]), max_size=2)), min_size=1, max_size=3)


@given(first=rows, second=rows)
@settings(derandomize=True, deadline=None, max_examples=30)
def test_digests_are_equal_only_for_equal_clips(first, second):
    assert (clips_of(first).digest == clips_of(second).digest) == (first == second)
    assert clips_of(first).digest == clips_of(first, contents="").digest


def test_a_selection_has_the_digest_of_its_clips():
    clips = clips_of()
    assert clips.select([2, 0]).digest == clips_of([ROWS[2], ROWS[0]]).digest
    assert replace(clips, multi_label=False).digest != clips.digest
