"""The same numbers as the authors' code, from fixtures that it made (see fixtures/README.md)."""

import hashlib

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import MaskSpecFeatureExtractor
from audioformer.modeling_maskspec import MaskSpecForAudioClassification, MaskSpecForPreTraining
from audioformer.modeling_maskspec.convert_maskspec import _rename, split
from audioformer.modeling_maskspec.modeling_maskspec import by_time, sine_positions
from audioformer.training.trainers.optimizer import decay_by_layer

from .common import converted_fixture, read_fixture, tiny_config
from .make_fixtures import TARGETS
from .sounds import SOUNDS, image, ten_seconds


def extract(clips, **options):
    extractor = MaskSpecFeatureExtractor(stretch_to=options.pop("stretch_to", None))
    return extractor(clips, sampling_rate=32000, return_tensors="pt", **options)


def in_our_order(patches: torch.Tensor) -> torch.Tensor:
    """Values of patches `(batch_size, 8 * columns, ...)`, band by band, to column by column."""
    return torch.stack([by_time(row, 8) for row in patches])


@pytest.mark.parametrize("name", SOUNDS)
def test_spectrograms(name):
    _, others, _ = read_fixture("spectrograms")
    extractor = MaskSpecFeatureExtractor()
    (energies,) = extractor.log_energies(SOUNDS[name], 32000)
    assert energies.shape == others[f"energies.{name}"].shape
    torch.testing.assert_close(energies, others[f"energies.{name}"], atol=1e-4, rtol=0)
    (normalized,) = extract(SOUNDS[name])["input_features"]
    difference = (normalized - others[f"normalized.{name}"]).abs()
    assert difference[:, :116].max() < 1e-3 and difference.max() < 3e-3


def test_silence_has_its_value():
    (energies,) = MaskSpecFeatureExtractor().log_energies(SOUNDS["silence"], 32000)
    torch.testing.assert_close(energies, torch.full_like(energies, -1.402585), atol=1e-6, rtol=0)


def test_waveforms_in_half_precision():
    _, others, _ = read_fixture("spectrograms")
    (half,) = MaskSpecFeatureExtractor(half_precision=True).log_energies(SOUNDS["noise"], 32000)
    torch.testing.assert_close(half, others["half.noise"], atol=1e-4, rtol=0)
    assert (half - others["energies.noise"]).abs().max() > 3e-4


def test_statistics_are_those_of_the_released_file():
    extractor = MaskSpecFeatureExtractor()
    sums = [hashlib.md5(np.asarray(values, "<f4").tobytes()).hexdigest() for values in (extractor.mean, extractor.std)]
    assert sums == ["e408f7300eb712429195ce4aab8cbb93", "382f4f8b44d0fdf41766538ccd892d54"]


def test_position_tables():
    _, others, settings = read_fixture("positions")
    for name, size in (("encoder", 768), ("decoder", 512)):
        table = sine_positions(62, 8, size)
        assert table.shape == (497, size)
        torch.testing.assert_close(table[settings["rows"]], others[name], atol=1e-6, rtol=0)


