"""The encoder, the classifier and the autoencoder of Dasheng: pieces, windows, statistics, masks, losses, errors."""

import copy

import pytest
import torch

from audioformer.modeling_dasheng import (
    DashengConfig,
    DashengForAudioClassification,
    DashengForPreTraining,
    DashengModel,
)
from audioformer.modeling_dasheng import modeling_dasheng as module
from audioformer.modeling_dasheng.modeling_dasheng_pretraining import choose_patches, standardized

from .common import perturbed, random_features, tiny_config


def build(model_class=DashengModel, attention="sdpa", **changes):
    torch.manual_seed(0)
    return perturbed(model_class._from_config(tiny_config(num_labels=3, **changes), attn_implementation=attention))


@pytest.mark.parametrize(
    ("size", "parameters", "decoder"),
    # The authors' decoder has a position more, which is never read, and its table is as long.
    [
        ("base", 85_447_808, 25_875_200 - 512),
        ("0.6B", 630_333_568, 26_137_344 - 512),
        ("1.2B", 1_134_047_360, 58_276_864 - 768),
    ],
)
def test_sizes_have_the_published_number_of_parameters(size, parameters, decoder):
    with torch.device("meta"):
        model = DashengForPreTraining(DashengConfig.named(size))
    assert model.dasheng.num_parameters() == parameters
    assert sum(value.numel() for value in model.decoder.parameters()) == decoder


def test_times_are_25_per_second():
    config = DashengConfig()
    assert config.frame_rate == 25.0 and config.num_patches(1001) == 250
    assert config.frame_times(4) == [0.0, 0.04, 0.08, 0.12]
    with pytest.raises(ValueError, match="`num_patches` must be at least 0"):
        config.frame_times(-1)


