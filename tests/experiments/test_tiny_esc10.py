"""The experiment behind the bundled ESC-10 classifier, at a small size."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import pipeline

from audioformer.data.audio import load_audio
from audioformer.data.readers import read_listing
from audioformer.experiments.tiny_esc10 import Experiment, histogram_accuracy, main, pool_folds, run
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards.check import check_folder
from audioformer.model_cards.facts import read_facts
from audioformer.model_cards.render import render_card

from .esc50_folder import LABELS, write_esc50

SIZES = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
SETTINGS = {
    **{"held_out_share": 0.5, "num_train_epochs": 1, "augment_copies": 1, "augment_with": ["speed", "noise"]},
    **{"use_cpu": True, "disable_tqdm": True},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Experiment, Path]:
    """An experiment that has run on two folds, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("tiny")
    experiment = Experiment(
        write_esc50(folder / "esc", num_folds=2, clips_per_class_and_fold=4, duration_s=0.3, is_one_missing=True),
        folder / "work",
        pretrain={**SIZES, **SETTINGS, "synthetic_hours": 10 / 3600},
        finetune=SETTINGS,
    )
    run(experiment, folder / "tiny-model")
    return experiment, folder / "tiny-model"


def snapshot(folder: Path, times: bool) -> dict[str, object]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.stat().st_mtime_ns if times else path.read_bytes() for path in files}


def baseline(experiment: Experiment) -> float:
    """Accuracy of scikit-learn's own cross-validation on counts of the codes of all sound files."""
    extractor = AudioFormerFeatureExtractor(codec=str(experiment.codec), codebooks=0)
    clips = read_listing(experiment.data, max_missing_share=1).clips
    counts = np.zeros((len(clips), extractor.codebook_size))
    for row, clip in zip(counts, clips, strict=True):
        waveform, rate = load_audio(str(clip.audio), extractor.sampling_rate)
        (codes,) = extractor.encode([waveform], rate)
        np.add.at(row, np.asarray(codes)[:, 0], 1)
    labels = np.array([clip.labels[0] for clip in clips])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    folds = [clip.fold for clip in clips]
    predicted = cross_val_predict(classifier, np.log1p(counts), labels, groups=folds, cv=LeaveOneGroupOut())
    return float((predicted == labels).mean())


@pytest.mark.slow
def test_every_clip_is_tested_by_the_model_that_did_not_see_its_recording(finished):
    experiment, _ = finished
    for fold, other in ((1, 2), (2, 1)):
        folder = experiment.work / f"fold-{fold}" / "finetuned"
        with np.load(folder / "predictions.npz") as predictions:
            tested = {str(name) for name in predictions["ids"]}
        assert tested == {
            clip.id for clip in read_listing(experiment.data, max_missing_share=1).clips if clip.fold == fold
        }
        settings = json.loads((folder / "eval_results.json").read_text())["settings"]
        assert settings["train_folds"] == [other]
        pretrained = json.loads((folder.parent / "pretrained" / "C1-C4" / "pretrain_results.json").read_text())
        # Twelve clips and two of synthetic sound; none is held out.
        assert pretrained["train_clips"] == 14 and "held_out_clips" not in pretrained
    assert json.loads((experiment.work / "all" / "finetuned" / "config.json").read_text())["hidden_size"] == 16


@pytest.mark.slow
def test_the_card_states_what_the_predictions_of_the_folds_say(finished):
    experiment, output = finished
    correct: dict[int, np.ndarray] = {}
    for fold in (1, 2):
        with np.load(experiment.work / f"fold-{fold}" / "finetuned" / "predictions.npz") as predictions:
            correct[fold] = predictions["scores"].argmax(axis=1) == predictions["targets"]
    accuracy = np.concatenate(list(correct.values())).mean()
    results = json.loads((output / "eval_results.json").read_text())
    assert results["accuracy"] == pytest.approx(accuracy) and results["num_clips"] == 24
    assert results["per_fold"] == [
        {"fold": fold, "clips": 12, "accuracy": pytest.approx(values.mean())} for fold, values in correct.items()
    ]
    low, high = results["interval_95"]
    assert low <= accuracy <= high
    assert results["histogram_accuracy"] == pytest.approx(baseline(experiment))
    with np.load(output / "predictions.npz") as pooled:
        assert (pooled["scores"].argmax(axis=1) == pooled["targets"]).mean() == pytest.approx(accuracy)
        assert len(set(pooled["ids"].tolist())) == 24
        labels_by_id = {clip.id: clip.labels[0] for clip in read_listing(experiment.data, max_missing_share=1).clips}
        names = pooled["labels"][pooled["targets"]].tolist()
        assert names == [labels_by_id[name] for name in pooled["ids"].tolist()]
    card = (output / "README.md").read_text()
    assert f"**accuracy {accuracy:.1%}**, 95 % bootstrap interval {low:.1%} to {high:.1%}" in card
    assert "on 24 clips of esc (folds 1, 2) by 2-fold cross-validation" in card
    assert f"reaches {results['histogram_accuracy']:.1%} on the same clips and folds" in card
    for fold, values in correct.items():
        assert f"| {fold} | 12 | {values.mean():.1%} |" in card
    assert "24 of the 25 clips in folds 1, 2" in card and "license: cc-by-4.0" in card
    assert "| `hidden_size` | 16 | `tiny_c1_c4_pretrain` |" in card
    assert str(experiment.work) not in card and "held-out training clips" not in card
    assert str(render_card(read_facts(output), license="cc-by-4.0")) == card


