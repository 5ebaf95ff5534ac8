"""The encoder: masks, pooling, positions, precision, saving and loading."""

import math

import pytest
import torch
from safetensors.torch import load_file

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)

from .common import pad_row, random_ids, tiny_config

ALL_CLASSES = (AudioFormerModel, AudioFormerForMaskedLM, AudioFormerForAudioClassification)


def build(model_class=AudioFormerModel, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return model_class(tiny_config(**changes)).eval()


def close(actual: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> bool:
    return torch.allclose(actual, expected, atol=tolerance, rtol=tolerance)


def test_size_with_masked_lm_head():
    with torch.device("meta"):
        model = AudioFormerForMaskedLM(AudioFormerConfig())
    assert 86_000_000 <= model.num_parameters() <= 87_000_000


def test_pooler_output_is_the_mean_over_all_positions_but_padding():
    model = build()
    ids = pad_row(random_ids(model.config, 2, 12), model.config, row=1, length=7)
    with torch.no_grad():
        outputs = model(ids)
    assert close(outputs.pooler_output[0], outputs.last_hidden_state[0].mean(0))
    assert close(outputs.pooler_output[1], outputs.last_hidden_state[1, :7].mean(0))


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_padding_has_no_influence_with_or_without_a_mask(attention):
    model = build()
    model.set_attn_implementation(attention)
    ids = pad_row(random_ids(model.config, 3, 20), model.config, row=1, length=9)
    mask = ids.ne(model.config.pad_token_id).long()
    with torch.no_grad():
        alone = model(ids[1:2, :9])
        for outputs in (model(ids), model(ids, attention_mask=mask)):
            assert close(outputs.last_hidden_state[1, :9], alone.last_hidden_state[0])
            assert close(outputs.pooler_output[1], alone.pooler_output[0])


def test_explicit_mask_wins_over_padding_ids():
    model = build()
    ids = pad_row(random_ids(model.config, 1, 10), model.config, row=0, length=6)
    with torch.no_grad():
        everything = model(ids, attention_mask=torch.ones_like(ids)).pooler_output
        derived = model(ids).pooler_output
    assert not close(everything, derived, 1e-3)


def test_four_dimensional_mask_is_used_as_it_is():
    model = build()
    model.set_attn_implementation("sdpa")
    ids = pad_row(random_ids(model.config, 2, 10), model.config, row=1, length=6)
    mask = ids.ne(model.config.pad_token_id)[:, None, None, :].expand(-1, 1, 10, -1)
    with torch.no_grad():
        given, derived = model(ids, attention_mask=mask), model(ids)
    assert close(given.last_hidden_state, derived.last_hidden_state)
    assert close(given.pooler_output, derived.pooler_output)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("model_class", ALL_CLASSES)
def test_row_of_padding_alone_stays_finite(model_class, attention):
    model = build(model_class)
    model.set_attn_implementation(attention)
    ids = random_ids(model.config, 2, 8)
    ids[1] = model.config.pad_token_id
    outputs = model(ids)
    assert all(torch.isfinite(value).all() for value in outputs.to_tuple())
    outputs[-1].sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    if model_class is AudioFormerModel:
        assert outputs.pooler_output[1].abs().max() == 0


def test_batch_equals_its_members():
    model = build(AudioFormerForAudioClassification, num_labels=5)
    ids = random_ids(model.config, 4, 15)
    with torch.no_grad():
        together = model(ids).logits
        one_by_one = torch.cat([model(row[None]).logits for row in ids])
    assert close(together, one_by_one)


def test_inputs_embeds_replace_input_ids():
    model = build()
    ids = random_ids(model.config, 2, 11)
    with torch.no_grad():
        from_ids = model(ids)
        from_embeds = model(inputs_embeds=model.get_input_embeddings()(ids))
    assert close(from_ids.last_hidden_state, from_embeds.last_hidden_state)
    assert close(from_ids.pooler_output, from_embeds.pooler_output)


def test_only_differences_of_positions_matter():
    model = build()
    ids = random_ids(model.config, 2, 16)
    positions = torch.arange(16)[None]
    with torch.no_grad():
        plain = model(ids).last_hidden_state
        shifted = model(ids, position_ids=positions + 500).last_hidden_state
        reversed_ = model(ids, position_ids=positions.flip(1)).last_hidden_state
        stretched = model(ids, position_ids=positions * 2).last_hidden_state
    assert close(plain, shifted, 1e-3)
    assert not close(plain, reversed_, 1e-2)
    assert not close(plain, stretched, 1e-2)


def test_no_length_is_too_long():
    model = build()
    with torch.no_grad():
        states = model(random_ids(model.config, 1, 3000)).last_hidden_state
    assert states.shape == (1, 3000, 32)
    assert torch.isfinite(states).all()


def test_rotary_angles_are_exact_whatever_the_precision_of_the_model():
    model = build().bfloat16()
    positions = torch.tensor([[0, 1, 700, 701, 100_000]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cos, sin = model.rotary_emb(positions)
    assert cos.dtype == sin.dtype == torch.float32
    for index, position in enumerate(positions[0].tolist()):
        for pair in range(4):
            angle = position * 10_000 ** (-2 * pair / 8)
            assert cos[0, index, 0, pair].item() == pytest.approx(
                math.cos(angle), abs=1e-2 if position > 1e4 else 1e-4
            )
            assert sin[0, index, 0, pair].item() == pytest.approx(
                math.sin(angle), abs=1e-2 if position > 1e4 else 1e-4
            )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "Exactly one"),
        ({"input_ids": torch.zeros(1, 3, dtype=torch.long), "inputs_embeds": torch.zeros(1, 3, 32)}, "Exactly one"),
        (
            {"input_ids": torch.zeros(1, 3, 2, dtype=torch.long)},
            r"shape \(batch_size, sequence_length\), got \(1, 3, 2\)",
        ),
    ],
)
def test_refuses_unusable_inputs(arguments, message):
    with pytest.raises(ValueError, match=message):
        build()(**arguments)


def test_dropout_acts_in_training_and_only_there():
    model = build()
    ids = random_ids(model.config, 2, 10)
    with torch.no_grad():
        assert torch.equal(model(ids)[0], model(ids)[0])
        model.train()
        assert not torch.equal(model(ids)[0], model(ids)[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("model_class", ALL_CLASSES[1:])
def test_every_parameter_gets_a_finite_gradient(model_class, dtype):
    model = build(model_class, num_labels=3).to(dtype).train()
    ids = pad_row(random_ids(model.config, 4, 12), model.config, row=2, length=6)
    labels = torch.tensor([0, 1, 2, 1]) if model_class is AudioFormerForAudioClassification else ids
    model(ids, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0 or name.endswith("k_proj.bias"), name


def test_flex_attention_equals_sdpa():
    model = build()
    ids = pad_row(random_ids(model.config, 2, 24), model.config, row=1, length=13)
    mask = ids.ne(model.config.pad_token_id)
    # Uncompiled: the same mask and the same interface, without half a minute of C++ compiler.
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        model.set_attn_implementation("sdpa")
        expected = model(ids)
        model.set_attn_implementation("flex_attention")
        actual = model(ids)
    assert close(actual.last_hidden_state[mask], expected.last_hidden_state[mask], 1e-4)
    assert close(actual.pooler_output, expected.pooler_output, 1e-4)


def test_attention_abilities_are_declared():
    assert AudioFormerModel._supports_flash_attn
    assert AudioFormerModel._supports_sdpa
    assert AudioFormerModel._supports_flex_attn
    assert AudioFormerModel._supports_attention_backend


@pytest.mark.parametrize("model_class", ALL_CLASSES)
def test_saving_and_loading_restores_every_weight(model_class, tmp_path):
    model = build(model_class)
    with torch.no_grad():  # away from what initialization gives, so that a weight initialized again is noticed
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    model.save_pretrained(tmp_path)
    loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert loaded.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert list(model.buffers()) == []  # nothing that the file could not restore
    ids = random_ids(model.config, 2, 9)
    with torch.no_grad():
        assert torch.equal(model(ids)[0], loaded.eval()(ids)[0])


def test_tied_decoder_is_stored_once(tmp_path):
    build(AudioFormerForMaskedLM).save_pretrained(tmp_path / "tied")
    build(AudioFormerForMaskedLM, tie_word_embeddings=False).save_pretrained(tmp_path / "untied")
    assert "lm_head.decoder.weight" not in load_file(tmp_path / "tied" / "model.safetensors")
    assert "lm_head.decoder.weight" in load_file(tmp_path / "untied" / "model.safetensors")
    loaded = AudioFormerForMaskedLM.from_pretrained(tmp_path / "tied")
    assert loaded.lm_head.decoder.weight is loaded.audioformer.embeddings.word_embeddings.weight


def test_float32_checkpoint_loads_in_bfloat16(tmp_path):
    model = build(initializer_range=0.02)
    model.save_pretrained(tmp_path)
    loaded = AudioFormerModel.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    ids = random_ids(model.config, 2, 50)
    with torch.no_grad():
        outputs = loaded(ids)
        expected = model(ids)
    assert outputs.pooler_output.dtype == torch.bfloat16
    assert close(outputs.pooler_output.float(), expected.pooler_output, 0.05)
    assert {p.dtype for p in AudioFormerModel.from_pretrained(tmp_path).parameters()} == {torch.float32}


def test_pretrained_encoder_loads_into_a_classifier(tmp_path):
    pretrained = build(AudioFormerForMaskedLM)
    pretrained.save_pretrained(tmp_path)
    model, info = AudioFormerForAudioClassification.from_pretrained(tmp_path, num_labels=7, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert all(name.startswith("lm_head.") for name in info["unexpected_keys"])
    expected = pretrained.audioformer.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.audioformer.state_dict().items())


def test_another_number_of_labels_needs_consent(tmp_path):
    build(AudioFormerForAudioClassification, num_labels=3).save_pretrained(tmp_path)
    with pytest.raises(RuntimeError, match="size mismatch|ignore_mismatched_sizes"):
        AudioFormerForAudioClassification.from_pretrained(tmp_path, num_labels=5)
    model = AudioFormerForAudioClassification.from_pretrained(tmp_path, num_labels=5, ignore_mismatched_sizes=True)
    assert model.classifier.weight.shape == (5, 32)
    assert model(random_ids(model.config, 1, 6)).logits.shape == (1, 5)


@pytest.mark.parametrize("model_class", ALL_CLASSES)
@pytest.mark.parametrize("wrong", [-1, 99])
def test_ids_out_of_range_are_refused_by_value(model_class, wrong):
    model = build(model_class)
    ids = random_ids(model.config, 2, 6)
    ids[1, 3] = wrong
    with pytest.raises(ValueError, match=f"`input_ids` must be from 0 to 98 .*, got {wrong}"):
        model(ids)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0)])
def test_an_empty_batch_is_refused(shape):
    with pytest.raises(ValueError, match="The batch is empty"):
        build()(torch.zeros(shape, dtype=torch.long))


@pytest.mark.parametrize("full", [True, False])
def test_labels_without_any_position_are_refused(full):
    model = build(AudioFormerForMaskedLM)
    ids = random_ids(model.config, 2, 6)
    with pytest.raises(ValueError, match=r"`labels` of shape \(2, 6\) are all -100"):
        model(ids, labels=torch.full_like(ids, -100), return_full_logits=full)
    # A part of a larger batch may have none.
    assert model(ids, labels=torch.full_like(ids, -100), return_full_logits=full, num_items_in_batch=3).loss == 0
