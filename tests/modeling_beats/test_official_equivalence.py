"""The same numbers as the authors' code, from fixtures that it made (see fixtures/README.md)."""

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.feature_extraction.feature_extraction_beats import official_mask
from audioformer.modeling_beats.convert_beats import convert_beats_checkpoint
from audioformer.modeling_beats.modeling_beats import BeatsRelativePositionBias

from .common import read_fixture, tiny_config
from .make_fixtures import CASES, batch
from .sounds import SOUNDS

ENCODERS = ("encoder_12_heads", "encoder_8_heads", "encoder_plain")


def load(name: str):
    """The converted model of a fixture, its expected tensors, and its clips."""
    weights, expected, settings = read_fixture(name)
    model = convert_beats_checkpoint({"cfg": settings["cfg"], "model": weights}).model
    lengths = settings["lengths"]
    clips = [clip[:length].numpy() for clip, length in zip(batch(lengths), lengths, strict=True)]
    return model, expected, clips


def extract(clips, **settings):
    return BeatsFeatureExtractor(**settings)(clips, sampling_rate=16000, return_tensors="pt")


def test_every_case_has_its_fixture():
    assert all(read_fixture(name)[0] for name in CASES)


@pytest.mark.parametrize("name", SOUNDS)
def test_filterbank(name):
    _, others, _ = read_fixture("filterbank")
    features = extract([SOUNDS[name]])["input_features"][0]
    assert features.shape == others[name].shape
    torch.testing.assert_close(features, others[name], atol=1e-5, rtol=0)


def test_silence_and_the_empty_triangle_have_their_value():
    features = extract([SOUNDS["silence"], SOUNDS["noise"]])["input_features"]
    torch.testing.assert_close(features[0, :10], torch.full((10, 128), -2.3917), atol=1e-4, rtol=0)
    torch.testing.assert_close(features[1, :10, 3], torch.full((10,), -2.3917), atol=1e-4, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_encoder_without_padding(name, attention):
    model, expected, clips = load(name)
    model.set_attn_implementation(attention)
    # The authors' code without a mask reads the zeros as sound.
    longest = max(map(len, clips))
    whole = [np.pad(clip, (0, longest - len(clip))) for clip in clips]
    outputs = model(**extract(whole))
    torch.testing.assert_close(outputs.last_hidden_state, expected["hidden_states"], atol=1e-4, rtol=0)
    assert outputs.patch_mask.all()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ENCODERS)
@torch.no_grad()
def test_encoder_with_the_authors_padding(name, attention):
    model, expected, clips = load(name)
    model.set_attn_implementation(attention)
    outputs = model(**extract(clips, official_padding=True))
    real = expected["patch_mask"]
    assert torch.equal(outputs.patch_mask, real) and not real.all()
    difference = (outputs.last_hidden_state - expected["padded_hidden_states"])[real].abs().max()
    assert difference < 1e-4, difference
    # Otherwise, the mask would have made no difference.
    assert (expected["hidden_states"] - expected["padded_hidden_states"])[real].abs().max() > 1e-3


@torch.no_grad()
def test_classifier():
    model, expected, clips = load("classifier")
    scores = model(**extract(clips, official_padding=True)).logits.sigmoid()
    torch.testing.assert_close(scores, expected["padded_probabilities"], atol=1e-5, rtol=0)
    longest = max(map(len, clips))
    scores = model(**extract([np.pad(clip, (0, longest - len(clip))) for clip in clips])).logits.sigmoid()
    torch.testing.assert_close(scores, expected["probabilities"], atol=1e-5, rtol=0)


@torch.no_grad()
def test_tokenizer_labels():
    model, expected, clips = load("tokenizer")
    outputs = model(**extract(clips, official_padding=True))
    real = outputs.patch_mask
    assert torch.equal(outputs.labels[real], expected["labels"][real])
    assert (outputs.labels[~real] == -100).all() and not real.all()
    assert expected["labels"][real].unique().numel() > 3


def test_scaled_gradients():
    weights, expected, settings = read_fixture("encoder_gradients")
    model = convert_beats_checkpoint({"cfg": settings["cfg"], "model": weights}).model
    model.config.layer_gradient_scale = settings["cfg"]["layer_wise_gradient_decay_ratio"]
    model(**extract([batch(settings["lengths"])[0].numpy()])).last_hidden_state.square().sum().backward()
    gradients = {
        "post_extract_proj.weight": model.embeddings.projection.weight.grad,
        **{
            f"encoder.layers.{number}.self_attn.q_proj.weight": layer.attention.q_proj.weight.grad
            for number, layer in enumerate(model.encoder.layers)
        },
    }
    assert {f"gradient.{name}" for name in gradients} == expected.keys()
    for name, gradient in gradients.items():
        wanted = expected[f"gradient.{name}"]
        torch.testing.assert_close(gradient, wanted, atol=1e-5 * wanted.abs().max().item(), rtol=1e-3)


def test_buckets_have_the_released_values():
    bias = BeatsRelativePositionBias(tiny_config(num_buckets=320, max_distance=800))
    known = {0: 0, 1: 161, -1: 1, 79: 239, 80: 240, 82: 240, 83: 241, 100: 247, 200: 271, 400: 295, 495: 303}
    known |= {790: 319, 6000: 319, -495: 143, -800: 159}
    assert bias.buckets(torch.tensor(list(known))).tolist() == list(known.values())


@pytest.mark.parametrize(
    ("num_samples", "real", "patches"),
    [(160000, 80000, 250), (16000, 8000, 25), (32000, 20000, 63), (48000, 1, 1), (5000, 3000, 6), (6000, 3000, 10)],
)
def test_the_authors_mask(num_samples, real, patches):
    num_frames = 1 + (num_samples - 400) // 160
    assert official_mask(real, num_samples, num_frames, num_frames // 16 * 8).sum() == patches
