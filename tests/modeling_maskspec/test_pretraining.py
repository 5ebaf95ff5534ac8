"""Masked autoencoding: how many patches are hidden, what padding changes, what is learned."""

import pytest
import torch

from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecForPreTraining

from .common import perturbed, random_features, tiny_config


def build(attention="sdpa", **changes):
    torch.manual_seed(0)
    model = MaskSpecForPreTraining._from_config(tiny_config(**changes), attn_implementation=attention)
    return perturbed(model)


@torch.no_grad()
def test_three_quarters_of_a_clip_of_ten_seconds_are_hidden():
    torch.manual_seed(0)
    model = MaskSpecForPreTraining(
        MaskSpecConfig(
            hidden_size=8,
            num_attention_heads=1,
            num_hidden_layers=1,
            intermediate_size=8,
            decoder_hidden_size=8,
            decoder_num_attention_heads=1,
            decoder_num_hidden_layers=1,
            decoder_intermediate_size=8,
        )
    )
    lengths = []
    model.maskspec.layers[0].register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    outputs = model(random_features(model.config, 2, 1000))
    assert outputs.mask.sum(1).tolist() == [372, 372] and not torch.equal(*outputs.mask)
    assert lengths == [125] and outputs.logits.shape == (2, 496, 256)


@torch.no_grad()
def test_the_loss_is_the_error_of_hidden_patches():
    model = build(standardize_target=False)
    features = random_features(model.config, 2, 40)
    noise = torch.rand(2, 20)
    outputs = model(features, noise=noise)
    hidden = noise.argsort(1).argsort(1) >= 5
    assert torch.equal(outputs.mask, hidden)
    errors = (outputs.logits - model.maskspec.embeddings.patches(features))[hidden].square().mean()
    torch.testing.assert_close(outputs.loss, errors)
    # What is hidden has no influence on what is predicted.
    row, patch = 0, hidden[0].nonzero()[0, 0].item()
    column, band = divmod(patch, 2)
    features[row, 4 * column : 4 * column + 4, 4 * band : 4 * band + 4] += 1.0
    torch.testing.assert_close(model(features, noise=noise).logits, outputs.logits)


@torch.no_grad()
def test_targets_are_standardized_patch_by_patch():
    model = build()
    features = random_features(model.config, 1, 8)
    features[:, :4, :4] = 3.0
    targets = model.targets(features)
    torch.testing.assert_close(targets[0, 1:].var(-1), torch.ones(3), atol=1e-4, rtol=0)
    assert not targets[0, 0].any()


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_padding_has_no_influence(attention):
    model = build(attention)
    features = random_features(model.config, 2, 40)
    mask = torch.ones(2, 20, dtype=torch.long)
    mask[1, 12:] = 0
    noise = torch.rand(2, 20)
    together = model(features, attention_mask=mask, noise=noise)
    alone = model(features[1:, :24], noise=noise[1:, :12])
    assert together.mask.sum(1).tolist() == [15, 9]
    assert torch.equal(together.mask[1, :12], alone.mask[0])
    torch.testing.assert_close(together.logits[1, :12], alone.logits[0], atol=1e-5, rtol=0)


def test_one_batch_is_learned_by_heart():
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    torch.manual_seed(0)
    model = MaskSpecForPreTraining(tiny_config(standardize_target=False, **dropout)).train()
    positions = model.maskspec.embeddings.positions.clone()
    features, noise = random_features(model.config, 2, 16), torch.rand(2, 8)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=5e-3)
    losses = []
    for _ in range(120):
        loss = model(features, noise=noise).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0], losses[::20]
    assert all(parameter.grad is not None for parameter in trained)
    assert torch.equal(model.maskspec.embeddings.positions, positions)


def test_saved_and_loaded_it_predicts_the_same(tmp_path):
    model = build()
    model.save_pretrained(tmp_path)
    loaded, info = MaskSpecForPreTraining.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    features, noise = random_features(model.config, 2, 16), torch.rand(2, 8)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(features, noise=noise).logits, model(features, noise=noise).logits)
    assert loaded.num_parameters(only_trainable=True) == model.num_parameters(only_trainable=True)


def test_noise_of_another_shape_is_named():
    with pytest.raises(ValueError, match=r"`noise` must have the shape \(1, 10\), got \(1, 5\)"):
        build()(torch.zeros(1, 20, 8), noise=torch.zeros(1, 5))
    with pytest.raises(ValueError, match="at most 20 patches"):
        build()(torch.zeros(1, 44, 8))
