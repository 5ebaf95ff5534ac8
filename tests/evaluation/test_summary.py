"""The summary of a run, as text, as files, and as pictures."""

import json

import numpy as np
import pytest

from audioformer.evaluation import EvaluationSummary, GainResult, compute_mean_average_precision
from audioformer.evaluation.figures import save_average_precisions, save_training_curves

PNG = b"\x89PNG"


def summary(multi_label: bool, **changes) -> EvaluationSummary:
    rng = np.random.default_rng(0)
    targets = (rng.random((40, 3)) < 0.4).astype(np.float32)
    targets[:, 2] = 0
    fields = dict(
        ids=[f"clip-{index}" for index in range(40)],
        scores=rng.standard_normal((40, 3)) + targets,
        targets=targets if multi_label else targets.argmax(axis=1),
        labels=["dog", "cat", "owl"],
        multi_label=multi_label,
        tested_on="test clips",
        selection="a held-out part of the training clips",
        settings={"learning_rate": 1e-4},
        data={"found": 40},
        data_text="clips 40 of 41",
        seconds={"training": 12.0},
        log_history=[
            {"loss": 1.0, "mpc_loss": 2.0, "epoch": 1.0, "step": 3},
            {"eval_loss": 0.9, "eval_mAP": 0.5, "epoch": 1.0, "step": 3},
        ],
    )
    return EvaluationSummary(**{**fields, **changes})


@pytest.mark.parametrize("multi_label", [True, False])
def test_folder_has_numbers_that_anyone_can_compute_again(tmp_path, multi_label):
    result = summary(multi_label)
    result.save(tmp_path)
    saved = json.loads((tmp_path / "eval_results.json").read_text())
    with np.load(tmp_path / "predictions.npz") as file:
        scores, targets, ids = file["scores"], file["targets"], file["ids"]
    if multi_label:
        again = compute_mean_average_precision(scores, targets)["mAP"]
    else:
        again = (scores.argmax(axis=1) == targets).mean()
    assert saved["mAP" if multi_label else "accuracy"] == pytest.approx(again)
    assert saved["interval_95"][0] < again < saved["interval_95"][1]
    assert saved["data"] == {"found": 40} and ids[3] == "clip-3"
    for picture in ("classes.png", "training/curves.png"):
        assert (tmp_path / picture).read_bytes().startswith(PNG)
    text = (tmp_path / "summary.md").read_text()
    assert "clips 40 of 41" in text and "learning_rate: 0.0001" in text and "\n\n\n" not in text


def test_text_says_what_selected_and_what_was_left_out():
    text = summary(True, notes=["a note"]).to_text()
    assert "checkpoint selected on: a held-out part of the training clips" in text
    assert "1 of 3 classes have no positive" in text
    assert text.index("note: a note") < text.index("mAP ")
    assert "owl" in text and "training 12.0 s" in text


@pytest.mark.parametrize("multi_label", [True, False])
def test_gains_are_a_table_and_are_read_back(tmp_path, multi_label):
    plain = summary(multi_label)
    plain.save(tmp_path)
    assert "gains" not in json.loads((tmp_path / "eval_results.json").read_text())
    assert EvaluationSummary.load(tmp_path).gains == [] and "against 0 dB" not in plain.to_text()
    gains = [GainResult(-20.0, 0.25, (0.1, 0.4), -0.25), GainResult(0.0, 0.5, (0.3, 0.7), 0.0)]
    result = summary(multi_label, gains=gains)
    result.save(tmp_path)
    assert EvaluationSummary.load(tmp_path).gains == gains
    for text in (result.to_text(), (tmp_path / "summary.md").read_text()):
        softer, same = (line for line in text.splitlines() if " dB  " in line and "%" in line)
        assert softer.split() == ["-20", "dB", "25.0%", "10.0%", "to", "40.0%", "-25.0", "points"]
        assert same.split() == ["0", "dB", "50.0%", "30.0%", "to", "70.0%"]


def test_many_classes_show_the_best_and_the_worst():
    rng = np.random.default_rng(0)
    targets = (rng.random((50, 100)) < 0.3).astype(np.float32)
    targets[0] = 1
    labels = [f"class {index}" for index in range(100)]
    result = summary(True, scores=rng.random((50, 100)), targets=targets, labels=labels, ids=range(50))
    assert "70 more in eval_results.json" in result.to_text()
    shown = [row["label"] for row in result._shown_rows()]
    ranked = sorted(result.table, key=lambda row: row["average_precision"], reverse=True)
    assert shown[0] == ranked[0]["label"] and shown[-1] == ranked[-1]["label"]


def test_pictures_of_many_classes_and_of_pre_training(tmp_path):
    table = [{"label": f"class {i}", "clips": i, "average_precision": i / 600 if i % 7 else None} for i in range(527)]
    save_average_precisions(table, "mAP", tmp_path / "many.png")
    save_training_curves([{"loss": 6.9, "epoch": 1.0}, {"loss": 6.0, "epoch": 2.0}], "run", tmp_path / "curves.png")
    assert (tmp_path / "many.png").stat().st_size > 10_000 and (tmp_path / "curves.png").stat().st_size > 5_000


@pytest.mark.parametrize("multi_label", [True, False])
def test_a_saved_summary_is_read_as_it_was(tmp_path, multi_label):
    groups = [f"recording-{index // 4}" for index in range(40)]
    written = summary(multi_label, groups=groups, notes=["a note"], peak_memory_gb=1.5, grouped=False)
    written.save(tmp_path)
    read = EvaluationSummary.load(tmp_path)
    assert read.to_dict() == written.to_dict() and read.to_text() == written.to_text() and read.grouped is False
    # Earlier versions did not record whether clips that were drawn at random have groups.
    results = json.loads((tmp_path / "eval_results.json").read_text())
    del results["grouped"]
    (tmp_path / "eval_results.json").write_text(json.dumps(results))
    assert EvaluationSummary.load(tmp_path).grouped is None
    (tmp_path / "predictions.npz").unlink()
    with pytest.raises(ValueError, match="holds no finished run: predictions.npz is missing"):
        EvaluationSummary.load(tmp_path)
