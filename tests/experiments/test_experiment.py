"""`audioformer experiment`: what it runs, what it keeps, and the table that it makes of it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from audioformer.cli import main
from audioformer.experiments.definition import available_experiments, load_experiment
from audioformer.experiments.records import (
    Record,
    append_record,
    effects,
    read_records,
    recorded_settings,
    summarize,
    table,
)
from audioformer.experiments.runner import encode_clips, read_clips, run_experiment, write_manifest
from audioformer.experiments.task import Task

DEFINITION = {
    "title": "Low or high, of a speaker who was not heard before",
    "fold_pattern": r"_([a-z]+)_\d+\.wav",
    "label_pattern": r"/(low|high)_",
    "folds": [1, 2],
    "seeds": [0],
    "reference": "MFCC",
    "shared": {
        **{"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16},
        **{"num_train_epochs": 1, "held_out_share": 0.25, "dataloader_num_workers": 0, "use_cpu": True},
    },
    "rows": {
        "MFCC": {"baseline": "mfcc"},
        "C1 counts": {"baseline": "code_histogram"},
        "code vectors": {"baseline": "code_vectors", "normalize": "rms"},
        "FT1": {"pretrain": "tiny_pretrain", "finetune": "tiny_ft1"},
    },
}


def write_definition(folder: Path, **changes) -> str:
    file = folder / "voices.yaml"
    file.write_text(yaml.safe_dump({**DEFINITION, **changes}, sort_keys=False))
    return str(file)


@pytest.fixture(scope="module")
def voices(tmp_path_factory) -> Path:
    """Two kinds of sounds by two speakers, with everything that is known of them in the names of the files."""
    folder = tmp_path_factory.mktemp("voices")
    rng = np.random.default_rng(0)
    time = np.arange(4000) / 8000
    for kind, pitch in (("low", 200), ("high", 1500)):
        for speaker in ("ann", "bob"):
            for take in range(8):
                wave = np.sin(2 * np.pi * pitch * (1 + 0.02 * rng.standard_normal()) * time)
                soundfile.write(folder / f"{kind}_{speaker}_{take}.wav", 0.3 * wave, 8000)
    return folder


@pytest.fixture(scope="module")
def finished(voices, tmp_path_factory) -> tuple[list[str], Path]:
    """The command line of an experiment that was run, and the folder of its results."""
    folder = tmp_path_factory.mktemp("experiment")
    output = folder / "results"
    flags = ["--data", str(voices), "--work", str(folder / "work"), "--output", str(output)]
    command = ["experiment", write_definition(folder), *flags]
    assert main(command) == 0
    return command, output


@pytest.mark.slow
def test_every_row_is_tested_on_every_fold_and_stands_in_the_table(finished):
    _, output = finished
    records = [json.loads(line) for line in (output / "voices.jsonl").read_text().splitlines()]
    assert {(record["row"], record["seed"], record["fold"]) for record in records} == {
        (row, 0 if row == "FT1" else None, fold) for row in DEFINITION["rows"] for fold in (1, 2)
    }
    assert {len(record["correct"]) for record in records} == {16}
    for record in records:
        assert record["value"] == record["correct"].count("1") / 16
    text = (output / "voices.md").read_text()
    # Two pitches are no task for it, and the mean over the folds is that over all clips.
    assert "| MFCC | 100.0% |" in text and "| FT1 | " in text and "Not finished" not in text
    assert (output / "voices.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_what_is_finished_is_not_run_again(finished, capsys):
    command, output = finished
    before = (output / "voices.jsonl").read_bytes()
    models = {path: path.stat().st_mtime_ns for path in output.parent.rglob("model.safetensors")}
    # Two pre-trained and two fine-tuned, each with its codec.
    assert len(models) == 8
    assert main(command) == 0
    assert (output / "voices.jsonl").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in output.parent.rglob("model.safetensors")} == models
    # Without the record of one fold, its finished model is read.
    lines = before.decode().splitlines(keepends=True)
    (output / "voices.jsonl").write_text("".join(lines[:-1]) + lines[-1][:20])
    assert main(command) == 0
    again = [json.loads(line) for line in (output / "voices.jsonl").read_text().splitlines() if line.endswith("}")]
    lost = json.loads(lines[-1])
    assert {key: again[-1][key] for key in ("row", "fold", "correct")} == {
        key: lost[key] for key in ("row", "fold", "correct")
    }


def test_the_experiments_of_the_package_can_be_read():
    assert available_experiments() == [
        "beats_esc10",
        "dasheng_digits",
        "dasheng_esc10",
        "digits",
        "esc10",
        "maskspec_esc10",
    ]
    for name in available_experiments():
        experiment = load_experiment(name)
        assert experiment.name == name and experiment.reference in {row.name for row in experiment.rows}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": {}}, "`rows` must be a dict that is not empty"),
        ({"rows": {"a": {"baseline": "mfccs"}}}, "`baseline` of row 'a' must be one of mfcc,"),
        (
            {"rows": {"a": {"baseline": "mfcc", "normalize": "rms"}}},
            "`normalize` of row 'a' must be 'rms', and is for",
        ),
        ({"rows": {"a": {"baseline": "mfcc", "finetune": "tiny_ft1"}}}, "row 'a' must have `baseline`, or `finetune`"),
        ({"rows": {"a": {"finetune": "tiny"}}}, "`finetune` of row 'a' must be a recipe, got 'tiny'"),
        ({"reference": "nothing"}, "`reference` must be the name of a row, got 'nothing'"),
        ({"folds": [1]}, "`folds` must be at least 2 different whole numbers"),
        ({"seeds": [0, 0]}, "`seeds` must be at least 1 different whole numbers"),
        ({"fold_pattern": "("}, "`fold_pattern` '\\(' is no regular expression"),
        ({"label_pattern": "x"}, "`label_pattern` must have one group, 'x' has 0"),
        (
            {"rows": {"MFCC": {"baseline": "mfcc", "against": "FT1"}, "FT1": {"finetune": "tiny_ft1"}}},
            "`against` of row 'MFCC' must be an earlier row, got 'FT1'",
        ),
        ({"rows": {"a": {"probe": "knn"}}}, "`probe` of row 'a' must be one of knn, mlp, linear, with `stages`"),
        ({"colour": "red"}, "the keys are title, .* got 'colour'"),
    ],
)
def test_definitions_that_cannot_be_meant_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_experiment(write_definition(tmp_path, **changes))


def test_an_experiment_or_row_that_does_not_exist_is_named(voices, tmp_path, capsys):
    assert main(["experiment", "nothing", "--data", str(voices)]) == 1
    assert "must be one of beats_esc10, dasheng_digits, dasheng_esc10, digits, esc10" in capsys.readouterr().err
    folders = ["--work", str(tmp_path), "--output", str(tmp_path)]
    assert main(["experiment", write_definition(tmp_path), "--data", str(voices), "--rows", "FT3", *folders]) == 1
    assert "`rows` must be among 'MFCC'" in capsys.readouterr().err
    assert main(["experiment", write_definition(tmp_path), *folders]) == 1
    assert "holds no results of the experiment voices: give --data" in capsys.readouterr().err


def test_folds_and_labels_come_from_the_paths(voices, tmp_path):
    experiment = load_experiment(write_definition(tmp_path))
    clips = read_clips(voices, experiment).clips
    assert {(clip.id.split("_")[1], clip.fold) for clip in clips} == {("ann", 1), ("bob", 2)}
    assert all(clip.id.startswith(clip.labels[0]) for clip in clips)
    with pytest.raises(ValueError, match="finds nothing in .* nor in 31 others"):
        read_clips(voices, replace(experiment, fold_pattern="(nobody)"))
    with pytest.raises(ValueError, match=r"are \[1, 3\], of which the data have \[1\]"):
        read_clips(voices, replace(experiment, folds=(1, 3)))


@pytest.mark.slow
def test_copies_of_all_folds_are_encoded_before_the_runs_that_share_them(voices, tmp_path):
    copies = {"augment_copies": 2, "augment_with": ["speed"]}
    rows = {"MFCC": {"baseline": "mfcc"}, "copies": {"finetune": "tiny_ft1", "settings": copies}}
    experiment = load_experiment(write_definition(tmp_path, rows=rows))
    manifest = write_manifest(read_clips(voices, experiment), tmp_path / "clips.csv")
    task = Task(experiment, experiment.rows[1], 0, 1, manifest, tmp_path)
    encode_clips(task)
    encoded = {path: path.stat().st_mtime_ns for path in (tmp_path / "codes").glob("*/codes.json")}
    # The clips, and two copies of each of two folds.
    assert len(encoded) == 5
    assert task.test().row == "copies"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "codes").glob("*/codes.json")} == encoded


def make_record(experiment, row: str, fold: int, correct: str, seed: int | None = None, clips: str = "x") -> Record:
    (found,) = [one for one in experiment.rows if one.name == row]
    settings = recorded_settings(experiment, found)
    return Record(
        row, fold, seed, settings, "accuracy", correct.count("1") / len(correct), f"{fold}{clips}", correct, 1.0
    )


def test_differences_are_paired_by_clip(tmp_path):
    """Two rows that differ in two clips of two hundred: their intervals overlap, that of the difference is narrow."""
    experiment = load_experiment(write_definition(tmp_path))
    first, second = "10" * 50, "01" * 50
    better = "11" + first[2:]
    records = [make_record(experiment, "MFCC", 1, first), make_record(experiment, "MFCC", 2, second)]
    records += [make_record(experiment, "FT1", 1, better, seed) for seed in (0, 1)]
    records += [make_record(experiment, "FT1", 2, second, 0), make_record(experiment, "FT1", 2, "11" + second[2:], 1)]
    reference, ours = summarize(experiment, records)
    assert reference.mean == 0.5 and reference.difference is None
    assert ours.by_seed == [0.505, 0.51] and ours.mean == pytest.approx(0.5075)
    assert ours.difference == pytest.approx(0.0075)
    low, high = ours.interval
    assert low == pytest.approx(0.5075 - 1.96 * np.sqrt(0.25 / 200), abs=0.01)
    assert high == pytest.approx(0.5075 + 1.96 * np.sqrt(0.25 / 200), abs=0.01)
    assert ours.difference_interval[0] >= 0 and ours.difference_interval[1] < 0.03
    assert "| FT1 | 50.7% |" in table(experiment, [reference, ours]).replace("50.8%", "50.7%")
    assert "Not finished: C1 counts, code vectors." in table(experiment, [reference, ours])


def test_a_row_is_compared_with_the_one_it_names_over_the_seeds_of_both(tmp_path):
    recipe = {"finetune": "tiny_ft1"}
    rows = {
        "MFCC": {"baseline": "mfcc"},
        "one": {**recipe, "against": "MFCC"},
        "two": {**recipe, "settings": {"dropout": 0.0}, "against": "one"},
    }
    experiment = load_experiment(write_definition(tmp_path, rows=rows))
    records = [make_record(experiment, "MFCC", fold, "1000") for fold in (1, 2)]
    for fold in (1, 2):
        records += [make_record(experiment, "one", fold, "1100", 0), make_record(experiment, "one", fold, "1110", 1)]
        records += [make_record(experiment, "two", fold, "1111", 1)]
    of_baseline, of_row = effects(experiment, records)
    # A baseline has no seeds; of the rows, only seed 1 was run with both.
    assert (of_baseline.num_seeds, of_baseline.difference) == (2, pytest.approx(0.375))
    assert (of_row.num_seeds, of_row.difference) == (1, 0.25)
    assert of_row.interval[0] == 0 < of_row.interval[1]
    text = table(experiment, summarize(experiment, records), effects(experiment, records))
    assert "| two | one | 1 | +25.0 |" in text and "| one | MFCC | 2 | +37.5 |" in text
    # What a row is compared with does not change its result.
    assert "against" not in recorded_settings(experiment, experiment.rows[1])


def test_rows_that_are_not_complete_and_other_clips_are_not_compared(tmp_path):
    experiment = load_experiment(write_definition(tmp_path))
    half = [make_record(experiment, "MFCC", 1, "1")]
    assert summarize(experiment, half) == []
    other = [*half, make_record(experiment, "FT1", 1, "1", 0, clips="y")]
    with pytest.raises(ValueError, match="fold 1 are about different clips"):
        summarize(experiment, other)


def test_records_of_other_settings_and_half_a_line_are_left_out(tmp_path):
    experiment = load_experiment(write_definition(tmp_path))
    file = tmp_path / "records.jsonl"
    append_record(file, make_record(experiment, "MFCC", 1, "10"))
    with file.open("a") as lines:
        lines.write('{"row": "MF')
    append_record(file, make_record(experiment, "FT1", 1, "11", seed=0))
    append_record(file, make_record(experiment, "FT1", 1, "00", seed=0))
    found = read_records(file, experiment)
    assert [(record.row, record.correct) for record in found] == [("MFCC", "10"), ("FT1", "00")]
    changed = replace(experiment, shared={**experiment.shared, "num_train_epochs": 2})
    assert [record.row for record in read_records(file, changed)] == ["MFCC"]


@pytest.mark.slow
def test_a_row_may_pretrain_one_model_of_all_codebooks(voices, tmp_path):
    joint = {"pretrain": "tiny_pretrain", "pretrain_settings": {"joint_codebooks": True}}
    rows = {"MFCC": {"baseline": "mfcc"}, "joint": {**joint, "finetune": "tiny_ft1"}}
    flags = ["--data", str(voices), "--work", str(tmp_path / "work"), "--output", str(tmp_path / "results")]
    assert main(["experiment", write_definition(tmp_path, rows=rows), *flags]) == 0
    (config, _) = sorted((tmp_path / "work" / "finetuned").glob("*/*/config.json"))
    assert json.loads(config.read_text())["codebooks"] == [0, 1, 2, 3]
    rows["joint"] = {**joint, "finetune": "tiny_ft2"}
    with pytest.raises(ValueError, match="FT2 needs a model of each codebook"):
        experiment = load_experiment(write_definition(tmp_path, rows=rows))
        run_experiment(experiment, voices, tmp_path / "work", tmp_path / "records.jsonl", rows=["joint"])


STAGES = [
    {"recipe": "tiny_beats_iter1"},
    {"recipe": "tiny_beats_tokenizer2", "inputs": {"teacher": "tiny_beats_iter1"}},
    {"recipe": "tiny_beats_iter2", "inputs": {"tokenizer": "tiny_beats_tokenizer2"}},
]


@pytest.mark.slow
def test_rows_may_pretrain_in_stages_which_they_share(voices, tmp_path):
    rows = {
        "MFCC": {"baseline": "mfcc"},
        "after one": {"stages": STAGES[:1], "finetune": "tiny_beats_finetune"},
        "after three": {"stages": STAGES, "finetune": "tiny_beats_finetune"},
        "k-NN after one": {"stages": STAGES[:1], "probe": "knn"},
    }
    experiment = load_experiment(write_definition(tmp_path, rows=rows))
    work = tmp_path / "work"
    records = run_experiment(experiment, voices, work, tmp_path / "records.jsonl", rows=list(rows)[1:])
    assert {(record.row, record.fold) for record in records} == {
        (row, fold) for row in list(rows)[1:] for fold in (1, 2)
    }
    # Three stages for each of two folds: the first is that of both rows. No codes are made.
    assert len(list(work.glob("pretrained/*"))) == 3 and not (work / "codes").exists()
    results = {
        file.parent.parent: json.loads(file.read_text()) for file in work.glob("pretrained/*/*-1/*results.json")
    }
    sources = sorted((results["stage"], "teacher" in results, "tokenizer" in results) for results in results.values())
    assert sources == [("encoder", False, False), ("encoder", False, True), ("tokenizer", True, False)]
    task = Task(experiment, experiment.rows[2], 0, 1, work / "clips.csv", work)
    assert task.begins_with == replace(task, row=experiment.rows[1]).pretrained != task.pretrained
    facts = json.loads((task.output / "eval_results.json").read_text())
    assert facts["settings"]["model"] == task.pretrained.name
    # The probe of each fold heard the model that was pre-trained without it.
    task = Task(experiment, experiment.rows[3], 0, 1, work / "clips.csv", work)
    (row,) = json.loads((task.output / "probe.json").read_text())["rows"]
    assert (row["probe"], task.pretrained) == ("knn", replace(task, row=experiment.rows[1]).pretrained)
    (value,) = [record.value for record in records if record.row == "k-NN after one" and record.fold == 1]
    assert row["accuracy"] == value


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("tiny_beats_iter1", "must be a list"),
        ([{"inputs": {}}], "a stage of row 'row' has `recipe`"),
        ([{"recipe": "unknown"}], "must be a recipe, got 'unknown'"),
        (STAGES[1:], r"must name recipes of earlier stages \(none\), got teacher 'tiny_beats_iter1'"),
    ],
)
def test_stages_that_cannot_be_meant_are_refused(stages, message, tmp_path):
    rows = {"row": {"stages": stages, "finetune": "tiny_beats_finetune"}}
    with pytest.raises(ValueError, match=message):
        load_experiment(write_definition(tmp_path, rows=rows, reference="row"))
