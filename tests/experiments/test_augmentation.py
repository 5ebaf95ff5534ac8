"""Augmented copies of data sets as files."""

import csv

import pytest
import soundfile

from audioformer.data.readers import read_listing
from audioformer.experiments.augmentation import write_augmented_copies

from .esc50_folder import write_esc50


@pytest.fixture
def data(tmp_path):
    return write_esc50(tmp_path / "esc", num_folds=2, clips_per_class_and_fold=2, duration_s=0.1, is_one_missing=True)


def names_in(data):
    return {path.name for path in (data / "audio").iterdir()}


def test_copies_share_label_fold_and_group_with_their_clip(data, tmp_path):
    clips = write_augmented_copies(data, tmp_path / "copies", 3, names=names_in(data), sampling_rate=8000)
    assert (clips.name, clips.num_listed, len(clips.clips), clips.folds) == ("esc", 13, 12, [1, 2])
    listing = read_listing(clips.with_copies)
    assert len(listing.clips) == 4 * 12 and len({clip.id for clip in listing.clips}) == 48 and not listing.missing
    for original in read_listing(data, max_missing_share=1).clips:
        versions = [clip for clip in listing.clips if clip.id.split("-copy-")[0] == original.id]
        assert len(versions) == 4
        assert {(clip.labels, clip.fold, clip.group) for clip in versions} == {
            (original.labels, original.fold, original.group)
        }
        assert sum(clip.audio == original.audio for clip in versions) == 1
        copies = [soundfile.read(clip.audio) for clip in versions if clip.audio != original.audio]
        assert {rate for _, rate in copies} == {8000}
        assert len({waveform.tobytes() for waveform, _ in copies}) == 3
    assert [clip.id for clip in read_listing(clips.originals).clips] == [clip.id for clip in clips.clips]
    for fold, manifest in clips.originals_of_fold.items():
        listed = {clip.id for clip in read_listing(manifest).clips}
        assert listed == {clip.id for clip in clips.clips if clip.fold == fold}


def test_a_copy_depends_on_seed_clip_and_number_alone_and_existing_files_are_kept(data, tmp_path):
    names = names_in(data)
    write_augmented_copies(data, tmp_path / "copies", 2, names=names)
    files = {path.name: path.read_bytes() for path in (tmp_path / "copies").glob("*.flac")}
    assert len(files) == len(set(files.values())) == 24
    removed, kept = sorted((tmp_path / "copies").glob("*.flac"))[:2]
    removed.unlink()
    kept.write_bytes(b"as it was")
    write_augmented_copies(data, tmp_path / "copies", 2, names=names)
    assert removed.read_bytes() == files[removed.name] and kept.read_bytes() == b"as it was"

    write_augmented_copies(data, tmp_path / "fewer", 1, names=sorted(names)[-3:])
    fewer = {path.name: path.read_bytes() for path in (tmp_path / "fewer").glob("*.flac")}
    assert len(fewer) == 3 and fewer.items() <= files.items()
    write_augmented_copies(data, tmp_path / "other", 2, names=names, seed=1)
    assert all((tmp_path / "other" / name).read_bytes() != content for name, content in files.items())


def test_missing_files_unknown_names_and_clips_without_folds_are_refused(data, tmp_path):
    with pytest.raises(ValueError, match="1 listed clips are missing, first: 1-999-A-0.wav"):
        write_augmented_copies(data, tmp_path / "copies", 1)
    with pytest.raises(ValueError, match="none of the 12 clips is among the 1 names"):
        write_augmented_copies(data, tmp_path / "copies", 1, names=["other.wav"])
    manifest = data / "audio" / "list.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["path", "label"], [sorted(names_in(data) - {"list.csv"})[0], "hum"]])
    with pytest.raises(ValueError, match="must have a fold and one label; clip .* has the fold None"):
        write_augmented_copies(manifest, tmp_path / "copies", 1)
