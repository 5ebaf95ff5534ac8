"""The loss that is saved with a classifier, and the calibration of its logits."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from sklearn.metrics import average_precision_score
from transformers import AutoModelForAudioClassification, pipeline

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification
from audioformer.modeling_audioformer.classification_settings import drop_settings_of_other_labels

from .common import random_ids

SIZES = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
LABELS = torch.tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1], [1, 1, 0]])


def classifier(**changes) -> AudioFormerForAudioClassification:
    torch.manual_seed(0)
    return AudioFormerForAudioClassification(AudioFormerConfig(**SIZES, num_labels=3, **changes)).eval()


def lsep_in_double(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """Eq. 7, computed pair by pair."""
    losses = []
    for scores, row in zip(logits.double().tolist(), labels.tolist(), strict=True):
        pairs = [
            np.exp(scores[j] - scores[i]) for i in range(len(row)) for j in range(len(row)) if row[i] and not row[j]
        ]
        losses.append(np.log1p(sum(pairs)))
    return float(np.mean(losses))


def test_forward_computes_the_loss_of_the_configuration_and_it_is_saved(tmp_path):
    model = classifier(classification_loss="lsep")
    ids = random_ids(model.config, 4, 9)
    outputs = model(ids, labels=LABELS)
    assert outputs.loss.item() == pytest.approx(lsep_in_double(outputs.logits, LABELS), abs=1e-5)
    model.save_pretrained(tmp_path)
    again = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert again.config.classification_loss == "lsep"
    assert again.config.problem_type == "multi_label_classification"
    torch.testing.assert_close(again(ids, labels=LABELS).loss, outputs.loss)


@pytest.mark.parametrize("wrong", [torch.full((4, 3), 0.5), torch.tensor([[2, 0, 0]] * 4)])
def test_lsep_in_forward_refuses_soft_labels(wrong):
    model = classifier(classification_loss="lsep")
    with pytest.raises(ValueError, match="labels.*0 .absent. or 1"):
        model(random_ids(model.config, 4, 9), labels=wrong)


@pytest.mark.parametrize(
    ("loss", "problem_type"),
    [
        ("lsep", "multi_label_classification"),
        ("bce", "multi_label_classification"),
        ("cross_entropy", "single_label_classification"),
    ],
)
def test_problem_type_follows_from_the_loss_and_must_fit_it(loss, problem_type):
    assert AudioFormerConfig(classification_loss=loss).problem_type == problem_type
    with pytest.raises(StrictDataclassError, match="classification_loss"):
        AudioFormerConfig(classification_loss=loss, problem_type="regression")


@pytest.mark.parametrize(
    "wrong",
    [{"classification_loss": "hinge"}, {"calibration_temperature": 0.0}, {"calibration_bias": [float("nan"), 0.0]}],
)
def test_wrong_values_are_named(wrong):
    with pytest.raises(StrictDataclassError, match=next(iter(wrong))):
        AudioFormerConfig(**wrong)


def test_logits_are_calibrated_the_loss_and_the_ranking_are_not():
    model = classifier(classification_loss="lsep")
    ids, labels = random_ids(model.config, 40, 9), torch.randint(2, (40, 3))
    raw = model(ids, labels=labels)
    model.config.calibration_temperature, model.config.calibration_bias = 0.5, [1.0, -2.0, 0.0]
    calibrated = model(ids, labels=labels)
    torch.testing.assert_close(calibrated.logits, raw.logits * 2 + torch.tensor([1.0, -2.0, 0.0]))
    assert torch.equal(calibrated.loss, raw.loss)
    for label in range(3):
        before, after = (
            average_precision_score(labels[:, label], logits[:, label].detach().numpy())
            for logits in (raw.logits, calibrated.logits)
        )
        assert before == after


def test_pipeline_scores_are_sigmoids_of_calibrated_logits(tmp_path):
    model = classifier(classification_loss="lsep", calibration_temperature=0.5, calibration_bias=[1.0, -2.0, 0.0])
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    model.save_pretrained(tmp_path)
    extractor.save_pretrained(tmp_path)
    waveform = np.random.default_rng(0).standard_normal(4800).astype(np.float32)
    inputs = extractor(waveform, sampling_rate=24000, return_tensors="pt")
    expected = model(**inputs).logits[0].sigmoid()
    scores = pipeline("audio-classification", model=str(tmp_path))(waveform, top_k=None)
    assert {entry["label"]: pytest.approx(entry["score"], abs=1e-5) for entry in scores} == {
        model.config.id2label[index]: score.item() for index, score in enumerate(expected)
    }


def test_a_head_of_another_size_does_not_inherit_the_calibration(tmp_path):
    classifier(
        classification_loss="lsep", calibration_temperature=0.5, calibration_bias=[1.0, -2.0, 0.0]
    ).save_pretrained(tmp_path)
    model = AutoModelForAudioClassification.from_pretrained(tmp_path, num_labels=7, ignore_mismatched_sizes=True)
    assert model.config.calibration_bias is None and model.config.calibration_temperature is None
    assert model(random_ids(model.config, 2, 9)).logits.shape == (2, 7)


def test_the_embedding_is_returned():
    model = classifier()
    ids = random_ids(model.config, 4, 9)
    torch.testing.assert_close(model(ids).pooler_output, model.audioformer(ids).pooler_output)


@pytest.mark.parametrize(
    ("labels", "kept"),
    [
        (["Dog", "Rain"], {"Dog": "/m/0bt9lr", "Rain": "/m/06mb1"}),
        (["Rain", "hum"], {"Rain": "/m/06mb1"}),
        (["hum", "hiss"], None),
    ],
)
def test_a_classifier_of_other_labels_keeps_no_ids_of_labels_that_it_does_not_have(labels, kept):
    config = SimpleNamespace(
        calibration_bias=None,
        label_ids={"Dog": "/m/0bt9lr", "Rain": "/m/06mb1"},
        label2id={name: index for index, name in enumerate(labels)},
    )
    drop_settings_of_other_labels(config)
    assert config.label_ids == kept
