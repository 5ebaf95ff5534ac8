"""Clips of which not all classes were judged: what is unknown counts neither in the loss nor in the metric."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from sklearn.metrics import average_precision_score
from torch import nn

from audioformer.cli import main
from audioformer.evaluation import bootstrap_interval, compute_mean_average_precision, per_class_table
from audioformer.modeling_audioformer.classification_loss import named_classification_loss
from audioformer.training.samplers import class_balanced_weights
from audioformer.training.trainers.mixup import mix_labels

CPU = ["--use-cpu", "--disable-tqdm", "true"]
SIZES = ["--hidden-size", "16", "--num-hidden-layers", "1", "--num-attention-heads", "2", "--intermediate-size", "32"]


def test_unknown_labels_have_neither_loss_nor_gradient():
    torch.manual_seed(0)
    logits = torch.randn(4, 5, requires_grad=True)
    labels = torch.randint(0, 2, (4, 5))
    known = torch.rand(4, 5) < 0.5
    loss = named_classification_loss(logits, torch.where(known, labels, -1).to(torch.int8), "bce")
    each = nn.functional.binary_cross_entropy_with_logits(logits, labels.float(), reduction="none")
    torch.testing.assert_close(loss, (each * known).mean())
    loss.backward()
    assert not logits.grad[~known].any() and logits.grad[known].all()
    summed = named_classification_loss(logits, torch.where(known, labels, -1), "bce", bce_reduction="sum")
    torch.testing.assert_close(summed, 5 * loss)


def test_what_is_unknown_in_one_of_two_mixed_clips_is_unknown():
    labels = torch.tensor([[1, 0, -1], [0, -1, 1]])
    partners, shares = torch.tensor([1, 0]), torch.tensor([0.75, 1.0])
    mixed = mix_labels(labels, partners, shares, 3, "bce")
    assert mixed.tolist() == [[0.75, -1, -1], [0, -1, 1]]


def test_the_metric_of_a_class_is_that_of_its_judged_clips():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((60, 3)), rng.integers(0, 2, (60, 3))
    known = rng.random((60, 3)) < 0.6
    targets = np.where(known, labels, -1)
    wanted = [average_precision_score(labels[known[:, i], i], scores[known[:, i], i]) for i in range(3)]
    result = compute_mean_average_precision(scores, targets)
    assert result["per_class"] == pytest.approx(wanted)
    table = per_class_table(scores, targets, ["a", "b", "c"], True)
    assert [row["clips"] for row in table] == (labels * known).sum(axis=0).tolist()
    # What stands at unknown places has no influence on the interval either.
    other = scores.copy()
    other[~known] = rng.random((~known).sum())
    assert bootstrap_interval(scores, targets, True) == bootstrap_interval(other, targets, True)
    low, high = bootstrap_interval(scores, targets, True)
    assert low < result["mAP"] < high


def test_unknown_labels_make_no_class_frequent():
    labels = np.array([[1, 0], [0, 1], [0, 1]])
    unknown = np.array([[1, -1], [-1, 1], [0, 1]], dtype=np.int8)
    np.testing.assert_allclose(class_balanced_weights(unknown), class_balanced_weights(labels))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("judged")
    rng, rows = np.random.default_rng(0), ["path,labels,judged,split"]
    for index in range(16):
        soundfile.write(folder / f"{index}.wav", 0.1 * rng.standard_normal(8000), 16000)
        labels, judged = (("hum", "hum;hiss"), ("", "hiss"), ("hiss", "hiss;beep"), ("beep", ""))[index % 4]
        rows.append(f"{index}.wav,{labels},{judged},{'test' if index >= 12 else 'train'}")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return folder / "list.csv"


def test_a_spectrogram_model_is_trained_and_tested_on_them(manifest, tmp_path):
    output = tmp_path / "out"
    command = ["finetune", "--recipe", "tiny_maskspec_finetune", "--data", str(manifest), "--output", str(output)]
    flags = ["--classification-loss", "bce", "--num-train-epochs", "1", "--mixup-alpha", "0.5"]
    assert main([*command, *flags, *SIZES, *CPU]) == 0
    with np.load(output / "predictions.npz") as file:
        scores, targets, labels = file["scores"], file["targets"], file["labels"].tolist()
    assert labels == ["beep", "hiss", "hum"]
    assert targets.tolist() == [[-1, 0, 1], [-1, 0, -1], [0, 1, -1], [1, 0, 0]]
    saved = json.loads((output / "eval_results.json").read_text())
    assert saved["mAP"] == pytest.approx(compute_mean_average_precision(scores, targets)["mAP"])


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["finetune", "--recipe", "tiny_maskspec_finetune"], "`classification_loss` must be 'bce' for list"),
        (["finetune", "--recipe", "tiny_ft1"], "not all classes of its clips were judged, which a folder of codes"),
        (["encode"], "not all classes of its clips were judged, which a folder of codes"),
    ],
)
def test_what_would_take_unknown_for_absent_is_refused(manifest, tmp_path, capsys, command, message):
    name, *flags = command
    source = [str(manifest)] if name == "encode" else ["--data", str(manifest), *CPU]
    assert main([name, *flags, *source, "--output", str(tmp_path / "out")]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors")) and not list(tmp_path.rglob("*.parquet"))
