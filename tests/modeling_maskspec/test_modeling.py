"""Encoder and classifier of MaskSpec: positions, kept patches, patch-out, drop path, long clips, losses, errors."""

import pytest
import torch

from audioformer.modeling_maskspec import (
    MaskSpecConfig,
    MaskSpecForAudioClassification,
    MaskSpecForPreTraining,
    MaskSpecModel,
)
from audioformer.modeling_maskspec.modeling_maskspec import drop_path

from .common import perturbed, random_features, tiny_config

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}


def build(model_class=MaskSpecModel, attention="sdpa", **changes):
    torch.manual_seed(0)
    return perturbed(model_class._from_config(tiny_config(num_labels=3, **changes), attn_implementation=attention))


def test_sizes_have_the_published_numbers_of_parameters():
    with torch.device("meta"):
        model = MaskSpecModel(MaskSpecConfig())
        classifier = MaskSpecForAudioClassification(MaskSpecConfig(num_labels=527))
        autoencoder = MaskSpecForPreTraining(MaskSpecConfig())
        small, tiny = (MaskSpecModel(MaskSpecConfig.named(size)) for size in ("small", "tiny"))
    assert (model.num_parameters(), classifier.num_parameters()) == (85_635_840, 86_041_103)
    assert autoencoder.num_parameters(only_trainable=True) == 110_999_808
    assert autoencoder.num_parameters() + autoencoder.decoder.positions.numel() == 111_635_968
    assert [round(one.num_parameters() / 1e6, 1) for one in (small, tiny)] == [21.6, 5.5]
    with pytest.raises(ValueError, match="`size` must be one of 'base', 'small', 'tiny', got 'huge'"):
        MaskSpecConfig.named("huge")


def test_patches_are_ordered_by_column_then_band():
    model = build()
    features = torch.arange(9 * 8.0).view(1, 9, 8)  # The ninth frame fills no patch.
    patches = model.embeddings.patches(features)
    assert patches.shape == (1, 4, 16)
    torch.testing.assert_close(patches[0, 1], features[0, :4, 4:].T.flatten())
    torch.testing.assert_close(patches[0, 2], features[0, 4:8, :4].T.flatten())
    config = model.config
    assert config.num_patches(9) == 4 and config.frame_times(4) == [0.0, 0.0, 0.04, 0.04]


@torch.no_grad()
def test_a_shorter_clip_has_the_positions_of_the_first_columns():
    model = build()
    patches = model.embeddings.patches(random_features(model.config, 1, 40))
    whole, part = model.embeddings(patches), model.embeddings(patches[:, :6])
    torch.testing.assert_close(part, whole[:, :7])
    # Column 1 of band 0 is row 1 + 1 of the table, column 0 of band 1 is row 1 + 10.
    table = model.embeddings.positions
    positions = model.embeddings.patch_positions()
    assert torch.equal(positions[2], table[2]) and torch.equal(positions[1], table[11])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_kept_patches_have_the_positions_of_the_grid(attention):
    model = build(attention=attention)
    features = random_features(model.config, 2, 20)
    expected = model(features)
    order = torch.randperm(10).expand(2, -1)
    shuffled = model(features, kept_patches=order)
    torch.testing.assert_close(shuffled.last_hidden_state, expected.last_hidden_state[:, order[0]], atol=1e-5, rtol=0)
    torch.testing.assert_close(shuffled.cls_hidden_state, expected.cls_hidden_state, atol=1e-5, rtol=0)
    # Patches that are not kept have no influence.
    kept = torch.tensor([[1, 4, 9]] * 2)
    changed = features.clone()
    changed[:, :4, :4] += 1.0  # patch 0
    one, other = (model(clips, kept_patches=kept).last_hidden_state for clips in (features, changed))
    torch.testing.assert_close(one, other)


