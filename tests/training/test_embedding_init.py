"""Embeddings that start from the codec's vectors keep the distances between codes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.code_vectors import code_vectors
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification
from audioformer.training import create_settings
from audioformer.training.classifiers import classifier_to_train
from audioformer.training.embedding_init import rotate_into, start_from_code_vectors
from audioformer.training.pretraining.masked_lm import open_model

from ..feature_extraction.common import make_codec

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    codec = make_codec(num_filters=2, hidden_size=16, target_bandwidths=[3.0])
    return AudioFormerFeatureExtractor(codec=codec, codebooks=1)


def codes_of(model: torch.nn.Module) -> torch.Tensor:
    return model.get_input_embeddings().weight.detach()[3:1027]


@given(count=st.integers(2, 40), dim=st.integers(1, 20), size=st.integers(1, 40), seed=st.integers(0, 100))
@settings(derandomize=True, deadline=None, max_examples=30)
def test_a_rotation_keeps_distances_or_the_main_directions(count, dim, size, seed):
    vectors = torch.from_numpy(np.random.default_rng(seed).standard_normal((count, dim))).float()
    vectors -= vectors.mean(0)
    rotated = rotate_into(vectors, size, seed)
    assert rotated.shape == (count, size)
    if size >= min(count, dim):
        expected = vectors @ vectors.T
    else:
        # The best that so few dimensions can do.
        left, values, right = torch.linalg.svd(vectors, full_matrices=False)
        nearest = left[:, :size] * values[:size] @ right[:size]
        expected = nearest @ nearest.T
    # All inner products are kept, and so all distances.
    torch.testing.assert_close(rotated @ rotated.T, expected, rtol=1e-3, atol=1e-3)


def test_special_ids_stay_random_and_the_codes_as_large_as_before(extractor):
    torch.manual_seed(0)
    model = AudioFormerForAudioClassification(AudioFormerConfig(**SIZES, num_labels=2))
    before = model.get_input_embeddings().weight.detach().clone()
    start_from_code_vectors(model, extractor, seed=0)
    after = model.get_input_embeddings().weight.detach()
    special = [0, 1, 2, 1027]
    assert torch.equal(after[special], before[special])
    assert codes_of(model).std().item() == pytest.approx(model.config.initializer_range, rel=0.01)
    distances = torch.cdist(*[code_vectors(extractor.codec, 1, 1024)] * 2)
    found = torch.cdist(*[codes_of(model)] * 2)
    assert np.corrcoef(distances.flatten(), found.flatten())[0, 1] > 0.9999


@pytest.mark.parametrize("command", ["pretrain", "finetune"])
def test_fresh_models_start_as_the_setting_says(extractor, command, tmp_path):
    started = {}
    for choice in ("random", "code_vectors"):
        recipe = "tiny_pretrain" if command == "pretrain" else "tiny_ft1"
        settings = create_settings(
            command, recipe, data=tmp_path, output_dir=tmp_path / "out", embedding_init=choice, use_cpu=True, **SIZES
        )
        torch.manual_seed(0)
        if command == "pretrain":
            started[choice] = open_model(settings, extractor)
        else:
            started[choice] = classifier_to_train(settings, ["a", "b"], False, extractor)
    assert not torch.allclose(codes_of(started["random"]), codes_of(started["code_vectors"]))
    expected = rotate_into(code_vectors(extractor.codec, 1, 1024), 32, seed=settings.training.seed)
    found = codes_of(started["code_vectors"])
    torch.testing.assert_close(found / found.std(), expected / expected.std(), rtol=1e-3, atol=1e-4)


def test_the_papers_recipes_start_at_random(tmp_path):
    for command, recipe in (("pretrain", "pretrain_audioset"), ("finetune", "tiny_ft1")):
        settings = create_settings(command, recipe, data=tmp_path, output_dir=tmp_path, use_cpu=True, bf16=False)
        assert settings.options.embedding_init == "random"
