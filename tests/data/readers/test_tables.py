"""Tables as people write them: what can be meant is read as it was meant, everything else is named with its row."""

import codecs
import csv
import io
import json
from pathlib import Path

import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.data.readers import read_listing

FILES = ("a.wav", "b.wav", "c.wav", "d.wav")
QUICK = settings(derandomize=True, deadline=None, max_examples=50)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for name in FILES:
        soundfile.write(folder / name, [0.1] * 80, 8000)
    return folder


def write_csv(rows: list[list[str]], delimiter: str, line_end: str = "\n") -> str:
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return text.getvalue()


# Names of classes as they come: with separators, quotes, marks of other scripts, and what looks like a number.
names = st.text(
    st.one_of(st.sampled_from(",\t\"' #-_.0123|:é中🐕\u2028"), st.characters(codec="utf-8", categories=("L", "N"))),
    min_size=1,
    max_size=8,
).filter(lambda name: name == name.strip() and not name.startswith("["))


@QUICK
@given(
    labels=st.lists(st.lists(names, min_size=1, max_size=3, unique=True), min_size=4, max_size=4),
    suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]),
    mark=st.sampled_from([b"", codecs.BOM_UTF8]),
    line_end=st.sampled_from(["\n", "\r\n"]),
    single=st.booleans(),
    as_list=st.booleans(),
)
def test_what_is_written_is_read(sounds, labels, suffix, mark, line_end, single, as_list):
    labels = [entry[:1] for entry in labels] if single else labels
    rows = list(zip(FILES, labels, strict=True))
    if suffix in (".csv", ".tsv"):
        cells = [[file, json.dumps(entry) if as_list else ";".join(entry)] for file, entry in rows]
        text = write_csv([["path", "label"], *cells], "\t" if suffix == ".tsv" else ",", line_end)
    else:
        objects = [{"path": file, "label": entry if as_list else ";".join(entry)} for file, entry in rows]
        dumped = [json.dumps(entry, ensure_ascii=False) for entry in objects]
        text = line_end.join(dumped) if suffix == ".jsonl" else json.dumps(objects, ensure_ascii=False)
    path = sounds / f"list{suffix}"
    path.write_bytes(mark + text.encode())
    listing = read_listing(path)
    assert [clip.labels for clip in listing.clips] == [tuple(entry) for entry in labels]
    assert listing.labels == sorted({name for entry in labels for name in entry})
    assert listing.multi_label is any(len(entry) > 1 for entry in labels)
    assert [Path(str(clip.audio)).name for clip in listing.clips] == list(FILES) and not listing.missing


WRONG_CELLS = {
    "label": [None, {"a": 1}, [["a"]], [None], [""], float("nan"), "", "  ", ";", ";;", "[", '["a"', "\ud800"],
    "path": [None, "", " ", 7, {}, [], "\ud800"],
    "start_s": ["x", "nan", "inf", -1, "-0.5", [], {}, True, 1e400],
    "end_s": ["x", "nan", "inf", 0, -1, "1e999", [], True],
    "fold": ["one", 1.5, "1.5", "nan", 1e12, [], True, {}],
    "id": [{}, [], ["a"]],
    "split": [{}, ["a"]],
    "group": [{}, ["a"]],
}
IN_TEXT = {
    name: [value for value in values if isinstance(value, str) and "\ud800" not in value]
    for name, values in WRONG_CELLS.items()
}


@QUICK
@given(data=st.data(), suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]), number=st.integers(1, 4))
def test_a_row_that_cannot_be_meant_is_named(sounds, data, suffix, number):
    is_json = suffix.startswith(".json")
    allowed = WRONG_CELLS if is_json else {name: values for name, values in IN_TEXT.items() if values}
    column = data.draw(st.sampled_from(sorted(allowed)))
    value = data.draw(st.sampled_from(allowed[column]))
    rows = [{"path": file, "label": "dog", column: ("dog" if column == "label" else None)} for file in FILES]
    for row, file in zip(rows, FILES, strict=True):
        row["path"] = file
    rows[number - 1][column] = value
    if is_json:
        text = "\n".join(map(json.dumps, rows)) if suffix == ".jsonl" else json.dumps(rows)
    else:
        cells = [["" if row[name] is None else row[name] for name in rows[0]] for row in rows]
        text = write_csv([list(rows[0]), *cells], "\t" if suffix == ".tsv" else ",")
    path = sounds / f"wrong{suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError) as error:
        read_listing(path)
    message = str(error.value)
    assert str(path) in message and f"row {number}" in message
    assert f"`{column}`" in message or "Unicode" in message


