"""The classifier that a run starts from: which weights it keeps, and which checkpoints and labels it refuses."""

from pathlib import Path
from typing import Any

import pytest
import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
)
from audioformer.training import Settings, create_settings
from audioformer.training.classifiers import check_head, classifier_to_train, labels_of, read_classifier_config
from audioformer.training.families import recipe_folders

LABELS = ["dog", "rain", "rooster"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=1)


@pytest.fixture
def pretrained(tmp_path) -> AudioFormerForMaskedLM:
    torch.manual_seed(0)
    model = AudioFormerForMaskedLM(AudioFormerConfig(**SIZES, codebook=1, initializer_range=0.5))
    model.save_pretrained(tmp_path / "C2")
    return model


@pytest.fixture
def classifier(tmp_path) -> AudioFormerForAudioClassification:
    torch.manual_seed(1)
    config = AudioFormerConfig(
        **SIZES,
        id2label=dict(enumerate(LABELS)),
        label2id={label: index for index, label in enumerate(LABELS)},
        problem_type="single_label_classification",
        calibration_temperature=2.0,
        calibration_bias=[0.1, 0.2, 0.3],
    )
    model = AudioFormerForAudioClassification(config)
    model.save_pretrained(tmp_path / "classifier")
    return model


def finetune_settings(folder: Path, **given: Any) -> Settings:
    return create_settings("finetune", output_dir=folder / "run", **given)


def test_the_recipes_of_the_paper_sum_bce_over_the_classes_and_the_tiny_ones_do_not(extractor, tmp_path):
    reductions = {}
    for recipe in sorted(path.stem for path in next(iter(recipe_folders().values())).glob("*ft[12].yaml")):
        teachers = {"teachers": [str(tmp_path)]} if recipe.endswith("ft2") else {}
        settings = finetune_settings(tmp_path, recipe=recipe, classification_loss="bce", **teachers, **SIZES)
        reductions[recipe] = classifier_to_train(settings, LABELS, True, extractor).config.bce_reduction
    assert len(reductions) > 10
    assert reductions == {name: "mean" if name.startswith(("tiny", "demo")) else "sum" for name in reductions}
    assert finetune_settings(tmp_path, recipe="as20k_ft1", bce_reduction="mean").model.bce_reduction == "mean"
    assert finetune_settings(tmp_path).model.bce_reduction == "mean"


def same_weights(first: torch.nn.Module, second: torch.nn.Module) -> bool:
    weights, others = first.state_dict(), second.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def test_a_pretrained_backbone_is_kept_under_a_new_head_with_named_labels(pretrained, extractor, tmp_path):
    settings = finetune_settings(tmp_path, model=tmp_path / "C2", dropout=0.3)
    model = classifier_to_train(settings, LABELS, False, extractor)
    assert isinstance(model, AudioFormerForAudioClassification)
    assert same_weights(model.base_model, pretrained.base_model)
    assert model.config.id2label == {0: "dog", 1: "rain", 2: "rooster"}
    assert model.config.label2id == {"dog": 0, "rain": 1, "rooster": 2}
    assert (model.config.problem_type, model.config.classification_loss) == (
        "single_label_classification",
        "cross_entropy",
    )
    assert (model.config.hidden_dropout_prob, pretrained.config.hidden_dropout_prob) == (0.3, 0.1)
    assert model.config.codebook == 1
    assert model.classifier.out_features == 3


def test_several_labels_per_clip_are_learned_with_lsep(pretrained, extractor, tmp_path):
    model = classifier_to_train(finetune_settings(tmp_path, model=tmp_path / "C2"), LABELS, True, extractor)
    assert (model.config.problem_type, model.config.classification_loss) == ("multi_label_classification", "lsep")


def test_a_classifier_of_the_same_labels_keeps_its_head_but_not_its_calibration(classifier, extractor, tmp_path):
    model = classifier_to_train(finetune_settings(tmp_path, model=tmp_path / "classifier"), LABELS, False, extractor)
    assert same_weights(model, classifier)
    assert model.config.calibration_temperature is None and model.config.calibration_bias is None


def test_a_classifier_of_other_labels_needs_a_new_head(classifier, extractor, tmp_path):
    folder = tmp_path / "classifier"
    with pytest.raises(ValueError, match="does not know 1 of the 2 labels of the data: cat. It knows 3: dog, rain"):
        check_head(finetune_settings(tmp_path, model=folder), ["dog", "cat"])
    with pytest.raises(ValueError, match="another order: dog, rain, rooster against rain, dog"):
        classifier_to_train(finetune_settings(tmp_path, model=folder), ["rain", "dog"], False, extractor)
    settings = finetune_settings(tmp_path, model=folder, new_head=True)
    model = classifier_to_train(settings, ["dog", "cat"], False, extractor)
    assert same_weights(model.base_model, classifier.base_model)
    assert labels_of(model.config) == ["dog", "cat"] and model.classifier.out_features == 2


def test_without_a_checkpoint_a_fresh_model_has_the_sizes_asked_for(extractor, tmp_path):
    settings = finetune_settings(tmp_path, hidden_size=24, num_hidden_layers=1, num_attention_heads=3)
    model = classifier_to_train(settings, LABELS, False, extractor)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads) == (24, 1, 3)
    assert (config.codebook, config.codebook_size) == (1, extractor.codebook_size)
    assert labels_of(config) == LABELS


def test_what_does_not_fit_is_refused_with_the_reason(pretrained, extractor, tmp_path):
    with pytest.raises(ValueError, match="have no labels"):
        check_head(finetune_settings(tmp_path), [])
    settings = finetune_settings(tmp_path, model=tmp_path / "C2", classification_loss="lsep")
    with pytest.raises(ValueError, match="'lsep' does not fit data with one label per clip"):
        classifier_to_train(settings, LABELS, False, extractor)
    with pytest.raises(ValueError, match="must be a classifier, not AudioFormerForMaskedLM"):
        read_classifier_config(settings.family, str(tmp_path / "C2"))
    AudioFormerForMaskedLM(AudioFormerConfig(**SIZES, codebook_size=512)).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="512 entries per codebook, the codec has 1024"):
        classifier_to_train(finetune_settings(tmp_path, model=tmp_path / "other"), LABELS, False, extractor)
