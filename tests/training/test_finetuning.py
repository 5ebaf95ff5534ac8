"""Which clips select the checkpoint, calibrate and are measured, read off the finished folder."""

import csv
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import average_precision_score

from audioformer.data.clips import Clips, ClipSplits
from audioformer.evaluation import EvaluationSummary, fit_calibration
from audioformer.model_cards.card_check import check_card
from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.training import create_settings, finetune
from audioformer.training.clip_splits import open_clip_splits
from audioformer.training.examples.collators import pad_input_ids
from audioformer.training.finetuning import needs_held_out

CLASSES = ("low", "high", "noise")
PITCHES = {"low": 200, "high": 3000}
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
pytestmark = pytest.mark.slow

HELD_OUT = "a held-out part of the training clips"


class Run(NamedTuple):
    """A finished run: its folder, what it returned, and the clips by their use, divided again."""

    output: Path
    summary: EvaluationSummary
    splits: ClipSplits[Any]


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory) -> Path:
    """A manifest of mixtures of three sounds in five folds; the labels of fold 5 are mostly wrong."""
    folder = tmp_path_factory.mktemp("mixtures")
    rng = np.random.default_rng(0)
    time = np.arange(4800) / 12000
    rows = [["path", "labels", "fold"]]
    for index in range(60):
        present = [kind for kind in CLASSES if rng.random() < 0.5] or ["noise"]
        parts = [
            rng.standard_normal(4800) if kind == "noise" else np.sin(2 * np.pi * PITCHES[kind] * time)
            for kind in present
        ]
        soundfile.write(folder / f"{index}.wav", 0.2 * sum(parts), 12000)
        fold = 1 + index % 5
        if fold == 5:
            present = [kind for kind in CLASSES if kind not in present] or ["low"]
        rows.append([f"{index}.wav", ";".join(present), str(fold)])
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder


def fine_tune(mixtures: Path, name: str, **given: Any) -> Run:
    settings = create_settings(
        "finetune",
        "tiny_ft1",
        data=mixtures / "list.csv",
        output_dir=mixtures / name,
        held_out_share=0.3,
        learning_rate=2e-3,
        save_total_limit=8,
        keep_checkpoints=True,
        dataloader_num_workers=0,
        disable_tqdm=True,
        use_cpu=True,
        **{"num_train_epochs": 6, "cache_dir": mixtures / "cache", **SIZES, **given},
    )
    summary = finetune(settings)
    extractor = settings.family.examples.open_extractor(settings)
    splits = open_clip_splits(settings, extractor, hold_out=not settings.data.select_on_eval)
    return Run(mixtures / name, summary, splits)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"classification_loss": "cross_entropy"},
            "`classification_loss` 'cross_entropy' does not fit data with several",
        ),
        ({"classification_loss": "bce", "multi_label": False}, "`multi_label` is false, but clips"),
        ({"metric_for_best_model": "accuracy"}, "`metric_for_best_model` must be 'mAP' or 'loss'"),
    ],
)
def test_settings_that_do_not_fit_the_labels_are_refused_before_anything_is_encoded(mixtures, given, message):
    with pytest.raises(ValueError, match=message):
        fine_tune(mixtures, "refused", cache_dir=mixtures / "unused_cache", **given)
    assert not (mixtures / "unused_cache").exists()