@torch.no_grad()
def test_pieces_are_read_apart():
    model = build()
    features = random_features(model.config, 2, 70)  # 35 patches: 12, 12 and 11
    outputs = model(features, output_hidden_states=True)
    parts = [model(features[:, start : start + 24], output_hidden_states=True) for start in range(0, 70, 24)]
    expected = torch.cat([part.last_hidden_state for part in parts], dim=1)
    assert outputs.last_hidden_state.shape == (2, 35, 32) and outputs.patch_mask.all()
    torch.testing.assert_close(outputs.last_hidden_state, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(outputs.pooler_output, expected.mean(1), atol=1e-5, rtol=0)
    for layer, states in enumerate(outputs.hidden_states):
        wanted = torch.cat([part.hidden_states[layer] for part in parts], dim=1)
        torch.testing.assert_close(states, wanted, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hop", [None, 6])
@torch.no_grad()
def test_a_limited_number_of_pieces_is_read_at_once(hop, monkeypatch):
    model = build(window_hop=hop)
    features = random_features(model.config, 2, 200)
    expected = model(features, output_hidden_states=True)
    monkeypatch.setattr(module, "PIECES_PER_PASS", 3)
    sizes = []
    model.layers[0].register_forward_pre_hook(lambda _, inputs: sizes.append(len(inputs[0])))
    outputs = model(features, output_hidden_states=True)
    assert len(sizes) > 2 and max(sizes) == 3
    torch.testing.assert_close(outputs.last_hidden_state, expected.last_hidden_state, atol=1e-5, rtol=0)
    for states, wanted in zip(outputs.hidden_states, expected.hidden_states, strict=True):
        torch.testing.assert_close(states, wanted, atol=1e-5, rtol=0)


@torch.no_grad()
def test_windows_that_overlap_leave_no_seam():
    """A steady sound, and positions that drift: where one piece ends and the next begins, the position jumps back."""
    model = build()
    drift = torch.linspace(-1, 1, 12)[:, None] * torch.linspace(0, 1, 32)
    model.embeddings.time_positions.copy_(drift)
    features = random_features(model.config, 1, 2).repeat(1, 60, 1)
    pieces = model(features).last_hidden_state[0]
    model.config.window_hop = 6
    windows = model(features).last_hidden_state[0]
    assert windows.shape == pieces.shape == (60, 32)
    seam, steps = (pieces[12] - pieces[11]).norm(), (windows[1:] - windows[:-1]).norm(dim=-1)
    assert seam > 4 * (pieces[6] - pieces[5]).norm()
    assert steps[6:-6].max() < 0.3 * seam
    # The mean of both windows, each weighted by its distance from its end.
    short = model(features[:, :24]).last_hidden_state[0]
    torch.testing.assert_close(windows[:6], short[:6], atol=1e-5, rtol=0)
    torch.testing.assert_close(windows[6], (1 * short[0] + 6 * short[6]) / 7, atol=1e-5, rtol=0)


@pytest.mark.parametrize("hop", [None, 12, 6, 5])
@torch.no_grad()
def test_a_long_clip_has_the_same_states_alone_and_in_any_batch(hop):
    model = build(window_hop=hop)
    for num_patches in (1, 12, 13, 18, 19, 30):
        features = random_features(model.config, 2, 90)
        mask = torch.ones(2, 45, dtype=torch.long)
        mask[1, num_patches:] = 0
        together = model(features, attention_mask=mask)
        alone = model(features[1:, : 2 * num_patches])
        states = together.last_hidden_state[1:, :num_patches]
        torch.testing.assert_close(states, alone.last_hidden_state, atol=1e-5, rtol=0)
        torch.testing.assert_close(together.pooler_output[1:], alone.pooler_output, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_a_clip_of_padding_alone_is_finite(attention):
    model = build(DashengForAudioClassification, attention)
    features = random_features(model.config, 2, 60)
    mask = torch.ones(2, 30, dtype=torch.long)
    mask[1] = 0
    outputs = model(features, attention_mask=mask)
    assert torch.isfinite(outputs.logits).all() and not outputs.pooler_output[1].any()


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


def test_statistics_are_those_of_torch_and_rest_while_the_encoder_is_frozen():
    model = build().train()
    features = 3 * random_features(model.config, 3, 20) - 2
    reference = torch.nn.BatchNorm1d(8, momentum=0.01)
    reference.load_state_dict(model.embeddings.batch_norm.state_dict())
    expected = reference(features.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(model.embeddings.batch_norm(features), expected)
    for name, buffer in reference.named_buffers():
        torch.testing.assert_close(model.embeddings.batch_norm.get_buffer(name), buffer)
    before = copy.deepcopy(model.state_dict())
    model.requires_grad_(False)
    model(features)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    frozen = model.embeddings.batch_norm(features)
    torch.testing.assert_close(model.eval().embeddings.batch_norm(features), frozen, atol=0, rtol=0)


def test_padding_has_no_part_in_the_statistics():
    features = random_features(tiny_config(), 2, 20)
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[1, 5:] = 0
    found = []
    for loud in (0.0, 1e4):
        model = build().train()
        padded = features.clone()
        padded[1, 10:] = loud
        model(padded, attention_mask=mask)
        found.append(model.embeddings.batch_norm.state_dict())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name
    model = build().train()
    real = torch.cat((features[0], features[1, :10]))[None]
    model.embeddings.batch_norm(real)
    for name, value in found[0].items():
        torch.testing.assert_close(value, model.embeddings.batch_norm.state_dict()[name])


@torch.no_grad()
def test_half_precision_normalizes_in_float32(tmp_path):
    model = build()
    features = 20 * random_features(model.config, 1, 20) - 80
    model.save_pretrained(tmp_path)
    half = DashengModel.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert half.embeddings.batch_norm.running_mean.dtype == torch.float32
    assert half.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
    actual, expected = half(features).last_hidden_state, model(features).last_hidden_state
    assert actual.dtype == torch.bfloat16
    torch.testing.assert_close(actual.float(), expected, atol=0.1, rtol=0.1)
    for hop in (None, 6):
        half.config.window_hop = hop
        assert half(features.repeat(1, 3, 1)).last_hidden_state.dtype == torch.bfloat16


@torch.no_grad()
def test_kept_patches_have_the_positions_of_the_clip():
    model = build()
    features = random_features(model.config, 2, 20)
    everything = torch.stack([torch.arange(10), torch.arange(9, -1, -1)])
    expected = model(features).last_hidden_state
    chosen = model(features, kept_patches=everything).last_hidden_state
    torch.testing.assert_close(chosen[0], expected[0], atol=1e-5, rtol=0)
    torch.testing.assert_close(chosen[1].flip(0), expected[1], atol=1e-5, rtol=0)
    kept = torch.tensor([[1, 4, 9], [7, 2, -1]])
    outputs = model(features, kept_patches=kept)
    assert outputs.patch_mask.tolist() == [[True] * 3, [True, True, False]]
    alone = model(features[1:], kept_patches=kept[1:, :2])
    torch.testing.assert_close(outputs.last_hidden_state[1, :2], alone.last_hidden_state[0], atol=1e-5, rtol=0)
    # Patches that are not kept have no influence.
    changed = features.clone()
    changed[:, :2] += 1.0
    again, real = model(changed, kept_patches=kept), outputs.patch_mask
    torch.testing.assert_close(again.last_hidden_state[real], outputs.last_hidden_state[real])


@pytest.mark.parametrize(("num_patches", "group_size", "kept"), [(250, 2, 62), (25, 2, 6), (7, 3, 1), (3, 1, 1)])
def test_groups_are_kept_and_masked_together(num_patches, group_size, kept):
    noise = torch.rand(4, -(-num_patches // group_size), generator=torch.Generator().manual_seed(0))
    chosen = choose_patches(noise, num_patches, group_size, 0.75)
    assert chosen.shape == (4, kept) and chosen.max() < num_patches
    for row in chosen.tolist():
        assert len(set(row)) == kept
        groups = {patch // group_size for patch in row}
        # At most the last group that is kept is cut, and the last group of a clip is smaller.
        assert len(groups) <= kept // group_size + 2
    assert len({tuple(sorted(row)) for row in chosen.tolist()}) > 1


def test_padding_is_never_kept_and_counts_for_nothing():
    noise = torch.rand(3, 6, generator=torch.Generator().manual_seed(1))
    mask = torch.ones(3, 12, dtype=torch.bool)
    mask[1, 8:] = False
    mask[2, 1:] = False
    chosen = choose_patches(noise, 12, 2, 0.75, mask)
    assert (chosen[0] >= 0).all() and (chosen[1] < 8).all() and chosen[2].tolist() == [0, -1, -1]
    assert (chosen[1] >= 0).sum() == 2


def test_the_target_is_each_patch_by_itself():
    patches = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0)) * 30 - 50
    target = standardized(patches)
    torch.testing.assert_close(target.mean(-1), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(target.std(-1), torch.ones(2, 5))  # the unbiased one
    assert not standardized(torch.full((1, 1, 16), -100.0)).any()


def test_only_masked_patches_count_in_the_loss():
    model = build(DashengForPreTraining)
    features = random_features(model.config, 2, 24)
    noise = torch.rand(2, 6, generator=torch.Generator().manual_seed(0))
    outputs = model(features, noise=noise)
    errors = (outputs.logits - model.targets(features)).square().mean(-1)
    torch.testing.assert_close(outputs.loss, errors[outputs.mask].mean())
    assert outputs.mask.sum(1).tolist() == [9, 9]
    # The normalization learns nothing from the target, and the encoder something from the loss.
    outputs.loss.backward()
    assert all(value.grad is not None for value in model.parameters())


def test_masks_are_drawn_anew():
    model = build(DashengForPreTraining)
    features = random_features(model.config, 2, 24)
    torch.manual_seed(0)
    first, second = model(features).mask, model(features).mask
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(model(features).mask, first)


def test_pretraining_learns_a_batch_by_heart():
    model = build(DashengForPreTraining, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    features = random_features(model.config, 4, 24)
    noise = torch.rand(4, 6, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(80):
        loss = model(features, noise=noise).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5, losses[::20]  # the mean of each patch alone gives 0.94


def test_a_pretrained_folder_is_a_starting_point(tmp_path):
    model = build(DashengForPreTraining)
    model.save_pretrained(tmp_path)
    encoder, info = DashengModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    features = random_features(model.config, 1, 20)
    with torch.no_grad():
        expected = model.dasheng(features).last_hidden_state
        torch.testing.assert_close(encoder(features).last_hidden_state, expected, atol=0, rtol=0)


@pytest.mark.parametrize(
    ("changes", "labels", "loss"),
    [
        ({"classification_loss": "cross_entropy"}, torch.tensor([0, 2]), "cross_entropy"),
        ({"classification_loss": "bce"}, torch.tensor([[0, 1, 1], [1, 0, 0]]), "bce"),
        ({}, torch.tensor([0, 2]), "cross_entropy"),
    ],
)
def test_loss_follows_the_configuration(changes, labels, loss):
    model = build(DashengForAudioClassification, **changes)
    outputs = model(random_features(model.config, 2, 20), labels=labels)
    functional = torch.nn.functional
    expected = {
        "cross_entropy": lambda: functional.cross_entropy(outputs.logits, labels),
        "bce": lambda: functional.binary_cross_entropy_with_logits(outputs.logits, labels.float()),
    }[loss]()
    torch.testing.assert_close(outputs.loss, expected)


def test_logits_are_calibrated_but_the_loss_is_not():
    plain = build(DashengForAudioClassification)
    features, labels = random_features(plain.config, 2, 20), torch.tensor([0, 1])
    expected = plain(features, labels=labels)
    plain.config.calibration_temperature, plain.config.calibration_bias = 2.0, [0.5, 0.0, -1.0]
    actual = plain(features, labels=labels)
    torch.testing.assert_close(actual.logits, expected.logits / 2 + torch.tensor([0.5, 0.0, -1.0]))
    torch.testing.assert_close(actual.loss, expected.loss)


def test_freezing_the_feature_encoder_freezes_patches_and_normalization():
    model = build(DashengForAudioClassification)
    model.freeze_feature_encoder()
    frozen = {name.split(".")[2] for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen == {"patch_embedding", "batch_norm"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_features": torch.zeros(2, 20)}, r"must have the shape \(batch_size, num_frames, 8\)"),
        ({"input_features": torch.zeros(2, 20, 7)}, r"must have the shape \(batch_size, num_frames, 8\)"),
        ({"input_features": torch.zeros(2, 1, 8)}, "at least 2 frames, one patch, got 1"),
        (
            {"input_features": torch.zeros(2, 20, 8), "attention_mask": torch.ones(2, 20)},
            r"one value per patch, the shape \(2, 10\)",
        ),
        (
            {"input_features": torch.zeros(1, 40, 8), "kept_patches": torch.zeros(1, 3, dtype=torch.long)},
            "at most 12 patches",
        ),
    ],
)
def test_wrong_inputs_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        build()(**arguments)


def test_wrong_noise_is_named():
    model = build(DashengForPreTraining)
    with pytest.raises(ValueError, match=r"`noise` must have the shape \(2, 5\), got \(2, 10\)"):
        model(random_features(model.config, 2, 20), noise=torch.zeros(2, 10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 30}, "`hidden_size` must be a multiple of `num_attention_heads`"),
        ({"decoder_hidden_size": 15}, "`decoder_hidden_size` must be a multiple"),
        ({"window_hop": 13}, r"`window_hop` must be from 1 to `num_time_positions` \(12\), got 13"),
        ({"window_hop": 0}, "`window_hop` must be from 1"),
        ({"mask_ratio": 1.0}, r"`mask_ratio` must be in \(0, 1\)"),
        ({"batch_norm_momentum": 0.0}, "`batch_norm_momentum` must be in"),
        ({"hidden_act": "glu"}, "`hidden_act` must be one of"),
        ({"classification_loss": "bce", "problem_type": "regression"}, "needs `problem_type`"),
        ({"num_hidden_layers": 0}, "`num_hidden_layers` must be at least 1"),
        ({"classifier_dropout": 1.0}, r"`classifier_dropout` must be in \[0, 1\)"),
    ],
)
def test_wrong_configurations_are_named(changes, message):
    with pytest.raises(Exception, match=message):
        tiny_config(**changes)


def test_unknown_sizes_are_named():
    with pytest.raises(ValueError, match="`size` must be one of 'base', '0.6B', '1.2B', got 'large'"):
        DashengConfig.named("large")
    assert DashengConfig.named("1.2B", num_labels=5).num_labels == 5


def test_weights_start_as_in_the_authors_code():
    torch.manual_seed(0)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "initializer_range": 0.02, "decoder_hidden_size": 128}
    model = DashengForPreTraining(tiny_config(**sizes))
    layer, embeddings = model.dasheng.layers[0], model.dasheng.embeddings
    assert layer.attention.q_proj.weight.abs().max() <= (6 / 512) ** 0.5
    assert layer.mlp.up_proj.weight.std().item() == pytest.approx((2 / 768) ** 0.5, rel=0.05)
    assert embeddings.patch_embedding.weight.abs().max() <= 1 / 4 and embeddings.patch_embedding.bias.any()
    assert embeddings.time_positions.std().item() == pytest.approx(0.02, rel=0.1)
    assert model.decoder.layers[0].mlp.up_proj.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not model.decoder.positions.any() and model.decoder.mask_token.any()
    assert not layer.mlp.up_proj.bias.any()
