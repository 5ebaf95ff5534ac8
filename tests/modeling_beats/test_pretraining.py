"""Masked audio modelling, the random projection, and the training of a tokenizer."""

import pytest
import torch

from audioformer.modeling_beats import (
    BeatsForMaskedAudioModeling,
    BeatsForTokenizerDistillation,
    BeatsModel,
    BeatsRandomProjectionTokenizer,
    BeatsTokenizer,
)
from audioformer.modeling_beats.modeling_beats import cut_into_patches
from audioformer.modeling_beats.modeling_beats_pretraining import choose_kept_patches
from audioformer.modeling_beats.modeling_beats_tokenizer import cosine_kmeans

from .common import perturbed, random_features, read_fixture, tiny_config


def build(model_class, **changes):
    torch.manual_seed(0)
    return perturbed(model_class(tiny_config(**changes)))


def padded(config, lengths=(20, 10, 1)) -> torch.Tensor:
    """A mask of patches for clips of 40 frames."""
    return (torch.arange(config.num_patches(40))[None] < torch.tensor(lengths)[:, None]).long()


def quantizer():
    """A model with the codebook of the fixture, and the fixture."""
    _, expected, settings = read_fixture("quantizer")
    config = tiny_config(
        codebook_size=settings["num_codes"],
        codebook_dim=settings["size"],
        codebook_decay=settings["decay"],
        codebook_rounds=settings["rounds"],
    )
    return BeatsForTokenizerDistillation(config).train(), expected, settings["seed"]


def test_kmeans_equals_the_authors():
    _, expected, seed = quantizer()
    directions = torch.nn.functional.normalize(expected["vectors_1"], dim=-1)
    torch.manual_seed(seed)
    torch.testing.assert_close(directions[torch.randperm(60)[:16]], expected["first_centres"])
    centres = cosine_kmeans(directions, expected["first_centres"], 10)
    torch.testing.assert_close(centres, expected["centres"], atol=1e-6, rtol=0)
    assert (centres - expected["first_centres"]).abs().max() > 0.1


def test_two_steps_of_the_codebook_equal_the_authors():
    model, expected, seed = quantizer()
    torch.manual_seed(seed)
    for step in (1, 2):
        vectors = expected[f"vectors_{step}"].clone().requires_grad_()
        passed, labels, loss = model.quantize(vectors[None], torch.ones(1, len(vectors), dtype=torch.bool))
        (passed.square().sum() + loss).backward()
        assert torch.equal(labels[0], expected[f"labels_{step}"])
        for name, value in (("quantized", passed[0]), ("loss", loss), ("gradient", vectors.grad)):
            torch.testing.assert_close(value, expected[f"{name}_{step}"], atol=1e-6, rtol=0)
        torch.testing.assert_close(model.codebook.codes, expected[f"codes_{step}"], atol=1e-6, rtol=0)
    # Codes without vectors stay; the others move.
    moved = (expected["codes_2"] - expected["codes_1"]).abs().amax(1) > 1e-4
    assert set(moved.nonzero()[:, 0].tolist()) == set(expected["labels_2"].tolist()) and not moved.all()


