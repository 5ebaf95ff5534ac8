"""The same numbers as the authors' package, from fixtures that it made (see fixtures/README.md)."""

from typing import Any

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import DashengFeatureExtractor
from audioformer.feature_extraction.mel_decibels import MelDecibels
from audioformer.modeling_dasheng import DashengForAudioClassification, DashengForPreTraining, DashengModel
from audioformer.modeling_dasheng.convert_dasheng import DashengCheckpoint, convert_dasheng_checkpoint
from audioformer.modeling_dasheng.modeling_dasheng_pretraining import choose_patches

from ..modeling_beats.sounds import SOUNDS
from .common import read_fixture
from .make_fixtures import CASES, batch


def load(name: str, **changes: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """The converted model of a fixture, and its expected tensors."""
    weights, expected, settings = read_fixture(name)
    names = {name.removeprefix("encoder."): value for name, value in weights.items()}
    converted = convert_dasheng_checkpoint(DashengCheckpoint(names, settings))
    for field, value in changes.items():
        setattr(converted.config, field, value)
    model = converted.model_class(converted.config)
    model.load_state_dict(converted.weights)
    return model.eval(), expected


def extract(clips, **settings):
    return DashengFeatureExtractor(**settings)(list(clips), sampling_rate=16000, return_tensors="pt")


def padded(lengths: list[int]):
    """Inputs as the authors' package makes them of clips padded to the longest."""
    clips = [clip[:length].numpy() for clip, length in zip(batch(lengths), lengths, strict=True)]
    return extract(clips, official_padding=True)


@pytest.mark.parametrize("name", SOUNDS)
def test_decibels(name):
    expected = read_fixture("front_end")[1][name].T
    features = extract([SOUNDS[name]])["input_features"][0]
    assert features.shape == expected.shape
    torch.testing.assert_close(features, expected, atol=2e-3, rtol=0)
    # Next to a tone, the bins at the floor of float32 differ more; anything that can be heard does not.
    audible = expected > expected.max() - 60
    torch.testing.assert_close(features[audible], expected[audible], atol=2e-4, rtol=0)


def test_window_and_filters():
    expected, ours = read_fixture("front_end")[1], MelDecibels()
    torch.testing.assert_close(ours.window, expected["front_end.0.spectrogram.window"], atol=1e-6, rtol=0)
    torch.testing.assert_close(ours.mel_weights, expected["front_end.0.mel_scale.fb"], atol=1e-5, rtol=0)


def test_the_floor_of_a_batch_is_an_option():
    expected = read_fixture("front_end")[1]["batch_of_silence_and_tone"].transpose(1, 2)
    clips = [0 * SOUNDS["tone"], SOUNDS["tone"]]
    official = extract(clips, official_padding=True)["input_features"][:, :5]
    torch.testing.assert_close(official[0], expected[0], atol=1e-3, rtol=0)
    assert -90 < official[0].max() == official[0].min()
    alone = extract(clips)["input_features"][:, :5]
    assert (alone[0] == -100).all()
    torch.testing.assert_close(alone[1], expected[1], atol=2e-3, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_base_encoder(attention):
    model, expected = load("encoder_base")
    model.set_attn_implementation(attention)
    for key, clips in (("160000", [160000] * 2), ("170000", [170000])):
        states = model(**extract(batch(clips).numpy())).last_hidden_state
        torch.testing.assert_close(states, expected[f"hidden_states.{key}"], atol=1e-4, rtol=0)
    states = model(**extract(batch([320000]).numpy())).last_hidden_state
    assert states.shape[1] == 500
    torch.testing.assert_close(states[:, ::5], expected["every_fifth.320000"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(("name", "lengths"), [("encoder_06b", [30000] * 2), ("encoder_12b", [30000] * 2)])
@torch.no_grad()
def test_larger_encoders(name, lengths, attention):
    model, expected = load(name)
    model.set_attn_implementation(attention)
    assert model.config.num_attention_heads == {"encoder_06b": 16, "encoder_12b": 24}[name]
    states = model(**extract(batch(lengths).numpy())).last_hidden_state
    torch.testing.assert_close(states, expected["hidden_states.30000"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize(
    ("name", "lengths"),
    [("encoder_base", [170000, 80000]), ("encoder_06b", [30000, 9000]), ("encoder_12b", [30000, 9000])],
)
@torch.no_grad()
def test_lengths(name, lengths, attention):
    model, expected = load(name)
    model.set_attn_implementation(attention)
    inputs = padded(lengths)
    assert inputs["attention_mask"].sum(1).tolist() == [length // 640 for length in lengths]
    outputs, wanted = model(**inputs), expected[f"masked.{lengths[0]}.{lengths[1]}"]
    assert torch.isfinite(outputs.last_hidden_state).all()
    real = outputs.patch_mask
    torch.testing.assert_close(outputs.last_hidden_state[real], wanted[real], atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["encoder_06b", "encoder_12b"])
@torch.no_grad()
def test_statistics_of_the_batch_in_training(name):
    model, expected = load(name)
    states = model.train()(**extract(batch([12800] * 3).numpy())).last_hidden_state
    torch.testing.assert_close(states, expected["training.hidden_states.12800"], atol=1e-4, rtol=0)
    batch_norm = model.embeddings.batch_norm
    for statistic in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(batch_norm, statistic), expected[f"training.{statistic}"])
    assert batch_norm.num_batches_tracked == 1


@torch.no_grad()
def test_classifier():
    model, expected = load("classifier")
    assert type(model) is DashengForAudioClassification
    scores = model(**extract(batch([30000] * 3).numpy())).logits.sigmoid()
    torch.testing.assert_close(scores, expected["probabilities.30000"], atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["evaluation", "training"])
@torch.no_grad()
def test_masked_autoencoder(mode):
    model, expected = load("autoencoder")
    assert type(model) is DashengForPreTraining
    model.train(mode == "training")
    features = extract(batch([12800] * 3).numpy())["input_features"]
    outputs = model(features, noise=expected[f"{mode}.noise"])
    assert torch.equal(outputs.mask, expected[f"{mode}.mask"].bool())
    torch.testing.assert_close(outputs.logits, expected[f"{mode}.predictions"], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.loss, expected[f"{mode}.loss"], atol=0, rtol=1e-4)
    patches = model.dasheng.embeddings.patches(features)
    torch.testing.assert_close(patches, expected["targets"], atol=2e-3, rtol=0)


def test_values_of_a_patch_are_ordered_by_mel_bin_then_frame():
    model, expected = load("autoencoder")
    ramp = torch.arange(64 * 8.0).view(1, 64, 8).transpose(1, 2)
    assert torch.equal(model.dasheng.embeddings.patches(ramp), expected["order"])


def test_pairs_are_masked_together():
    expected = read_fixture("autoencoder")[1]
    kept = choose_patches(expected["mask_250.noise"], 250, 2, 0.75)
    wanted = expected["mask_250.restore"].argsort(dim=1)[:, :62]
    assert torch.equal(kept, wanted)
    mask = torch.ones(2, 250).scatter(1, kept, 0.0)
    assert torch.equal(mask, expected["mask_250.mask"]) and mask.sum(1).tolist() == [188, 188]
    assert torch.equal(mask[:, ::2], mask[:, 1::2])


@pytest.mark.parametrize(
    ("num_samples", "patches"),
    [(480, 1), (16000, 25), (160000, 250), (161279, 252), (161280, 252), (165000, 258), (320000, 500)],
)
def test_numbers_of_patches(num_samples, patches):
    inputs = extract([np.zeros(num_samples, np.float32)])
    assert inputs["attention_mask"].shape == (1, patches)


def test_every_case_has_its_fixture():
    assert all(read_fixture(name)[0] for name in CASES)
    assert type(load("encoder_base")[0]) is DashengModel
