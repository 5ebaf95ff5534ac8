"""Pre-training and fine-tuning of one row with the Trainer."""

import numpy as np
import pytest
import torch
from transformers import set_seed

from audioformer.experiments.fit import (
    classifier_from_pretrained_backbone,
    finetune_classifier,
    predict_logits,
    pretrain_masked_lm,
    training_arguments,
)
from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
)
from audioformer.training.examples.codes import CodeExamples


def tiny_config(**changes) -> AudioFormerConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    return AudioFormerConfig(**{**sizes, **changes})


def periodic_codes(num_clips: int) -> tuple[list[list[np.ndarray]], list[int]]:
    """Clips that repeat the codes 0 to 7 (class 0) or 8 to 15 (class 1), each from a place of its own."""
    rng = np.random.default_rng(0)
    labels = [index % 2 for index in range(num_clips)]
    rings = [np.arange(8) + 8 * label for label in labels]
    return [[np.roll(np.tile(ring, 4), rng.integers(8)).astype(np.uint16)] for ring in rings], labels


@pytest.mark.slow
def test_pretraining_restores_what_can_be_known_and_fine_tuning_tells_the_classes_apart():
    clips, labels = periodic_codes(64)
    set_seed(0)
    pretrained = AudioFormerForMaskedLM(tiny_config(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
    mean_loss = pretrain_masked_lm(pretrained, CodeExamples(clips), training_arguments(60, 3e-3, 16, seed=0))
    assert mean_loss < np.log(1028) / 2
    model = classifier_from_pretrained_backbone(pretrained, ["low", "high"])
    finetune_classifier(model, CodeExamples(clips, labels), training_arguments(30, 1e-3, 16, seed=0))
    logits = predict_logits(model, CodeExamples(clips))
    assert logits.shape == (64, 2)
    assert (logits.argmax(axis=1) == labels).mean() > 0.95


def test_the_backbone_is_kept_and_labels_are_named():
    pretrained = AudioFormerForMaskedLM(tiny_config())
    model = classifier_from_pretrained_backbone(pretrained, ["dog", "rain", "rooster"], hidden_dropout_prob=0.3)
    assert isinstance(model, AudioFormerForAudioClassification)
    assert model.config.id2label == {0: "dog", 1: "rain", 2: "rooster"}
    assert model.config.label2id == {"dog": 0, "rain": 1, "rooster": 2}
    assert model.config.problem_type == "single_label_classification"
    assert (model.config.hidden_dropout_prob, pretrained.config.hidden_dropout_prob) == (0.3, 0.1)
    for name, value in pretrained.base_model.state_dict().items():
        assert torch.equal(model.base_model.state_dict()[name], value)


def test_predictions_do_not_depend_on_the_batch():
    set_seed(0)
    config = tiny_config(num_labels=3)
    model = AudioFormerForAudioClassification(config)
    clips = [[np.arange(length, dtype=np.uint16)] for length in (5, 50, 17)]
    together = predict_logits(model, CodeExamples(clips), batch_size=3)
    alone = predict_logits(model, CodeExamples(clips), batch_size=1)
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_one_seed_gives_one_result():
    clips, labels = periodic_codes(8)
    results = []
    for _ in range(2):
        set_seed(1)
        model = AudioFormerForAudioClassification(tiny_config(num_labels=2))
        finetune_classifier(model, CodeExamples(clips, labels, crop_frames=16), training_arguments(2, 1e-3, 4, seed=1))
        results.append(predict_logits(model, CodeExamples(clips)))
    np.testing.assert_array_equal(*results)