def test_the_baseline_counts_the_codes_of_the_clips(tmp_path):
    """Half of the clips of a fold are labelled wrongly, so that only a classifier that saw them could be right."""
    data = write_esc50(tmp_path / "esc", num_folds=2, clips_per_class_and_fold=4, duration_s=0.3)
    table = data / "meta" / "esc50.csv"
    swapped = {",2,0,hum,True,200,": ",2,1,hiss,True,200,", ",2,1,hiss,True,210,": ",2,0,hum,True,210,"}
    text = table.read_text()
    for old, new in swapped.items():
        assert text.count(old) == 2
        text = text.replace(old, new)
    table.write_text(text)
    experiment = Experiment(data, tmp_path / "work")
    extractor = AudioFormerFeatureExtractor(codec=str(experiment.codec), codebooks=0)
    accuracy = histogram_accuracy(experiment.prepare(), extractor, tmp_path / "codes")
    assert accuracy == pytest.approx(baseline(experiment)) and 0.3 < accuracy < 0.9


@pytest.mark.slow
def test_groups_are_recordings_when_the_interval_is_computed(finished):
    experiment, _ = finished
    clips = experiment.prepare()
    summary = pool_folds(experiment.work, clips)
    recordings = {clip.id: clip.group for clip in read_listing(experiment.data, max_missing_share=1).clips}
    assert summary.groups == [recordings[name] for name in summary.ids]
    assert len(set(summary.groups)) == 12


@pytest.mark.slow
def test_the_folder_can_be_pushed_and_loads_through_pipeline(finished):
    experiment, output = finished
    assert check_folder(output) == []
    rows = list(csv.DictReader((output / "attribution.csv").open()))
    assert len(rows) == 24 and {row["license"] for row in rows} == {"CC0", "CC-BY"}
    classifier = pipeline("audio-classification", model=str(output))
    waveform, _ = load_audio(next((experiment.data / "audio").iterdir()), 24_000)
    scores = classifier(waveform, top_k=None)
    assert {item["label"] for item in scores} == set(LABELS)
    assert sum(item["score"] for item in scores) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_second_run_repeats_nothing_and_writes_the_same_folder(finished):
    experiment, output = finished
    trained = [experiment.work / name for name in ("fold-1", "fold-2", "all", "codes")]
    before = [snapshot(folder, times=True) for folder in trained]
    content = snapshot(output, times=False)
    run(experiment, output)
    assert [snapshot(folder, times=True) for folder in trained] == before
    assert snapshot(output, times=False) == content


@pytest.mark.slow
def test_a_part_that_is_not_finished_is_done_again_and_other_settings_are_refused(finished, tmp_path):
    experiment, _ = finished
    copied = replace(experiment, work=tmp_path / "work")
    shutil.copytree(experiment.work, copied.work)
    weights = (copied.work / "fold-2" / "finetuned" / "model.safetensors").read_bytes()
    before = snapshot(copied.work / "fold-1", times=True)
    shutil.rmtree(copied.work / "fold-2" / "finetuned")
    # A run that was killed after its last checkpoint and before its test.
    for name in ("README.md", "eval_results.json", "predictions.npz", "model.safetensors"):
        (copied.work / "all" / "finetuned" / name).unlink()
    run(copied, tmp_path / "tiny-model")
    assert (copied.work / "fold-2" / "finetuned" / "model.safetensors").read_bytes() == weights
    assert snapshot(copied.work / "fold-1", times=True) == before
    assert (tmp_path / "tiny-model" / "model.safetensors").is_file()

    with pytest.raises(ValueError, match=r"other settings \(seed\)"):
        run(replace(copied, seed=1), tmp_path / "other")
    with pytest.raises(ValueError, match=r"other settings \(finetune\)"):
        run(replace(copied, finetune={**SETTINGS, "learning_rate": 1e-2}), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_one_fold_and_unknown_licences_are_refused(tmp_path):
    data = write_esc50(tmp_path / "esc", num_folds=1, clips_per_class_and_fold=2, duration_s=0.1)
    flags = ["--data", str(data), "--work", str(tmp_path / "work"), "--output", str(tmp_path / "out")]
    with pytest.raises(ValueError, match=r"at least two folds, got \[1\]"):
        main(flags)
    attribution = data / "meta" / "attribution.csv"
    attribution.write_text(attribution.read_text().replace("CC-BY", "unknown"))
    with pytest.raises(ValueError, match="CC-BY"):
        main(flags)
    assert not (tmp_path / "out").exists()