@QUICK
@given(
    encoding=st.sampled_from(
        ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "cp1252", "cp437", "shift-jis"]
    ),
    suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]),
    at=st.integers(0, 3),
)
def test_another_encoding_is_named_with_the_file(sounds, encoding, suffix, at):
    special = "ラ" if encoding == "shift-jis" else "é"
    rows = [{"path": file, "label": special if index == at else "dog"} for index, file in enumerate(FILES)]
    if suffix.startswith(".json"):
        text = (
            "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
            if suffix == ".jsonl"
            else json.dumps(rows, ensure_ascii=False)
        )
    else:
        text = write_csv(
            [["path", "label"], *map(lambda row: list(row.values()), rows)], "\t" if suffix == ".tsv" else ","
        )
    path = sounds / f"encoded{suffix}"
    path.write_bytes(text.encode(encoding))
    with pytest.raises(ValueError, match=r"must be text in UTF-8, but line \d+") as error:
        read_listing(path)
    assert str(path) in str(error.value)


@QUICK
@given(suffix=st.sampled_from([".csv", ".tsv", ".json", ".jsonl"]), content=st.binary(max_size=60))
def test_any_bytes_are_a_table_or_an_error_that_names_the_file(sounds, suffix, content):
    path = sounds / f"bytes{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_listing(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "path,label\na.wav,dog, barking\nb.wav,dog\n", "row 1: 3 cells, but the header has 2"),
        ("a.csv", "path,label\na.wav,dog\nb.wav\n", "row 2: 1 cells, but the header has 2"),
        ("a.csv", 'path,label\na.wav,"dog\nb.wav,cat\n', "a.csv, line 3: unexpected end of data"),
        ("a.csv", "path;label\na.wav;dog\n", "holds ';': cells must be separated by commas"),
        ("a.tsv", "path,label\na.wav,dog\n", "holds ',': cells must be separated by tabs"),
        ("a.csv", "path,label,label\na.wav,dog,cat\n", r"these come twice: \['label'\]"),
        ("a.csv", "path,label\na.wav,dog\nb.wav,\n", "row 2: `label` is empty, although no other row has several"),
        ("a.csv", "path,label\n" + ",dog\n" * 12, r"(?s)12 rows are wrong:\n  row 1: `path`.*row 10: .*and 2 more"),
        ("a.jsonl", '{"path": "a.wav", "label": "x"}\n{"path"\n', r"a.jsonl, line 2, is not JSON"),
        ("a.jsonl", '{"path": "a.wav", "label": "x"}\n7\n', r"row 2: must be an object"),
        ("a.json", "[" * 100_000, "a.json is not JSON"),
        ("a.json", '[{"path": "a.wav"}]', r"one of the columns \['label'"),
    ],
)
def test_mistakes_in_the_form_are_named(sounds, name, text, message):
    (sounds / name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_listing(sounds / name)


def test_empty_labels_are_meant_where_clips_have_several_or_none(sounds):
    (sounds / "a.csv").write_text("path,label\na.wav,dog;cat\nb.wav,\n,\n")
    listing = read_listing(sounds / "a.csv")
    assert listing.multi_label and [clip.labels for clip in listing.clips] == [("dog", "cat"), ()]
    (sounds / "a.csv").write_text("path,label\na.wav,\nb.wav,\n")
    assert [clip.labels for clip in read_listing(sounds / "a.csv").clips] == [(), ()]
    (sounds / "a.json").write_text('[{"path": "a.wav", "label": ["dog"]}, {"path": "b.wav", "label": []}]')
    listing = read_listing(sounds / "a.json")
    assert listing.multi_label and listing.clips[1].labels == ()


def test_overlong_cells_are_read(sounds):
    (sounds / "a.csv").write_text(f"path,label,text\na.wav,dog,{'x' * 200_000}\n{'y/' * 100_000}z.wav,dog,\n")
    listing = read_listing(sounds / "a.csv", max_missing_share=0.5)
    assert [clip.id for clip in listing.clips] == ["a.wav"] and len(listing.missing) == 1
    assert csv.field_size_limit() == 131_072


@QUICK
@given(num_missing=st.integers(0, 30), share=st.none() | st.floats(0, 1), rare=st.booleans())
def test_missing_files_are_limited(sounds, num_missing, share, rare):
    rows = [("a.wav", f"{index}", "dog") for index in range(100 - num_missing)]
    rows += [(f"gone/{index}.wav", f"gone{index}", "cat" if rare else "dog") for index in range(num_missing)]
    (sounds / "missing.csv").write_text(write_csv([["path", "id", "label"], *map(list, rows)], ","))

    def read(**options):
        return read_listing(sounds / "missing.csv", **options)

    too_many = num_missing / 100 > (0.01 if share is None else share)
    if too_many or (rare and num_missing and share is None):
        with pytest.raises(ValueError, match=f"{num_missing} of 100 listed clips have no file") as error:
            read(max_missing_share=share)
        assert "gone0" in str(error.value) and ("is left of: cat" in str(error.value)) is not too_many
        share = float(str(error.value).partition("--max-missing-share ")[2].split()[0])
    listing = read(max_missing_share=share)
    assert len(listing.missing) == num_missing
    # A class does not vanish with its files.
    assert listing.labels == (["cat", "dog"] if rare and num_missing else ["dog"])


FEATURES = {
    "class": ClassLabel(names=["cat", "dog"]),
    "classes": List(ClassLabel(names=["cat", "dog"])),
    "text": Value("string"),
    "texts": List(Value("string")),
}


@settings(QUICK, max_examples=16)
@given(data=st.data(), kind=st.sampled_from(list(FEATURES)))
def test_labels_of_datasets_are_names_or_named(sounds, data, kind):
    good = {
        "class": [0, 1],
        "classes": [[0], [1, 0], []],
        "text": ["cat", "dog"],
        "texts": [["cat"], ["dog", "cat"], []],
    }
    bad = {
        "class": [None, -1],
        "classes": [None, [None], [0, -1]],
        "text": [None, "", " "],
        "texts": [None, [None], [""]],
    }
    labels = data.draw(st.lists(st.sampled_from(good[kind]), min_size=3, max_size=3))
    at = data.draw(st.none() | st.integers(0, 2))
    if at is not None:
        labels[at] = data.draw(st.sampled_from(bad[kind]))
    audio = [{"bytes": (sounds / "a.wav").read_bytes(), "path": None}] * 3
    audio_type = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"audio": audio_type, "label": FEATURES[kind]})
    table = Dataset.from_dict({"audio": audio, "label": labels}, features=features).cast_column("audio", Audio())
    # A split without labels, as of a contest.
    hidden = Dataset.from_dict({"audio": audio[:1], "label": [None]}, features=features).cast_column("audio", Audio())
    folder = sounds / "saved"
    DatasetDict({"train": table, "test": hidden}).save_to_disk(folder)
    if at is None:
        listing = read_listing(folder)
        as_names = [
            [
                ["cat", "dog"][entry] if isinstance(entry, int) else entry
                for entry in (label if isinstance(label, list) else [label])
            ]
            for label in labels
        ]
        assert [clip.labels for clip in listing.clips] == [*map(tuple, as_names), ()]
        assert set(listing.labels) <= {"cat", "dog"}
    else:
        with pytest.raises(ValueError, match=rf"row {at + 1}: `label`"):
            read_listing(folder)


