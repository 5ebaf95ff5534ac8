"""The encoder and the classifier of BEATs: kept patches, padding, gates, losses, layer drop, errors."""

import pytest
import torch

from audioformer.modeling_beats import BeatsConfig, BeatsForAudioClassification, BeatsModel, BeatsTokenizer
from audioformer.modeling_beats.modeling_beats import cut_into_patches

from .common import perturbed, random_features, tiny_config


def build(model_class=BeatsModel, attention="sdpa", **changes):
    torch.manual_seed(0)
    return perturbed(model_class._from_config(tiny_config(num_labels=3, **changes), attn_implementation=attention))


def test_base_has_the_published_number_of_parameters():
    with torch.device("meta"):
        model = BeatsModel(BeatsConfig())
        eight = BeatsModel(BeatsConfig(num_attention_heads=8))
        classifier = BeatsForAudioClassification(BeatsConfig(num_labels=527))
    assert [m.num_parameters() for m in (model, eight, classifier)] == [90_311_792, 90_313_536, 90_717_055]


def test_patches_are_ordered_by_time_then_band():
    model = build()
    features = torch.arange(9 * 8.0).view(1, 9, 8)  # The ninth frame fills no patch.
    patches = cut_into_patches(features, 4)
    assert patches.shape == (1, 4, 16)
    torch.testing.assert_close(patches[0, 1], features[0, :4, 4:].flatten())
    torch.testing.assert_close(patches[0, 2], features[0, 4:8, :4].flatten())
    config = model.config
    assert config.num_patches(9) == 4 and config.frame_times(4) == [0.0, 0.0, 0.04, 0.04]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_all_patches_kept_is_the_same_as_none_chosen(attention):
    model = build(attention=attention)
    features = random_features(model.config, 2, 20)
    kept = torch.arange(10).expand(2, -1)
    expected = model(features)
    for conv in ("grid", "kept"):
        model.embeddings.masked_positional_conv = conv
        chosen = model(features, kept_patches=kept)
        torch.testing.assert_close(chosen.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)


@torch.no_grad()
def test_kept_patches_have_the_positions_of_the_grid():
    model = build()
    features = random_features(model.config, 1, 40)
    kept = torch.tensor([[1, 4, 5, 17]])
    near = torch.tensor([[1, 2, 3, 4]])
    states = model(features, kept_patches=kept).last_hidden_state
    # The bias reads positions: the same patches, side by side, give something else.
    embedded = model.embeddings(features, None, kept)
    torch.testing.assert_close(model.encoder(embedded, None, kept), states)
    assert (model.encoder(embedded, None, near) - states).abs().max() > 1e-3
    # With "grid" the convolution does too, and patches that are not kept have no influence.
    changed = features.clone()
    changed[:, :4, :4] += 1.0  # patch 0
    torch.testing.assert_close(model(changed, kept_patches=kept).last_hidden_state, states)
    model.embeddings.masked_positional_conv = "kept"
    assert (model(features, kept_patches=kept).last_hidden_state - states).abs().max() > 1e-3


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
    # Padding of the clip is no kept patch either.
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[0, 10:] = 0
    masked = model(features, attention_mask=mask, kept_patches=kept)
    assert masked.patch_mask[0].tolist() == [True, True, True, False]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_a_clip_of_padding_alone_is_finite(attention):
    model = build(BeatsForAudioClassification, attention)
    features = random_features(model.config, 2, 20)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1] = 0
    outputs = model(features, attention_mask=mask)
    assert torch.isfinite(outputs.logits).all() and not outputs.pooler_output[1].any()


@pytest.mark.parametrize("changes", [{"gated_relative_position_bias": False}, {}])
@torch.no_grad()
def test_bias_and_gate_matter(changes):
    model = build(**changes)
    features = random_features(model.config, 1, 20)
    before = model(features).last_hidden_state
    if changes:
        model.encoder.relative_position_bias.table.weight += torch.randn(64, 4)
    else:
        model.encoder.layers[0].attention.gate_scale += 3.0
    assert (model(features).last_hidden_state - before).abs().max() > 1e-3


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


def test_layerdrop_passes_over_layers_and_keeps_every_gradient():
    model = build(layerdrop=0.5, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    features = random_features(model.config, 1, 20)
    torch.manual_seed(0)
    outputs = {round(model(features).pooler_output.sum().item(), 4) for _ in range(40)}
    assert len(outputs) == 4  # two layers, each of them run or not
    model(features).last_hidden_state.square().sum().backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())
    assert len({round(model.eval()(features).pooler_output.sum().item(), 4) for _ in range(5)}) == 1


