"""Groups of clips from the paths of their files, and the patterns that are proposed."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, Features, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.data import ReadingSettings, list_audio_clips, read_listing
from audioformer.data.clips import GroupCounts
from audioformer.data.group_patterns import Proposal, compile_group_pattern, group_in, propose_pattern
from audioformer.data.grouping import groups_of_listing, groups_of_names
from audioformer.data.splits import held_out_split
from audioformer.training.arguments import DataArguments

RATE = 8000
WORDS = st.text("ab_- .é(", min_size=1, max_size=6)


def find(path: str, pattern: str) -> str | None:
    return group_in(path, compile_group_pattern(pattern))


def write(path: Path, seconds: float = 0.2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE)), RATE)


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        (r"(\d+)_(?P<speaker>[a-z]+)_(?P<group>\d+)\.", "32"),
        (r"(\d+)_(?P<speaker>[a-z]+)_(?P<take>\d+)\.", "jackson"),
        (r"(\d+)_([a-z]+)", "7"),
        (r"[a-z]{6,}", "jackson"),
        (r"(x*)7", None),
        (r"(x)|seven", None),
        (r"lucas", None),
    ],
)
def test_the_named_group_then_the_first_one_then_the_match_is_the_group(pattern, group):
    assert find("seven/7_jackson_32.wav", pattern) == group


@pytest.mark.parametrize("pattern", ["(", "", "[z-a]", "a{2,1}"])
def test_what_is_no_pattern_is_refused_with_the_settings(pattern):
    with pytest.raises(
        ValueError, match=rf"`group_pattern` must be a regular expression.*got {re.escape(repr(pattern))}"
    ):
        DataArguments(group_pattern=pattern)


@given(
    clips=st.lists(st.tuples(WORDS, WORDS, st.integers(0, 999)), min_size=20, max_size=60, unique=True),
    seed=st.integers(0, 100),
)
@settings(derandomize=True, deadline=None, max_examples=100)
def test_clips_whose_names_share_a_stem_are_never_divided(clips, seed):
    paths = [f"{folder}/{stem}_{number:03d}.wav" for folder, stem, number in clips]
    groups = [find(path, r"(?P<group>[^/]+)_\d+\.wav$") for path in paths]
    assert groups == [stem for _, stem, _ in clips]
    assert groups == [find(path, r"([^/]+)_(\d+)\.wav$") for path in paths]
    assert groups == [find(path, r"[^/]+(?=_\d+\.wav$)") for path in paths]
    if len(set(groups)) < 4:
        return
    train, held_out = held_out_split(np.array([len(folder) for folder, _, _ in clips]), 0.25, seed, groups)
    assert not {groups[index] for index in train} & {groups[index] for index in held_out}


def test_speakers_of_all_classes_are_proposed_before_stems_of_one():
    names = [(digit, name, take) for digit in range(3) for name in ("ann", "bo") for take in range(4)]
    paths = [f"{digit}/{digit}_{name}_{take}.wav" for digit, name, take in names]
    found = propose_pattern(paths, [[str(digit)] for digit, _, _ in names])
    assert found is not None and (found.clips, found.sharing, found.groups) == (24, 24, 2)
    assert [find(path, found.pattern) for path in paths] == [name for _, name, _ in names]
    # Without classes, nothing tells that the digit is one.
    found = propose_pattern(paths, [[] for _ in names])
    assert found is not None and [find(path, found.pattern) for path in paths][:2] == ["0_ann", "0_ann"]


@pytest.mark.parametrize(
    "names",
    [
        ["dog/dog_1.wav", "dog/dog_2.wav", "cat/cat_1.wav", "cat/cat_2.wav"],
        ["dog/1.wav", "dog/2.wav", "cat/1.wav", "cat/10.wav"],
        ["dog/a.wav", "dog/b.wav", "cat/c_1.wav", "cat/d_1.wav"],
        ["dog/yard_1.wav", "dog/park_1.wav", "dog/yard_2.wav", "cat/sofa_1.wav", "cat/sofa_2.wav"],
    ],
)
def test_names_that_only_count_or_name_the_class_propose_nothing(names):
    assert propose_pattern(names, [[name.split("/")[0]] for name in names]) is None


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.text("ab_-1. ", min_size=1, max_size=7)), max_size=30, unique=True)
)
@settings(derandomize=True, deadline=None, max_examples=200)
def test_a_proposal_says_what_its_pattern_does(clips):
    paths = [f"{label}/{stem}.wav" for label, stem in clips]
    found = propose_pattern(paths, [[label] for label, _ in clips])
    if found is None:
        return
    groups = [find(path, found.pattern) for path in paths]
    shared = {group for group in groups if group is not None and groups.count(group) > 1}
    assert found == Proposal(found.pattern, len(clips), sum(group in shared for group in groups), len(shared))
    assert shared
    for label in "xyz":
        own = [group for group, (name, _) in zip(groups, clips, strict=True) if name == label]
        assert len(own) < 2 or len(set(own) - {None}) + own.count(None) > 1


def test_the_pattern_sees_paths_below_the_source_and_counts_what_it_leaves(tmp_path):
    for name in ("ann/one_1.wav", "ann/one_2.wav", "bo/two_1.wav", "other.wav"):
        write(tmp_path / "data" / "speakers" / name, 2.5 if name == "other.wav" else 0.2)
    rows = ["path,label,id,group", "speakers/ann/one_1.wav,x,a,g", "speakers/ann/one_2.wav,y,b,"]
    rows += ["speakers/bo/two_1.wav,x,c,", "speakers/other.wav,y,d,"]
    (tmp_path / "data" / "list.csv").write_text("\n".join(rows) + "\n")
    listing = read_listing(tmp_path / "data" / "list.csv")
    found = groups_of_listing(listing, "^speakers/([^/]+)/")
    before = list_audio_clips(listing, ReadingSettings(max_length_s=1.0), progress=False)
    clips = found.apply(before)
    assert clips.ids == ["a", "b", "c", "d#0", "d#1", "d#1.5"]
    # The pattern goes before the column, and the windows of a clip stay together in any case.
    assert before.groups == ["g", None, None, "d", "d", "d"] and clips.groups == ["ann", "ann", "bo", "d", "d", "d"]
    assert clips.count_groups() == GroupCounts(4, 3, 2) and clips.digest == before.digest
    assert clips.read(3, RATE).shape == (RATE,)
    text = clips.report.to_text()
    assert "  groups      2; 3 of 4 clips have one (--group-pattern '^speakers/([^/]+)/' matches 3)\n" in text
    with pytest.raises(
        ValueError, match="`group_pattern` 'nobody' finds a group in none of the 4 paths of list.*such as"
    ):
        groups_of_listing(listing, "nobody")
    assert "none (--group-pattern nobody matches none)" in (
        groups_of_listing(read_listing(tmp_path / "data" / "list.csv"), "nobody", must_match=False)
        .apply(list_audio_clips(read_listing(tmp_path / "data", "audio_files"), progress=False))
        .report.to_text()
    )


def test_the_report_proposes_a_pattern_where_there_are_no_groups_only(tmp_path):
    for label in ("x", "y"):
        for name in ("yard_1", "yard_2", "park_1", "alone"):
            write(tmp_path / "sounds" / label / f"{name}.wav")
    listing = read_listing(tmp_path / "sounds")
    clips = groups_of_listing(listing, None).apply(list_audio_clips(listing, progress=False))
    assert clips.groups == [None] * 8 and clips.report.grouped == {"clips": 8, "with_group": 0, "groups": 0}
    text = clips.report.to_text()
    assert "groups      none: clips held out at random may be of recordings and speakers that also train" in text
    proposed = (
        "6 of 8 clips share a part of their names: --group-pattern '([^/]+)[ _.-]+\\d+\\.\\w+$' keeps those together"
    )
    assert proposed in text
    pattern = clips.report.group_proposal["pattern"]
    grouped = groups_of_names(clips, pattern).apply(clips)
    assert sorted(filter(None, grouped.groups)) == ["park"] * 2 + ["yard"] * 4
    assert "none:" not in grouped.report.to_text() and "share a part" not in grouped.report.to_text()
    # With groups, nothing is proposed.
    assert groups_of_names(grouped, None).proposal is None


def test_paths_of_saved_data_sets_are_read_without_their_audio(tmp_path, monkeypatch):
    write(tmp_path / "one.wav")
    audio = [
        {"bytes": (tmp_path / "one.wav").read_bytes(), "path": f"spk{index // 2}_{index}.wav"} for index in range(6)
    ]
    features = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("string")})
    table = Dataset.from_dict({"audio": audio, "label": ["x", "y"] * 3}, features=features)
    table.cast_column("audio", Audio(decode=False)).save_to_disk(tmp_path / "saved")
    listing = read_listing(tmp_path / "saved")
    assert [clip.id for clip in listing.clips.without_audio()] == [clip.id for clip in listing.clips]
    assert not any(clip.audio["bytes"] for clip in listing.clips.without_audio())
    monkeypatch.setattr(type(listing.clips), "__getitem__", lambda *args: pytest.fail("the audio is read"))
    found = groups_of_listing(listing, r"spk\d")
    assert list(found.group_of.values()) == ["spk0", "spk0", "spk1", "spk1", "spk2", "spk2"]