def test_padding_moves_no_code_and_evaluation_moves_none():
    model = build(BeatsForTokenizerDistillation).train()
    features, mask = random_features(model.config, 3, 40), padded(model.config)
    model.eval()
    before = model.codebook.codes.clone()
    model(features, mask)
    assert torch.equal(model.codebook.codes, before) and not model.has_started
    codes = []
    for value in (0.0, 5.0):
        model = build(BeatsForTokenizerDistillation, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
        changed = features.clone()
        changed[1, 20:] = value
        torch.manual_seed(1)
        model(changed, mask)
        codes.append(model.codebook.codes)
    torch.testing.assert_close(codes[0], codes[1], atol=1e-5, rtol=0)
    assert not torch.allclose(codes[0], before) and model.has_started


def test_the_loss_of_a_tokenizer_is_a_cosine_and_a_distance():
    model = build(BeatsForTokenizerDistillation, estimator_target_size=5)
    features, mask = random_features(model.config, 3, 40), padded(model.config)
    targets = torch.randn(3, 20, 5)
    outputs = model(features, mask, targets=targets)
    real = mask.bool()
    cosines = torch.nn.functional.cosine_similarity(outputs.estimates[real], targets[real], dim=-1)
    torch.testing.assert_close(outputs.estimation_loss, 1 - cosines.mean())
    torch.testing.assert_close(outputs.loss, outputs.estimation_loss + outputs.codebook_loss)
    model.config.codebook_loss_reduction = "sum"
    summed = model(features, mask, targets=targets)
    torch.testing.assert_close(summed.codebook_loss, outputs.codebook_loss * model.config.codebook_dim)
    with pytest.raises(ValueError, match=r"`targets` must have the shape of the estimates, \(3, 20, 5\), got"):
        model(features, mask, targets=torch.randn(3, 20, 32))


def test_every_weight_of_a_tokenizer_learns_through_the_codes():
    model = build(BeatsForTokenizerDistillation).train()
    features = random_features(model.config, 3, 40)
    model(features, padded(model.config), targets=torch.randn(3, 20, 32)).loss.backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert not without and all(parameter.grad.any() for parameter in model.code_projection.parameters())


def test_the_tokenizer_alone_gives_the_same_labels(tmp_path):
    model = build(BeatsForTokenizerDistillation).train()
    features, mask = random_features(model.config, 3, 40), padded(model.config)
    model(features, mask)
    expected = model.eval()(features, mask).labels
    model.tokenizer().save_pretrained(tmp_path)
    loaded, info = BeatsTokenizer.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(loaded.eval()(features, mask).labels, expected) and expected[0].unique().numel() > 2


@pytest.mark.parametrize(("rounding", "kept"), [("floor", [5, 2, 1]), ("round", [5, 3, 1])])
def test_the_kept_share_is_one_of_the_real_patches(rounding, kept):
    config = tiny_config(keep_rounding=rounding)
    mask = padded(config, (20, 11, 1)).bool()
    chosen = choose_kept_patches(config, mask, torch.rand(3, 20))
    assert chosen.shape == (3, 5) and (chosen >= 0).sum(1).tolist() == kept
    for row, real in zip(chosen, mask, strict=True):
        indices = row[row >= 0]
        assert torch.equal(indices, indices.unique()) and real[indices].all()
    assert [config.num_kept(number) for number in (496, 20, 11, 1)] == [124, *kept]
    assert tiny_config(mask_ratio=0.7).num_kept(10) == 3


def test_the_patches_with_the_least_noise_are_kept():
    config = tiny_config()
    noise = torch.arange(20.0).flip(0)[None]
    assert choose_kept_patches(config, torch.ones(1, 20).bool(), noise).tolist() == [[15, 16, 17, 18, 19]]


@torch.no_grad()
def test_the_encoder_sees_the_kept_patches_alone():
    model = build(BeatsForMaskedAudioModeling)
    features = random_features(model.config, 1, 40)
    noise = torch.rand(1, 20)
    outputs = model(features, noise=noise)
    assert outputs.hidden_patches.sum() == 15 and outputs.last_hidden_state.shape[1] == 5
    patches = outputs.hidden_patches[0].nonzero()[:, 0].tolist()
    changed = features.clone()
    for patch in patches:
        step, band = divmod(patch, 2)
        changed[0, 4 * step : 4 * step + 4, 4 * band : 4 * band + 4] += 1.0
    assert (cut_into_patches(changed, 4) != cut_into_patches(features, 4)).any(-1)[0].nonzero()[
        :, 0
    ].tolist() == patches
    torch.testing.assert_close(model(changed, noise=noise).logits, outputs.logits)
    # All positions are predicted, each another way.
    assert (outputs.logits[0, patches[0]] - outputs.logits[0, patches[1]]).abs().max() > 1e-3


def test_the_loss_is_that_of_the_hidden_patches():
    model = build(BeatsForMaskedAudioModeling)
    features, mask = random_features(model.config, 3, 40), padded(model.config)
    labels = torch.randint(16, (3, 20)).masked_fill(mask == 0, -100)
    noise = torch.rand(3, 20)
    outputs = model(features, mask, labels=labels, noise=noise)
    hidden = outputs.hidden_patches
    assert hidden.sum(1).tolist() == [15, 8, 0]
    expected = torch.nn.functional.cross_entropy(outputs.logits[hidden], labels[hidden])
    torch.testing.assert_close(outputs.loss, expected)
    others = labels.masked_fill(~hidden & (mask == 1), 0)
    torch.testing.assert_close(model(features, mask, labels=others, noise=noise).loss, expected)
    model.config.predictor_label_smoothing = 0.1
    smoothed = torch.nn.functional.cross_entropy(outputs.logits[hidden], labels[hidden], label_smoothing=0.1)
    torch.testing.assert_close(model(features, mask, labels=labels, noise=noise).loss, smoothed)


@torch.no_grad()
def test_a_clip_is_predicted_the_same_in_any_batch():
    model = build(BeatsForMaskedAudioModeling)
    features, mask, noise = random_features(model.config, 3, 40), padded(model.config), torch.rand(3, 20)
    outputs = model(features, mask, noise=noise)
    alone = model(features[1:2, :20], noise=noise[1:2, :10])
    assert torch.equal(outputs.hidden_patches[1, :10], alone.hidden_patches[0])
    torch.testing.assert_close(outputs.logits[1, :10], alone.logits[0], atol=1e-5, rtol=0)


def test_the_filler_is_zero_or_learned():
    assert build(BeatsForMaskedAudioModeling).filler is None
    model = build(BeatsForMaskedAudioModeling, mask_filler="learned")
    features, noise = random_features(model.config, 1, 40), torch.rand(1, 20)
    outputs = model(features, noise=noise, labels=torch.zeros(1, 20, dtype=torch.long))
    outputs.loss.backward()
    assert model.filler.grad.any()
    with torch.no_grad():
        model.filler += 1.0
        assert (model(features, noise=noise).logits - outputs.logits).abs().max() > 1e-3


def test_the_encoder_of_a_pretrained_folder_loads(tmp_path):
    model = build(BeatsForMaskedAudioModeling)
    model.save_pretrained(tmp_path)
    features = random_features(model.config, 1, 40)
    encoder = BeatsModel.from_pretrained(tmp_path).eval()
    with torch.no_grad():
        torch.testing.assert_close(
            encoder(features).last_hidden_state, model.beats(features).last_hidden_state, atol=1e-6, rtol=0
        )


def test_wrong_labels_and_noise_are_named():
    model = build(BeatsForMaskedAudioModeling)
    features = random_features(model.config, 2, 40)
    with pytest.raises(ValueError, match=r"`labels` must have one value per patch, the shape \(2, 20\), got \(40,\)"):
        model(features, labels=torch.zeros(40, dtype=torch.long))
    with pytest.raises(ValueError, match="`noise` must have one value per patch"):
        model(features, noise=torch.rand(2, 19))
    with pytest.raises(ValueError, match="`attention_mask` must have one value per patch"):
        model(features, attention_mask=torch.ones(2, 19))


@pytest.mark.parametrize("init", ["xavier_uniform", "xavier_normal"])
@pytest.mark.parametrize("distance", ["euclidean", "cosine"])
def test_a_random_projection_gives_the_nearest_random_code(init, distance, tmp_path):
    config = tiny_config(random_projection_init=init, random_projection_distance=distance, random_projection_seed=3)
    tokenizer = BeatsRandomProjectionTokenizer(config)
    features, mask = random_features(config, 3, 40), padded(config)
    outputs = tokenizer(features, mask)
    projected = cut_into_patches(features, 4) @ tokenizer.projection
    codes = tokenizer.codes
    if distance == "cosine":
        projected, codes = (torch.nn.functional.normalize(values, dim=-1) for values in (projected, codes))
    expected = torch.cdist(projected, codes.expand(3, -1, -1)).argmin(-1)
    assert torch.equal(outputs.labels[mask == 1], expected[mask == 1]) and (outputs.labels[mask == 0] == -100).all()
    # The seed is all it needs, and a saved one has the same numbers.
    torch.manual_seed(99)
    tokenizer.save_pretrained(tmp_path)
    for other in (BeatsRandomProjectionTokenizer(config), BeatsRandomProjectionTokenizer.from_pretrained(tmp_path)):
        assert torch.equal(other.projection, tokenizer.projection) and torch.equal(other.codes, tokenizer.codes)
    changed = BeatsRandomProjectionTokenizer(tiny_config(random_projection_seed=4))
    assert not torch.equal(changed.codes, tokenizer.codes)
    bound = (6 / 24) ** 0.5
    assert tokenizer.projection.abs().max() <= bound if init == "xavier_uniform" else True
    assert tokenizer.projection.std().item() == pytest.approx((2 / 24) ** 0.5, rel=0.15)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mask_ratio": 1.0}, r"`mask_ratio` must be in \(0, 1\)"),
        ({"codebook_decay": 1.5}, r"`codebook_decay` must be in \[0, 1\]"),
        ({"predictor_layers": 0}, "`predictor_layers` must be at least 1"),
        ({"estimator_target_size": 0}, "`estimator_target_size` must be at least 1"),
        ({"predictor_label_smoothing": 1.0}, r"`predictor_label_smoothing` must be in \[0, 1\)"),
    ],
)
def test_wrong_settings_of_pretraining_are_named(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)