@torch.no_grad()
def test_rows_with_fewer_kept_patches_are_filled_up():
    model = build()
    features = random_features(model.config, 2, 40)
    kept = torch.tensor([[0, 3, 9, 11], [2, 7, -1, -1]])
    outputs = model(features, kept_patches=kept)
    alone = model(features[1:], kept_patches=kept[1:, :2])
    assert outputs.patch_mask.tolist() == [[True] * 4, [True, True, False, False]]
    torch.testing.assert_close(outputs.last_hidden_state[1, :2], alone.last_hidden_state[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.pooler_output[1:], alone.pooler_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@torch.no_grad()
def test_a_clip_of_padding_alone_is_finite(pooling):
    model = build(MaskSpecForAudioClassification, pooling=pooling)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1] = 0
    assert torch.isfinite(model(random_features(model.config, 2, 20), attention_mask=mask).logits).all()


@torch.no_grad()
def test_what_is_pooled():
    for pooling in ("mean", "cls"):
        model = build(MaskSpecForAudioClassification, pooling=pooling)
        features = random_features(model.config, 2, 20)
        encoded = model.maskspec(features)
        pooled = encoded.last_hidden_state.mean(1) if pooling == "mean" else encoded.cls_hidden_state
        torch.testing.assert_close(encoded.pooler_output, pooled)
        normalized = model.pooled_layer_norm(pooled) if pooling == "mean" else pooled
        outputs = model(features)
        torch.testing.assert_close(outputs.pooler_output, normalized)
        torch.testing.assert_close(outputs.logits, model.classifier(normalized))
        assert (model.maskspec.layer_norm is None) == (pooling == "mean") != model.config.final_layer_norm


def test_models_do_not_change_the_configuration_they_get():
    config = tiny_config(num_labels=3)
    MaskSpecForAudioClassification(config)
    assert config.final_layer_norm
    config.final_layer_norm = False
    MaskSpecForPreTraining(config)
    assert not config.final_layer_norm


@torch.no_grad()
def test_a_classifier_takes_the_weights_of_an_encoder_that_ends_in_a_norm():
    encoder, classifier = build(), build(MaskSpecForAudioClassification)
    classifier.maskspec.load_state_dict(encoder.state_dict())
    assert torch.equal(classifier.maskspec.layers[1].mlp.up_proj.weight, encoder.layers[1].mlp.up_proj.weight)


def test_patchout_leaves_out_patches_in_training_only():
    model = build(MaskSpecForAudioClassification, patchout=7, **NO_DROPOUT)
    features = random_features(model.config, 2, 40)
    lengths = []
    model.maskspec.layers[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    expected = model(features).logits
    model.train()
    outputs = model(features, labels=torch.tensor([0, 2]))
    outputs.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert (outputs.logits - expected).abs().max() > 1e-4
    model(features[:, :20])  # Of ten patches never more than half.
    model(random_features(model.config, 1, 44))  # Read in pieces, whole.
    assert lengths == [21, 14, 6, 21]
    # The same patches in all clips of the batch.
    twice = model(features[:1].expand(2, -1, -1)).logits
    torch.testing.assert_close(twice[0], twice[1])


def test_drop_path_keeps_the_mean_and_grows_with_the_depth():
    torch.manual_seed(0)
    dropped = drop_path(torch.ones(4000, 1, 1), 0.25)
    torch.testing.assert_close(dropped.unique(), torch.tensor([0.0, 4 / 3]))
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.05)
    model = build(drop_path_rate=0.5, num_hidden_layers=3, **NO_DROPOUT)
    assert [layer.drop_path_rate for layer in model.layers] == [0.0, 0.25, 0.5]
    features = random_features(model.config, 1, 20)
    assert torch.equal(model(features).pooler_output, model(features).pooler_output)
    model.train()
    assert len({round(model(features).pooler_output.sum().item(), 4) for _ in range(20)}) > 2


def test_flex_attention_equals_eager():
    flex, eager = build(attention="flex_attention"), build(attention="eager")
    features = random_features(eager.config, 2, 20)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1, 6:] = 0
    with torch.no_grad():
        for arguments in ({}, {"attention_mask": mask}):
            actual = flex(features, **arguments).last_hidden_state
            expected = eager(features, **arguments).last_hidden_state
            torch.testing.assert_close(actual[0], expected[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(actual[1, :6], expected[1, :6], atol=1e-5, rtol=0)


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@torch.no_grad()
def test_longer_clips_are_read_in_pieces(pooling):
    model = build(pooling=pooling)
    features = random_features(model.config, 1, 92)  # 23 columns: 10, 10 and 3
    outputs = model(features, output_hidden_states=True, output_attentions=False)
    pieces = [model(part) for part in features.split(40, dim=1)]
    joined = torch.cat([piece.last_hidden_state for piece in pieces], dim=1)
    torch.testing.assert_close(outputs.last_hidden_state, joined, atol=1e-5, rtol=0)
    mean = torch.stack([piece.cls_hidden_state for piece in pieces]).mean(0)
    torch.testing.assert_close(outputs.cls_hidden_state, mean, atol=1e-5, rtol=0)
    assert [states.shape for states in outputs.hidden_states] == [(1, 47, 32)] * 3
    torch.testing.assert_close(outputs.hidden_states[-1][:, 1:], outputs.last_hidden_state)


@pytest.mark.parametrize("hop", [None, 5])
@torch.no_grad()
def test_a_long_clip_has_the_same_scores_alone_and_in_any_batch(hop):
    model = build(MaskSpecForAudioClassification, window_hop=hop)
    features = random_features(model.config, 3, 128)
    lengths = (92, 24, 128)
    mask = torch.stack([torch.arange(64) < length // 4 * 2 for length in lengths]).long()
    together = model(features, attention_mask=mask)
    for row, length in enumerate(lengths):
        alone = model(features[row : row + 1, :length])
        torch.testing.assert_close(together.logits[row], alone.logits[0], atol=1e-5, rtol=0)


@torch.no_grad()
def test_overlapping_pieces_have_no_seam():
    plain, overlapping = build(), build(window_hop=5)
    features = random_features(plain.config, 1, 60)
    states, faded = plain(features).last_hidden_state, overlapping(features).last_hidden_state
    torch.testing.assert_close(faded[:, :10], states[:, :10], atol=1e-5, rtol=0)  # Only one piece holds them.
    assert (faded[:, 10:20] - states[:, 10:20]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "labels", "loss"),
    [
        ({"classification_loss": "cross_entropy"}, torch.tensor([0, 2]), "cross_entropy"),
        ({"classification_loss": "bce"}, torch.tensor([[0, 1, 1], [1, 0, 0]]), "bce"),
        ({}, torch.tensor([0, 2]), "cross_entropy"),
    ],
)
def test_loss_follows_the_configuration(changes, labels, loss):
    model = build(MaskSpecForAudioClassification, **changes)
    outputs = model(random_features(model.config, 2, 20), labels=labels)
    functional = torch.nn.functional
    expected = {
        "cross_entropy": lambda: functional.cross_entropy(outputs.logits, labels),
        "bce": lambda: functional.binary_cross_entropy_with_logits(outputs.logits, labels.float()),
    }[loss]()
    torch.testing.assert_close(outputs.loss, expected)


def test_logits_are_calibrated_but_the_loss_is_not():
    plain = build(MaskSpecForAudioClassification)
    features, labels = random_features(plain.config, 2, 20), torch.tensor([0, 1])
    expected = plain(features, labels=labels)
    plain.config.calibration_temperature, plain.config.calibration_bias = 2.0, [0.5, 0.0, -1.0]
    actual = plain(features, labels=labels)
    torch.testing.assert_close(actual.logits, expected.logits / 2 + torch.tensor([0.5, 0.0, -1.0]))
    torch.testing.assert_close(actual.loss, expected.loss)


def test_a_fresh_classifier_starts_close_to_zero():
    torch.manual_seed(0)
    model = MaskSpecForAudioClassification(tiny_config(num_labels=527, classifier_initializer_range=2e-5))
    assert model.classifier.weight.std().item() == pytest.approx(2e-5, rel=0.05) and not model.classifier.bias.any()


def test_freezing_the_feature_encoder_freezes_the_embedding_of_patches():
    model = build(MaskSpecForAudioClassification)
    model.freeze_feature_encoder()
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == [f"maskspec.embeddings.patch_embedding.{kind}" for kind in ("weight", "bias")]


@pytest.mark.parametrize(
    ("features", "mask", "message"),
    [
        (torch.zeros(1, 20, 9), None, r"`input_features` must have the shape \(batch_size, num_frames, 8\)"),
        (torch.zeros(20, 8), None, "`input_features` must have the shape"),
        (torch.zeros(0, 20, 8), None, "`input_features` must have the shape"),
        (torch.zeros(1, 3, 8), None, "at least 4 frames"),
        (torch.zeros(1, 20, 8), torch.ones(1, 20), r"one value per patch, the shape \(1, 10\), got \(1, 20\)"),
    ],
)
def test_wrong_inputs_are_named(features, mask, message):
    with pytest.raises(ValueError, match=message):
        build(num_hidden_layers=1)(features, attention_mask=mask)


def test_patches_cannot_be_chosen_from_long_clips():
    model = build(num_hidden_layers=1)
    with pytest.raises(ValueError, match=r"at most 20 patches \(40 frames\), got 22"):
        model(torch.zeros(1, 44, 8), kept_patches=torch.tensor([[0]]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 30}, "`hidden_size` must be a multiple of `num_attention_heads`"),
        ({"hidden_size": 6, "num_attention_heads": 1}, "`hidden_size` must be a multiple of 4"),
        ({"decoder_hidden_size": 15}, "`decoder_hidden_size` must be a multiple of"),
        ({"num_mel_bins": 10}, "`num_mel_bins` must be a multiple of `patch_size`"),
        ({"drop_path_rate": 1.0}, r"`drop_path_rate` must be in \[0, 1\)"),
        ({"patchout": -1}, "`patchout` must be at least 0"),
        ({"mask_ratio": 1.0}, r"`mask_ratio` must be in \(0, 1\)"),
        ({"window_hop": 11}, r"`window_hop` must be from 1 to `num_time_positions` \(10\)"),
        ({"hidden_act": "glu"}, "`hidden_act` must be one of"),
        ({"pooling": "max"}, "pooling"),
        ({"classification_loss": "bce", "problem_type": "regression"}, "needs `problem_type`"),
        ({"num_hidden_layers": 0}, "`num_hidden_layers` must be at least 1"),
    ],
)
def test_wrong_configurations_are_named(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)