def test_a_number_of_clips_without_groups_holds_for_the_same_speakers_only_and_says_so_first(mixtures, capsys):
    alone = fine_tune(mixtures, "alone", num_train_epochs=1)
    assert "groups      none: clips held out at random" in capsys.readouterr().out
    encoded = sorted((mixtures / "cache").iterdir())
    some = fine_tune(mixtures, "some", num_train_epochs=1, group_pattern=r"(\d)\d\.wav$")
    whole = fine_tune(mixtures, "whole", num_train_epochs=1, group_pattern=r"(\d)\.wav$")
    # Groups change no code.
    assert sorted((mixtures / "cache").iterdir()) == encoded
    assert [run.summary.grouped for run in (alone, some, whole)] == [False, False, True]
    assert "matches 50)" in some.summary.data_text and "10; 60 of 60 clips" in whole.summary.data_text
    holds = "the metric holds for the same speakers and recordings only"
    for run, note in (
        (alone, f"These clips have no group and were drawn at random from the training data: {holds}"),
        (some, f" clips have no group and were drawn at random from the training data: {holds}"),
        (whole, "These clips are of "),
    ):
        for name, number in (("summary.md", "mAP "), ("README.md", " mean average precision.")):
            text = (run.output / name).read_text()
            assert text.index(note) < text.index(number)
        assert all("licence" in finding for finding in check_card(run.output))
    assert holds not in (whole.output / "README.md").read_text()
    assert not set(whole.splits.train.groups) & set(whole.splits.held_out.groups)


@pytest.fixture(scope="module")
def held_out_run(mixtures) -> Run:
    return fine_tune(mixtures, "held_out", eval_folds=[5])


@pytest.fixture(scope="module")
def optimistic_run(mixtures) -> Run:
    return fine_tune(mixtures, "optimistic", eval_folds=[5], select_on_eval=True)


def raw_logits(folder: Path, clips: Clips) -> np.ndarray:
    """Logits of a saved classifier before its calibration, in the batches of the evaluations: ties stay ties."""
    model = AudioFormerForAudioClassification.from_pretrained(folder).eval()
    model.config.calibration_temperature = model.config.calibration_bias = None
    ids = [[0, *(np.asarray(codes)[model.config.codebook] + 3).tolist(), 2] for codes in clips.codes]  # type: ignore
    batches = [pad_input_ids(ids[start : start + 8]) for start in range(0, len(ids), 8)]
    with torch.no_grad():
        return torch.cat([model(**batch).logits for batch in batches]).numpy()


def mean_average_precision(logits: np.ndarray, targets: np.ndarray) -> float:
    return float(average_precision_score(targets, logits, average="macro"))


def test_the_three_uses_share_no_clip(held_out_run):
    splits = held_out_run.splits
    uses = [set(clips.ids) for clips in (splits.train, splits.held_out, splits.test)]
    assert not (uses[0] & uses[1] or uses[0] & uses[2] or uses[1] & uses[2])
    assert len(uses[0] | uses[1] | uses[2]) == 60 and len(uses[2]) == 12
    assert {int(fold) for fold in splits.test.dataset["fold"]} == {5}
    assert sorted(held_out_run.summary.ids) == sorted(uses[2])


