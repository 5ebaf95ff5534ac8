"""The comparison of FT1 with FT2, at a small size."""

import json
from pathlib import Path

import pytest

from audioformer.experiments.ft1_ft2 import Comparison, read_results, run_seed, table
from audioformer.experiments.mixtures import make_mixtures
from audioformer.files import EVAL_RESULTS

from .esc50_folder import write_esc50

SETTINGS = {"num_train_epochs": 1, "held_out_share": 0.5, "use_cpu": True, "disable_tqdm": True}
SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.mark.slow
def test_one_seed_runs_both_methods_on_both_tasks_once(tmp_path):
    data = write_esc50(tmp_path / "esc", num_folds=2, clips_per_class_and_fold=4, duration_s=0.3)
    (data / "meta" / "esc50.csv").write_text((data / "meta" / "esc50.csv").read_text().rsplit("1-999", 1)[0])
    comparison = Comparison(
        data,
        make_mixtures(data, tmp_path / "work" / "mixtures", 16),
        tmp_path / "work",
        fold=2,
        train_folds=[1],
        pretrain={**SIZES, **SETTINGS},
        finetune=SETTINGS,
    )
    run_seed(3, comparison)
    folder = tmp_path / "work" / "seed-3"
    for task, num_clips in (("one-label", 12), ("two-labels", 8)):
        for method in ("ft1", "ft2"):
            results = json.loads((folder / f"{task}-{method}" / EVAL_RESULTS).read_text())
            settings = results["settings"]
            # "ft1" is the default, which results leave out.
            assert settings.get("method", "ft1") == method and settings["seed"] == 3
            assert len(settings.get("teachers", [])) == (3 if method == "ft2" else 0)
            assert (settings["train_folds"], settings["eval_folds"]) == ([1], [2])
            assert results["num_clips"] == num_clips
    metrics = read_results(tmp_path / "work", [3])
    assert 0 < metrics["two-labels-ft2"]["mean"] <= 1 and metrics["one-label-ft1"]["metric"] == "accuracy"

    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    run_seed(3, comparison)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


def write_results(work: Path, values: dict[str, list[float]]) -> None:
    for name, by_seed in values.items():
        for seed, value in enumerate(by_seed):
            folder = work / f"seed-{seed}" / name
            folder.mkdir(parents=True)
            metric = "accuracy" if name.startswith("one") else "mAP"
            (folder / EVAL_RESULTS).write_text(json.dumps({metric: value, "num_clips": 10}))


def test_the_table_has_means_deviations_and_gains(tmp_path):
    values = {
        "one-label-ft1": [0.5, 0.7],
        "one-label-ft2": [0.6, 0.6],
        "two-labels-ft1": [0.25, 0.35],
        "two-labels-ft2": [0.35, 0.55],
    }
    write_results(tmp_path, values)
    results = read_results(tmp_path, [0, 1])
    assert {name: row["values"] for name, row in results.items()} == values
    assert results["one-label-ft1"]["mean"] == pytest.approx(0.6)
    assert results["one-label-ft1"]["sd"] == pytest.approx(0.02**0.5)
    lines = table(results, [0, 1]).splitlines()
    assert len(lines) == 7
    assert lines[1].split() == ["one-label", "accuracy", "FT1", "60.0%", "14.1%", "50.0%,", "70.0%"]
    assert lines[5].split() == ["two-labels", "mAP", "FT2", "45.0%", "14.1%", "35.0%,", "55.0%"]
    assert lines[3].strip() == "FT2 - FT1: +0.0% (+10.0%, -10.0%)"
    assert lines[6].strip() == "FT2 - FT1: +15.0% (+10.0%, +20.0%)"
    one_seed = read_results(tmp_path, [1])
    assert one_seed["two-labels-ft2"] == {"metric": "mAP", "values": [0.55], "mean": 0.55, "sd": 0.0}
