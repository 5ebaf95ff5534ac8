"""The clips that the bundled classifier may be trained on."""

import csv

import pytest

from audioformer.data.readers import read_listing
from audioformer.experiments.licensed_clips import list_licensed_clips

from .esc50_folder import write_esc50


@pytest.fixture
def data(tmp_path):
    return write_esc50(tmp_path / "esc", num_folds=2, clips_per_class_and_fold=2, duration_s=0.1, is_one_missing=True)


def names_in(data):
    return {path.name for path in (data / "audio").iterdir()}


def test_the_manifest_lists_label_fold_and_group_of_the_clips_in_use(data, tmp_path):
    used = sorted(names_in(data))[:-1]
    clips = list_licensed_clips(data, tmp_path / "out", used)
    assert (clips.name, clips.num_listed, len(clips.clips), clips.folds) == ("esc", 13, 11, [1, 2])
    listed = {clip.id: clip for clip in read_listing(clips.manifest).clips}
    assert len(listed) == 11
    for original in read_listing(data, max_missing_share=1).clips:
        if original.id in listed:
            found = listed[original.id]
            assert (found.audio, found.labels, found.fold, found.group) == (
                *(original.audio, original.labels, original.fold, original.group),
            )
        else:
            assert str(original.audio).endswith(sorted(names_in(data))[-1])


def test_missing_files_unknown_names_and_clips_without_folds_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="1 listed clips are missing, first: 1-999-A-0.wav"):
        list_licensed_clips(data, tmp_path / "out", ["1-999-A-0.wav"])
    with pytest.raises(ValueError, match="none of the 12 clips is among the 1 names"):
        list_licensed_clips(data, tmp_path / "out", ["other.wav"])
    names = names_in(data)
    manifest = data / "audio" / "list.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], [sorted(names)[0], "hum"]])
    with pytest.raises(ValueError, match="must have a fold and one label; clip .* has the fold None"):
        list_licensed_clips(manifest, tmp_path / "out", names)
    assert not (tmp_path / "out").exists()