def test_numbers_in_datasets_have_no_class_names(sounds):
    audio_type = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"audio": audio_type, "label": List(Value("int64"))})
    audio = [{"bytes": (sounds / "a.wav").read_bytes(), "path": None}]
    table = Dataset.from_dict({"audio": audio, "label": [[7]]}, features=features).cast_column("audio", Audio())
    table.save_to_disk(sounds / "numbers")
    with pytest.raises(ValueError, match="numbers have no class names"):
        read_listing(sounds / "numbers")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("meta/esc50.csv", "a.wav,1,0", "a.wav,one,0", "esc50.csv: row 1: `fold` must be a whole number, got 'one'"),
        ("meta/esc50.csv", "a.wav,1,0", "a.wav,1,", "esc50.csv: row 1: `target` must be a whole number, got ''"),
        ("meta/esc50.csv", "a.wav,1,0,dog", "a.wav,1,0, ", "esc50.csv: row 1: `category` is empty"),
        ("meta/esc50.csv", "b.wav,1,1", "b.wav,1,0", None),
        ("meta/esc50.csv", "c.wav,2,0", "c.wav,2,5", "esc50.csv: row 3: `target` 5 is not that of 'dog'"),
    ],
)
def test_tables_of_data_sets_are_checked(tmp_path, file, old, new, message):
    (tmp_path / "meta").mkdir()
    (tmp_path / "audio").mkdir()
    for name in FILES:
        soundfile.write(tmp_path / "audio" / name, [0.1] * 80, 8000)
    text = "filename,fold,target,category\na.wav,1,0,dog\nb.wav,1,1,cat\nc.wav,2,0,dog\n"
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new))
    if message is None:
        read_listing(tmp_path)
        return
    with pytest.raises(ValueError, match=message):
        read_listing(tmp_path)


def test_audioset_keeps_its_leave(tmp_path):
    (tmp_path / "class_labels_indices.csv").write_text('index,mid,display_name\n0,/m/0,"Speech"\n1,/m/1,"Dog"\n')
    lines = [f'{index:011d}, 0.000, 10.000, "/m/{index % 2}"\n' for index in range(100)]
    (tmp_path / "eval_segments.csv").write_text("# YTID\n" + "".join(lines))
    soundfile.write(tmp_path / f"{0:011d}.wav", [0.1] * 80, 8000)
    listing = read_listing(tmp_path)
    assert len(listing.clips) == 1 and len(listing.missing) == 99 and listing.labels == ["Speech", "Dog"]
    with pytest.raises(ValueError, match=r"99 of 100 listed clips have no file; `max_missing_share` allows 50.0%"):
        read_listing(tmp_path, max_missing_share=0.5)
    with pytest.raises(ValueError, match=r"`max_missing_share` must be in \[0, 1\], got 2"):
        read_listing(tmp_path, max_missing_share=2)
    (tmp_path / "eval_segments.csv").write_text("# YTID\n" + 'aaaaaaaaaaa, 10.0, 0.0, "/m/0"\n')
    with pytest.raises(ValueError, match=r"segment 1 must be .*'10.0', '0.0'"):
        read_listing(tmp_path)
