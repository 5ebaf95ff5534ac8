"""`transformers.RoFormer...` with the same weights as the reference for the model and the converter."""

import pytest
import torch
from transformers import (
    RoFormerConfig,
    RoFormerForMaskedLM,
    RoFormerForSequenceClassification,
    RoFormerModel,
)

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
    convert_roformer_state_dict,
)

from .common import pad_row, random_ids, tiny_config

TOLERANCE = 1e-4


def build_roformer(model_class, config: AudioFormerConfig, seed: int = 0, noise: float = 0.1, **changes):
    """A RoFormer of the same size in which all weights are random, including biases, norms and token types."""
    fields = {
        "vocab_size": config.vocab_size,
        "embedding_size": config.hidden_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "max_position_embeddings": 1024,
        "pad_token_id": config.pad_token_id,
        "initializer_range": config.initializer_range,
    }
    torch.manual_seed(seed)
    model = model_class(RoFormerConfig(**{**fields, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:  # the table of positions does not
                parameter.add_(noise * torch.randn_like(parameter))
    return model.eval()


def inputs(config: AudioFormerConfig, padded: bool, length: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    ids = random_ids(config, batch=3, length=length)
    if padded:
        ids = pad_row(ids, config, row=1, length=length - 7)
    return ids, ids.ne(config.pad_token_id)


def largest_difference(ours: torch.Tensor, theirs: torch.Tensor, mask: torch.Tensor) -> float:
    return (ours - theirs)[mask].abs().max().item()


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_every_hidden_state_equals_roformers(padded, attention):
    config = tiny_config(num_hidden_layers=3)
    roformer = build_roformer(RoFormerModel, config)
    model = AudioFormerModel(config).eval()
    model.set_attn_implementation(attention)
    model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    ids, mask = inputs(config, padded)
    with torch.no_grad():
        theirs = roformer(ids, attention_mask=mask, output_hidden_states=True).hidden_states
        ours = model(ids, output_hidden_states=True).hidden_states
    assert len(ours) == len(theirs) == 4
    assert max(largest_difference(a, b, mask) for a, b in zip(ours, theirs, strict=True)) <= TOLERANCE


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("tied", [True, False])
def test_log_probabilities_equal_roformers(padded, tied):
    """A non-zero token-type vector is added to the embedding, with tied and untied decoders."""
    config = tiny_config(tie_word_embeddings=tied)
    roformer = build_roformer(RoFormerForMaskedLM, config)
    assert roformer.roformer.embeddings.token_type_embeddings.weight[0].abs().max() > 0.01
    model = AudioFormerForMaskedLM(config).eval()
    model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    assert (model.lm_head.decoder.weight is model.get_input_embeddings().weight) is tied
    ids, mask = inputs(config, padded)
    with torch.no_grad():
        theirs = roformer(ids, attention_mask=mask, output_hidden_states=True)
        ours = model(ids, attention_mask=mask, output_hidden_states=True)
    assert largest_difference(ours.hidden_states[-1], theirs.hidden_states[-1], mask) <= TOLERANCE
    assert largest_difference(ours.logits.log_softmax(-1), theirs.logits.log_softmax(-1), mask) <= TOLERANCE


def test_untied_decoder_is_taken_over_unfolded():
    config = tiny_config(tie_word_embeddings=False)
    roformer = build_roformer(RoFormerForMaskedLM, config, tie_word_embeddings=False)
    model = AudioFormerForMaskedLM(config).eval()
    model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    ids, mask = inputs(config, padded=True)
    with torch.no_grad():
        difference = largest_difference(model(ids).logits, roformer(ids, attention_mask=mask).logits, mask)
    assert difference <= TOLERANCE  # raw logits: nothing was added to this decoder


@pytest.mark.slow
@pytest.mark.parametrize("padded", [False, True])
def test_equals_roformer_at_the_papers_size(padded):
    config = AudioFormerConfig()
    roformer = build_roformer(RoFormerForMaskedLM, config, noise=0.01)
    model = AudioFormerForMaskedLM(config).eval()
    model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    ids, mask = inputs(config, padded, length=96)
    with torch.no_grad():
        theirs = roformer(ids, attention_mask=mask, output_hidden_states=True)
        ours = model(ids, output_hidden_states=True)
    assert largest_difference(ours.hidden_states[-1], theirs.hidden_states[-1], mask) <= TOLERANCE
    assert largest_difference(ours.logits.log_softmax(-1), theirs.logits.log_softmax(-1), mask) <= TOLERANCE


def test_gradients_equal_roformers():
    """The same loss gives the same gradients, so training from scratch equals that of RoFormer."""
    config = tiny_config()
    roformer = build_roformer(RoFormerForMaskedLM, config)
    model = AudioFormerForMaskedLM(config).eval()
    model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    ids, mask = inputs(config, padded=True)
    labels = random_ids(config, batch=3, length=40, seed=1).masked_fill(~mask, -100)
    theirs, ours = roformer(ids, attention_mask=mask, labels=labels).loss, model(ids, labels=labels).loss
    theirs.backward()
    ours.backward()
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    # The converter reorders gradients as it does weights. Those of the token types have no counterpart.
    gradients = {
        name: parameter.grad
        for name, parameter in roformer.named_parameters()
        if parameter.grad is not None and "token_type" not in name
    }
    expected = convert_roformer_state_dict(gradients, num_attention_heads=config.num_attention_heads)
    names = [name for name, _ in model.named_parameters()]
    assert set(names) == set(expected) - {"lm_head.decoder.weight"}
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(
            parameter.grad, expected[name], atol=1e-5, rtol=1e-3, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_classifier_checkpoints_give_their_encoder():
    config = tiny_config(num_labels=3)
    roformer = build_roformer(RoFormerForSequenceClassification, config, num_labels=3)
    model = AudioFormerForAudioClassification(config).eval()
    outcome = model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()), strict=False)
    assert set(outcome.missing_keys) == {"classifier.weight", "classifier.bias"}
    assert outcome.unexpected_keys == []
    ids, mask = inputs(config, padded=True)
    with torch.no_grad():
        ours = model.audioformer(ids).last_hidden_state
        theirs = roformer.roformer(ids, attention_mask=mask).last_hidden_state
    assert largest_difference(ours, theirs, mask) <= TOLERANCE


def test_loads_through_from_pretrained_into_any_class():
    """A masked-LM checkpoint loads into an encoder, and the other way round."""
    config = tiny_config()
    roformer = build_roformer(RoFormerForMaskedLM, config)
    with_head = convert_roformer_state_dict(roformer.state_dict())
    bare = convert_roformer_state_dict(roformer.roformer.state_dict())
    assert not any(name.startswith("audioformer.") for name in bare)
    ids, mask = inputs(config, padded=True)
    with torch.no_grad():
        theirs = roformer.roformer(ids, attention_mask=mask).last_hidden_state
        for state_dict in (with_head, bare):
            for model_class in (AudioFormerModel, AudioFormerForMaskedLM, AudioFormerForAudioClassification):
                model = model_class.from_pretrained(None, config=config, state_dict=dict(state_dict)).eval()
                ours = getattr(model, "audioformer", model)(ids).last_hidden_state
                assert largest_difference(ours, theirs, mask) <= TOLERANCE


def test_does_not_change_its_input():
    state_dict = build_roformer(RoFormerForMaskedLM, tiny_config()).state_dict()
    before = {name: tensor.clone() for name, tensor in state_dict.items()}
    convert_roformer_state_dict(state_dict)
    assert state_dict.keys() == before.keys()
    assert all(torch.equal(state_dict[name], before[name]) for name in before)


def test_projected_embedding_is_refused():
    state_dict = build_roformer(RoFormerModel, tiny_config(), embedding_size=16).state_dict()
    with pytest.raises(ValueError, match="embedding_size"):
        convert_roformer_state_dict(state_dict)


def test_decoder_with_cross_attention_is_refused():
    state_dict = build_roformer(RoFormerModel, tiny_config(), is_decoder=True, add_cross_attention=True).state_dict()
    with pytest.raises(ValueError, match="crossattention"):
        convert_roformer_state_dict(state_dict)


def test_other_state_dicts_are_refused():
    with pytest.raises(ValueError, match="word_embeddings"):
        convert_roformer_state_dict({"encoder.weight": torch.zeros(2, 2)})


def test_head_size_must_be_known():
    config = tiny_config()
    state_dict = build_roformer(RoFormerModel, config).state_dict()
    expected = convert_roformer_state_dict(state_dict)
    del state_dict["encoder.embed_positions.weight"]
    with pytest.raises(ValueError, match="num_attention_heads"):
        convert_roformer_state_dict(state_dict)
    with pytest.raises(ValueError, match="got 5"):
        convert_roformer_state_dict(state_dict, num_attention_heads=5)
    given = convert_roformer_state_dict(state_dict, num_attention_heads=config.num_attention_heads)
    assert all(torch.equal(given[name], expected[name]) for name in expected)
