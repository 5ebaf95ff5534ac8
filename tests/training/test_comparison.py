"""`audioformer compare`: tiny classifiers of several families on the same sounds."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from scipy.special import expit, softmax

from audioformer import (
    AudioFormerConfig,
    AudioFormerFeatureExtractor,
    AudioFormerForAudioClassification,
    DashengConfig,
    DashengFeatureExtractor,
    DashengForAudioClassification,
    MaskSpecConfig,
    MaskSpecFeatureExtractor,
    MaskSpecForAudioClassification,
)
from audioformer.cli import main
from audioformer.evaluation import EvaluationSummary
from audioformer.evaluation.metrics import bootstrap_values, percentile_interval
from audioformer.model_cards import TINY_CODEC
from audioformer.training import comparison

LABELS = ["hum", "hiss", "beep"]
SIZES = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32)


def label_settings(labels: list[str], **settings) -> dict:
    return dict(id2label=dict(enumerate(labels)), label2id={name: i for i, name in enumerate(labels)}, **settings)


def save(folder: Path, model_class, config, extractor, seed: int) -> Path:
    torch.manual_seed(seed)
    model = model_class(config)
    # Heads of some families begin at almost zero.
    torch.nn.init.normal_(model.classifier.weight)
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """Untrained classifiers with the same labels in different orders."""
    root = tmp_path_factory.mktemp("models")
    single = dict(problem_type="single_label_classification", classification_loss="cross_entropy")
    spectrogram, dasheng = MaskSpecFeatureExtractor(), DashengFeatureExtractor()
    codes = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))

    def patches(labels: list[str], **settings) -> MaskSpecConfig:
        return MaskSpecConfig(**SIZES, **label_settings(labels, **settings))

    chunks = DashengConfig(**SIZES, **label_settings(["beep", "hum", "hiss"], **single))
    ids = AudioFormerConfig(**SIZES, **codes.model_config(), **label_settings(LABELS, **single))
    several = dict(problem_type="multi_label_classification", classification_loss="bce")
    other = ["hum", "hiss", "buzz"]
    return {
        "patches": save(root / "patches", MaskSpecForAudioClassification, patches(LABELS, **single), spectrogram, 0),
        "chunks": save(root / "chunks", DashengForAudioClassification, chunks, dasheng, 1),
        "codes": save(root / "codes", AudioFormerForAudioClassification, ids, codes, 2),
        "tags": save(root / "tags", MaskSpecForAudioClassification, patches(LABELS[::-1], **several), spectrogram, 3),
        "other": save(root / "other", MaskSpecForAudioClassification, patches(other, **single), spectrogram, 4),
    }


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """A manifest of 18 sounds of six recordings, and one of sounds with several labels."""
    folder = tmp_path_factory.mktemp("sounds")
    rows, several = ["path,label,group"], ["path,label"]
    rng = np.random.default_rng(0)
    for index in range(18):
        soundfile.write(folder / f"{index}.wav", 0.2 * rng.standard_normal(8000), 16000)
        rows.append(f"{index}.wav,{LABELS[index % 3]},take{index // 3}")
        several.append(f"{index}.wav,{LABELS[index % 3]};{LABELS[index // 3 % 3]}")
    (folder / "one.csv").write_text("\n".join(rows) + "\n")
    (folder / "several.csv").write_text("\n".join(several) + "\n")
    return folder


def run(models: list[Path], data: Path, output: Path, *flags: str) -> int:
    names = [str(model) for model in models]
    return main(["compare", "--models", *names, "--data", str(data), "--output", str(output), "--use-cpu", *flags])


@pytest.fixture(scope="module")
def compared(models, sounds, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("compared") / "out"
    chosen = [models[name] for name in ("patches", "chunks", "codes")]
    flags = ["--ensemble", "--cache-dir", str(output.parent / "cache")]
    assert run(chosen, sounds / "one.csv", output, *flags) == 0
    return output


def aligned(folder: Path) -> tuple[np.ndarray, EvaluationSummary]:
    """Logits of a model of a comparison with the columns in the order of LABELS."""
    summary = EvaluationSummary.load(folder)
    return summary.scores[:, [list(summary.labels).index(label) for label in LABELS]], summary


def test_table_has_the_metric_of_each_and_paired_differences(compared):
    saved = json.loads((compared / "compare.json").read_text())
    rows = {row["name"]: row for row in saved["rows"]}
    assert list(rows) == ["patches", "chunks", "codes", "average of all"] and saved["num_clips"] == 18
    reference, first = aligned(compared / "models" / "patches")
    groups = [f"take{index // 3}" for index in range(18)]
    assert first.groups == groups
    before = bootstrap_values(reference, first.targets, False, groups=groups)
    assert rows["patches"]["interval_95"] == list(percentile_interval(before))
    assert rows["patches"]["difference"] is None
    for name in ("chunks", "codes"):
        scores, own = aligned(compared / "models" / name)
        assert own.ids == first.ids
        value = (scores.argmax(axis=1) == first.targets).mean()
        assert rows[name]["accuracy"] == pytest.approx(value) == pytest.approx(own.value)
        assert rows[name]["difference"] == pytest.approx(value - first.value)
        after = bootstrap_values(scores, first.targets, False, groups=groups)
        assert rows[name]["difference_interval_95"] == list(percentile_interval(after - before))


def test_average_is_that_of_the_probabilities(compared):
    parts = [softmax(aligned(compared / "models" / name)[0].astype(float), axis=1) for name in ("patches", "chunks")]
    parts.append(softmax(aligned(compared / "models" / "codes")[0].astype(float), axis=1))
    average, summary = aligned(compared / "ensemble")
    np.testing.assert_allclose(np.exp(average), np.mean(parts, axis=0), atol=1e-6)
    rows = json.loads((compared / "compare.json").read_text())["rows"]
    assert rows[-1]["accuracy"] == pytest.approx((np.mean(parts, axis=0).argmax(axis=1) == summary.targets).mean())


def test_costs_are_those_of_each_model(compared, models):
    rows = {row["name"]: row for row in json.loads((compared / "compare.json").read_text())["rows"]}
    for name in ("patches", "chunks"):
        weights = models[name] / "model.safetensors"
        assert 4 * rows[name]["parameters"] <= weights.stat().st_size
        assert rows[name]["front_end_parameters"] == 0
    assert rows["codes"]["front_end_parameters"] > 10_000
    for row in list(rows.values())[:3]:
        assert row["speed_clips"] == 18
        # 18 clips of half a second: both are about the same time.
        assert row["clips_per_second"] * row["real_time_factor"] == pytest.approx(2.0)
        assert row["device"] == "cpu"
        if Path("/proc/self/clear_refs").exists() and os.access("/proc/self/clear_refs", os.W_OK):
            assert 0 <= row["peak_memory_gb"] < 3
    assert "parameters" not in rows["average of all"]


def test_table_and_picture_are_written(compared):
    text = (compared / "compare.md").read_text()
    assert "| patches | MaskSpec |" in text and "| chunks | Dasheng |" in text and "| codes | AudioFormer |" in text
    assert "softmax of patches, softmax of chunks, softmax of codes" in text
    assert "6 groups of them drawn as wholes" in text
    assert (compared / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert (compared / "models" / "chunks" / "summary.md").is_file()


def test_finished_models_are_not_run_again(compared, models, sounds, tmp_path, monkeypatch):
    output = shutil.copytree(compared, tmp_path / "out")
    (output / "models" / "chunks" / "compared.json").unlink()
    opened = []
    monkeypatch.setattr(
        comparison,
        "open_test",
        lambda settings, open_test=comparison.open_test: (
            opened.append(settings.family.name),
            open_test(settings),
        )[1],
    )
    assert run([models["patches"], models["chunks"]], sounds / "one.csv", output) == 0
    assert opened == ["audioformer_dasheng"]
    again, before = (
        {row["name"]: row for row in json.loads((folder / "compare.json").read_text())["rows"]}
        for folder in (output, compared)
    )
    assert again["patches"] == before["patches"] and list(again) == ["patches", "chunks"]
    assert again["chunks"]["difference_interval_95"] == before["chunks"]["difference_interval_95"]


def test_results_of_other_clips_are_not_taken(compared, models, sounds, tmp_path, capsys):
    output = shutil.copytree(compared, tmp_path / "out")
    rows = (sounds / "one.csv").read_text().splitlines()
    fewer = sounds / "fewer.csv"
    fewer.write_text("\n".join(rows[:10]) + "\n")
    assert run([models["patches"]], fewer, output) == 1
    assert "results of patches with other clips" in capsys.readouterr().err


def test_several_labels_are_averaged_as_sigmoids_with_columns_in_order(models, sounds, tmp_path):
    twin = shutil.copytree(models["tags"], tmp_path / "twin")
    assert run([models["tags"], twin], sounds / "several.csv", tmp_path / "out", "--ensemble") == 0
    saved = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert saved["metric"] == "mAP" and saved["labels"] == LABELS[::-1]
    first, same, average = saved["rows"]
    assert first["name"] == "tags" and same["name"] == "twin"
    assert same["difference"] == 0 and same["difference_interval_95"] == [0, 0]
    assert average["mAP"] == pytest.approx(first["mAP"])
    scores, _ = aligned(tmp_path / "out" / "models" / "tags")
    np.testing.assert_allclose(expit(aligned(tmp_path / "out" / "ensemble")[0]), expit(scores), atol=1e-5)
    assert "sigmoid of tags" in (tmp_path / "out" / "compare.md").read_text()


@pytest.mark.parametrize(
    ("names", "flags", "message", "status"),
    [
        (["patches", "other"], [], "buzz is only in other; beep is only in patches", 1),
        (["patches"], ["--ensemble"], "`ensemble` needs at least two models, got 1", 1),
        (["patches", "patches"], [], "twice", 2),
        (["patches"], ["--cache-dir", "x"], "`cache_dir` applies to none of the families", 2),
        (["patches"], ["--layout", "nothing"], "nothing", 1),
    ],
)
def test_what_cannot_be_compared_is_told_before_any_work(
    models, sounds, tmp_path, capsys, names, flags, message, status
):
    chosen = [models[name] for name in names]
    try:
        returned = run(chosen, sounds / "one.csv", tmp_path / "out", *flags)
    except SystemExit as error:
        returned = error.code
    assert returned == status
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "out").rglob("*.json"))


def test_folders_of_the_same_name_are_told_apart(tmp_path):
    folders = [tmp_path / "a" / "C1", tmp_path / "b" / "C1", tmp_path / "b" / "C2"]
    for folder in folders:
        folder.mkdir(parents=True)
    assert comparison._names_of([str(folder) for folder in folders]) == ["a/C1", "b/C1", "C2"]