@pytest.mark.parametrize(
    ("changes", "labels", "loss"),
    [
        ({"classification_loss": "cross_entropy"}, torch.tensor([0, 2]), "cross_entropy"),
        ({"classification_loss": "bce"}, torch.tensor([[0, 1, 1], [1, 0, 0]]), "bce"),
        ({"problem_type": "multi_label_classification"}, torch.tensor([[0, 1, 1], [1, 0, 0]]), "bce"),
        ({}, torch.tensor([0, 2]), "cross_entropy"),
    ],
)
def test_loss_follows_the_configuration(changes, labels, loss):
    model = build(BeatsForAudioClassification, **changes)
    outputs = model(random_features(model.config, 2, 20), labels=labels)
    functional = torch.nn.functional
    expected = {
        "cross_entropy": lambda: functional.cross_entropy(outputs.logits, labels),
        "bce": lambda: functional.binary_cross_entropy_with_logits(outputs.logits, labels.float()),
    }[loss]()
    torch.testing.assert_close(outputs.loss, expected)


def test_logits_are_calibrated_but_the_loss_is_not():
    plain = build(BeatsForAudioClassification)
    features, labels = random_features(plain.config, 2, 20), torch.tensor([0, 1])
    expected = plain(features, labels=labels)
    plain.config.calibration_temperature, plain.config.calibration_bias = 2.0, [0.5, 0.0, -1.0]
    actual = plain(features, labels=labels)
    torch.testing.assert_close(actual.logits, expected.logits / 2 + torch.tensor([0.5, 0.0, -1.0]))
    torch.testing.assert_close(actual.loss, expected.loss)


@torch.no_grad()
def test_tokenizer_labels_are_the_nearest_directions():
    model = build(BeatsTokenizer)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1, 4:] = 0
    outputs = model(random_features(model.config, 2, 20), attention_mask=mask)
    cosines = torch.nn.functional.normalize(outputs.vectors, dim=-1) @ model.codebook.codes.T
    assert outputs.labels.shape == (2, 10) and torch.equal(outputs.labels[0], cosines[0].argmax(-1))
    assert (outputs.labels[1, 4:] == -100).all() and (outputs.labels[1, :4] >= 0).all()


def test_a_saved_tokenizer_is_loaded_whole(tmp_path):
    model = build(BeatsTokenizer)
    model.save_pretrained(tmp_path)
    loaded, info = BeatsTokenizer.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert torch.equal(loaded.codebook.codes, model.codebook.codes)
    torch.testing.assert_close(loaded.codebook.codes.norm(dim=-1), torch.ones(16))


def test_a_long_clip_is_warned_of(monkeypatch):
    from audioformer.modeling_beats import modeling_beats

    warnings = []
    monkeypatch.setattr(modeling_beats.logger, "warning_once", warnings.append)
    model = build(num_hidden_layers=1)
    model(random_features(model.config, 1, 100))
    assert not warnings
    modeling_beats.warn_of_long_clips(model.config, model.config.num_patches(6200))
    assert "1.0 minutes (3100 patches)" in warnings[0] and "window by window" in warnings[0]


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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 30}, "`hidden_size` must be a multiple of `num_attention_heads`"),
        ({"num_mel_bins": 10}, "`num_mel_bins` must be a multiple of `patch_size`"),
        ({"num_buckets": 6}, "`num_buckets` must be a positive multiple of 4"),
        ({"max_distance": 16}, "`max_distance` must be more than"),
        ({"layerdrop": 1.0}, r"`layerdrop` must be in \[0, 1\)"),
        ({"layer_gradient_scale": 0.0}, r"`layer_gradient_scale` must be in \(0, 1\]"),
        ({"relative_position_bias": False}, "needs `relative_position_bias`"),
        ({"hidden_act": "glu"}, "`hidden_act` must be one of"),
        ({"classification_loss": "bce", "problem_type": "regression"}, "needs `problem_type`"),
        ({"num_hidden_layers": 0}, "`num_hidden_layers` must be at least 1"),
    ],
)
def test_wrong_configurations_are_named(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)


def test_freezing_the_feature_encoder_freezes_the_embedding_of_patches():
    model = build(BeatsForAudioClassification)
    model.freeze_feature_encoder()
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen == ["beats.embeddings.patch_embedding.weight"]


def test_deep_norm_starts_some_weights_smaller():
    torch.manual_seed(0)
    model = BeatsModel(tiny_config(hidden_size=256, intermediate_size=256, num_attention_heads=4))
    layer = model.encoder.layers[0]
    xavier = (2 / 512) ** 0.5
    assert layer.attention.q_proj.weight.std().item() == pytest.approx(xavier, rel=0.05)
    for linear in (layer.attention.v_proj, layer.attention.o_proj, layer.mlp.up_proj, layer.mlp.down_proj):
        assert linear.weight.std().item() == pytest.approx(xavier * 16**-0.25, rel=0.05)
    assert layer.residual_scale == pytest.approx(4**0.25)
    conv = model.embeddings.position_conv
    assert conv.direction.std().item() == pytest.approx((4 / (8 * 256)) ** 0.5, rel=0.05)
    torch.testing.assert_close(conv.magnitude, conv.norms(), atol=0, rtol=0.05)