def test_values_of_a_patch_are_in_the_authors_order():
    model, expected, _ = converted_fixture("pretraining")
    ramp = torch.arange(128 * 96.0).view(128, 96).T[None]
    patches = model.maskspec.embeddings.patches(ramp)
    assert torch.equal(patches, in_our_order(expected["ramp"][None].float()))
    assert (patches[0, 0, 16] - patches[0, 0, 0], patches[0, 8, 0] - patches[0, 0, 0]) == (96, 16)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_encoder(attention):
    model, expected, _ = converted_fixture("pretraining")
    model.set_attn_implementation(attention)
    outputs = model.maskspec(torch.from_numpy(np.stack([image(96, 1), image(96, 2)])))
    torch.testing.assert_close(outputs.last_hidden_state, in_our_order(expected["tokens"][:, 1:]), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.cls_hidden_state, expected["tokens"][:, 0], atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_masked_autoencoder(attention):
    model, expected, _ = converted_fixture("pretraining")
    model.set_attn_implementation(attention)
    features = torch.from_numpy(np.stack([image(96, 1), image(96, 2)]))
    noise = in_our_order(expected["noise"])
    for standardize, name in ((True, "loss_standardized"), (False, "loss_raw")):
        model.config.standardize_target = standardize
        outputs = model(features, noise=noise)
        torch.testing.assert_close(outputs.loss, expected[name], atol=0, rtol=1e-4)
        assert torch.equal(outputs.mask, in_our_order(expected["mask"]).bool())
        torch.testing.assert_close(outputs.logits, in_our_order(expected["prediction"]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_classifier(attention):
    model, expected, _ = converted_fixture("classifier")
    assert isinstance(model, MaskSpecForAudioClassification) and model.config.num_time_positions == 62
    model.set_attn_implementation(attention)
    counts = []
    for frames in TARGETS:
        inputs = extract(ten_seconds(), truncation=True, max_length=frames)
        counts.append(inputs["attention_mask"].numel())
        outputs = model(**inputs)
        torch.testing.assert_close(outputs.logits, expected[f"logits.{frames}"], atol=1e-4, rtol=0)
        torch.testing.assert_close(outputs.pooler_output, expected[f"embedding.{frames}"], atol=1e-4, rtol=0)
    assert counts == [496, 248, 48]
    inputs = extract(ten_seconds()[:160_000], stretch_to=1000)
    assert inputs["input_features"].shape == (1, 1000, 128)
    outputs = model(**inputs)
    torch.testing.assert_close(outputs.logits, expected["logits.stretched"], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.pooler_output, expected["embedding.stretched"], atol=1e-4, rtol=0)
    # Kept columns are another input than a stretched clip.
    kept = model(**extract(ten_seconds()[:160_000])).logits
    assert (kept - outputs.logits).abs().max() > 1e-3


@torch.no_grad()
def test_classifier_on_the_cls_token():
    model, expected, _ = converted_fixture("classifier_cls")
    assert model.config.pooling == "cls" and model.pooled_layer_norm is None
    outputs = model(**extract(ten_seconds()[:51_200]))
    torch.testing.assert_close(outputs.logits, expected["logits"], atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.pooler_output, expected["embedding"], atol=1e-4, rtol=0)


def test_a_pretrained_model_becomes_a_classifier(tmp_path):
    model, _, _ = converted_fixture("pretraining")
    model.save_pretrained(tmp_path)
    classifier, info = MaskSpecForAudioClassification.from_pretrained(tmp_path, num_labels=3, output_loading_info=True)
    head = {f"{part}.{kind}" for part in ("classifier", "pooled_layer_norm") for kind in ("weight", "bias")}
    assert set(info["missing_keys"]) == head and not info["unexpected_keys"]
    assert torch.equal(classifier.maskspec.embeddings.positions, model.maskspec.embeddings.positions)
    assert classifier.maskspec.embeddings.positions.requires_grad
    again = MaskSpecForPreTraining.from_pretrained(tmp_path)
    assert not again.maskspec.embeddings.positions.requires_grad
    assert torch.equal(again.decoder.positions, model.decoder.positions)


def test_rates_fall_from_layer_to_layer_as_the_authors():
    _, _, settings = read_fixture("classifier")
    config = tiny_config(num_hidden_layers=12, num_labels=5)
    model = MaskSpecForAudioClassification(config)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    decay_by_layer(optimizer, model, 0.75)
    rates = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    ours = {name: rates[id(parameter)] for name, parameter in model.named_parameters()}
    theirs = {
        renamed: scale
        for name, scale in settings["layer_scales"].items()
        for renamed, _ in split(_rename(name), torch.zeros(3 if "qkv" in name else 1, 1, 1, 1))
    }
    assert ours == pytest.approx(theirs)