@pytest.mark.parametrize("name", ["held_out_run", "optimistic_run"])
def test_the_checkpoint_is_the_best_on_the_clips_that_select(name, request):
    """In every epoch the logged metric is that of these clips and of no others, and the best weights are kept."""
    run: Run = request.getfixturevalue(name)
    selecting, other = run.splits.selecting, run.splits.train
    state = json.loads((run.output / "training" / "trainer_state.json").read_text())
    logged = {record["step"]: record["eval_mAP"] for record in state["log_history"] if "eval_mAP" in record}
    checkpoints = {step: run.output / "training" / f"checkpoint-{step}" for step in logged}
    assert len(logged) == 6 and len(set(logged.values())) > 1
    for step, folder in checkpoints.items():
        logits = raw_logits(folder, selecting)
        assert mean_average_precision(logits, selecting.targets) == pytest.approx(logged[step], abs=1e-6)
    best = max(logged.values())
    assert state["best_metric"] == best and Path(state["best_model_checkpoint"]).name in {
        f"checkpoint-{step}" for step, value in logged.items() if value == best
    }
    saved = raw_logits(run.output, selecting)
    assert mean_average_precision(saved, selecting.targets) == pytest.approx(best, abs=1e-6)
    # Of other clips it is another number, so that they cannot have selected in their place.
    for clips in (other, run.splits.test if name == "held_out_run" else other):
        assert mean_average_precision(raw_logits(run.output, clips), clips.targets) != pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "selection"),
    [("held_out_run", HELD_OUT), ("optimistic_run", "the test clips themselves, as in the paper (optimistic)")],
)
def test_scores_are_calibrated_on_the_clips_that_selected_and_the_report_names_them(name, selection, request):
    run: Run = request.getfixturevalue(name)
    selecting, test = run.splits.selecting, run.splits.test
    config = json.loads((run.output / "config.json").read_text())
    fitted = fit_calibration(raw_logits(run.output, selecting), selecting.targets)
    assert config["calibration_temperature"] == pytest.approx(fitted.temperature, rel=1e-3)
    np.testing.assert_allclose(config["calibration_bias"], fitted.bias, atol=1e-3)
    assert abs(fitted.temperature - 1) > 0.05 and np.abs(fitted.bias).max() > 0.05
    raw = raw_logits(run.output, test)
    order = [test.ids.index(clip) for clip in run.summary.ids]
    np.testing.assert_allclose(run.summary.scores, fitted.apply(raw)[order], atol=1e-2)
    if name == "held_out_run":
        other = fit_calibration(raw, test.targets)
        assert np.abs(other.bias - fitted.bias).max() > 0.05
    # Of the scores themselves: in batches of another size, scores that are nearly equal may change places.
    assert run.summary.value == pytest.approx(mean_average_precision(run.summary.scores, run.summary.targets))
    results = json.loads((run.output / "eval_results.json").read_text())
    assert results["selection"] == run.summary.selection == selection
    assert results["tested_on"] == "test clips" and len(results["notes"]) == 1


def test_only_scores_that_rank_are_calibrated(mixtures):
    """Binary cross-entropy gives log-odds already."""
    run = fine_tune(mixtures, "bce", eval_folds=[5], num_train_epochs=1, classification_loss="bce")
    config = json.loads((run.output / "config.json").read_text())
    assert config.get("calibration_temperature") is None and config.get("calibration_bias") is None
    order = [run.splits.test.ids.index(clip) for clip in run.summary.ids]
    np.testing.assert_allclose(run.summary.scores, raw_logits(run.output, run.splits.test)[order], atol=1e-3)
    assert not any("calibrated" in note for note in run.summary.notes)


def test_without_test_clips_the_clips_that_selected_are_measured_and_that_is_said(mixtures):
    run = fine_tune(mixtures, "no_test", train_folds=[1, 2, 3, 4], num_train_epochs=1)
    assert run.splits.test is None and sorted(run.summary.ids) == sorted(run.splits.held_out.ids)
    assert run.summary.selection == HELD_OUT and run.summary.tested_on == "held-out training clips"
    assert any("There are no test clips" in note for note in run.summary.notes)
    with pytest.raises(ValueError, match="`select_on_eval` needs test clips"):
        fine_tune(mixtures, "refused", train_folds=[1, 2, 3, 4], select_on_eval=True)


@pytest.mark.parametrize(
    ("given", "multi_label", "is_tested", "held_out"),
    [
        ({}, False, True, True),
        ({"eval_strategy": "no", "load_best_model_at_end": False}, False, True, False),
        # Nothing else would be measured, or calibrated.
        ({"eval_strategy": "no", "load_best_model_at_end": False}, False, False, True),
        ({"eval_strategy": "no", "load_best_model_at_end": False}, True, True, True),
        ({"eval_strategy": "no", "load_best_model_at_end": False, "classification_loss": "bce"}, True, True, False),
        ({"select_on_eval": True}, False, True, False),
    ],
)
def test_clips_are_held_out_only_where_they_are_needed(tmp_path, given, multi_label, is_tested, held_out):
    given = {"early_stopping_patience": None, **given}
    settings = create_settings(
        "finetune", "tiny_ft1", data=tmp_path, output_dir=tmp_path / "out", use_cpu=True, **given
    )
    assert needs_held_out(settings, multi_label, is_tested) is held_out
