"""Packed clips give the same results as padded ones (and, by the other tests, as single ones)."""

import pytest
import torch

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
)
from audioformer.training.examples.collators import pack_input_ids, pad_input_ids

SIZES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)


@pytest.fixture
def clips() -> list[torch.Tensor]:
    torch.manual_seed(1)
    return [torch.cat([torch.tensor([0]), torch.randint(3, 1027, (n,)), torch.tensor([2])]) for n in (7, 1, 12)]


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_packed_clips_equal_padded_ones(clips, attention):
    torch.manual_seed(0)
    config = AudioFormerConfig(**SIZES, num_labels=3)
    model = AudioFormerForAudioClassification._from_config(config, attn_implementation=attention).eval()
    labels = torch.tensor([0, 2, 1])
    results = []
    for batch in (pad_input_ids(clips), pack_input_ids(clips)):
        model.zero_grad()
        outputs = model(**batch, labels=labels)
        outputs.loss.backward()
        gradients = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
        results.append((outputs, gradients))
    (padded, padded_gradients), (packed, packed_gradients) = results
    torch.testing.assert_close(packed.logits, padded.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed.pooler_output, padded.pooler_output, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(packed.loss, padded.loss)
    for name, gradient in padded_gradients.items():
        torch.testing.assert_close(packed_gradients[name], gradient, atol=1e-5, rtol=1e-4, msg=name)


def test_hidden_states_and_masked_lm_loss_of_packed_clips(clips):
    torch.manual_seed(0)
    model = AudioFormerForMaskedLM(AudioFormerConfig(**SIZES)).eval()
    padded, packed = pad_input_ids(clips), pack_input_ids(clips)
    labels = torch.where(padded["attention_mask"].bool(), padded["input_ids"], -100)
    real = padded["attention_mask"].bool()
    first = model(**padded, labels=labels, return_full_logits=True)
    second = model(**packed, labels=packed["input_ids"], return_full_logits=True)
    torch.testing.assert_close(second.logits[0], first.logits[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.loss, first.loss)


@pytest.mark.parametrize("limits", [[0, 9, 12], [1, 9, 12, 26], [0, 12, 9, 26], [0, 9, 9, 26]])
def test_boundaries_that_do_not_cover_the_sequence_are_refused(clips, limits):
    model = AudioFormerForAudioClassification(AudioFormerConfig(**SIZES))
    batch = pack_input_ids(clips) | {"cu_seq_lens_q": torch.tensor(limits, dtype=torch.int32)}
    with pytest.raises(ValueError, match="cu_seq_lens_q"):
        model(**batch)


def test_packed_clips_need_a_single_sequence_and_positions(clips):
    model = AudioFormerForAudioClassification(AudioFormerConfig(**SIZES))
    batch = pack_input_ids(clips)
    with pytest.raises(ValueError, match="position_ids"):
        model(**{name: value for name, value in batch.items() if name != "position_ids"})
    with pytest.raises(ValueError, match="a batch of one sequence"):
        model(**(batch | {"input_ids": batch["input_ids"].repeat(2, 1)}))
