"""A model that reads several codebooks: embeddings, heads, dropout of codebooks, masks, packing, saving, compiling."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file
from torch.nn import functional as F
from transformers import PreTrainedModel

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)
from audioformer.training.examples.collators import pack_input_ids, pad_input_ids
from tests.model_contracts import BATCH_SIZE, PADDED_ROW, Inputs, ModelContracts

from .common import pad_row, random_ids, tiny_config

ALL_CLASSES = (AudioFormerModel, AudioFormerForMaskedLM, AudioFormerForAudioClassification)
CODEBOOKS = [0, 2, 3]


def several_config(**changes) -> AudioFormerConfig:
    return tiny_config(**{"codebooks": CODEBOOKS, "num_labels": 3, **changes})


def build(model_class=AudioFormerModel, **changes):
    torch.manual_seed(0)
    return model_class(several_config(**changes)).eval()


class TestSeveralCodebooks(ModelContracts):
    model_classes = ALL_CLASSES
    loss_classes = ALL_CLASSES[1:]

    def make_config(self) -> AudioFormerConfig:
        return several_config(codebook_dropout=0.3)

    def make_inputs(self, config: AudioFormerConfig) -> Inputs:
        return {"input_ids": random_ids(config, BATCH_SIZE, 9)}

    def make_padded_inputs(self, config: AudioFormerConfig) -> tuple[Inputs, Inputs]:
        padded = pad_row(random_ids(config, BATCH_SIZE, 15), config, PADDED_ROW, 6)
        return {"input_ids": padded}, {"input_ids": padded[PADDED_ROW : PADDED_ROW + 1, :6]}

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        if isinstance(model, AudioFormerForMaskedLM):
            return inputs["input_ids"]
        return torch.arange(BATCH_SIZE) % 3


def test_configuration_keeps_the_list_and_the_first_of_it(tmp_path):
    config = several_config(codebook_dropout=0.2)
    assert (config.codebook, config.codebooks, config.codebook_indices) == (0, CODEBOOKS, CODEBOOKS)
    assert config.num_codebooks == 3
    several_config(codebooks=[3, 1], codebook_dropout=0.2).save_pretrained(tmp_path)
    loaded = AudioFormerConfig.from_pretrained(tmp_path)
    assert (loaded.codebook, loaded.codebooks, loaded.codebook_dropout) == (3, [3, 1], 0.2)


def test_a_list_of_one_codebook_is_that_codebook(tmp_path):
    one, listed = tiny_config(codebook=2), tiny_config(codebooks=[2])
    assert listed.to_dict() == one.to_dict() and listed.codebook_indices == 2 and listed.num_codebooks == 1
    listed.save_pretrained(tmp_path)
    # Earlier versions read another meaning into the name.
    assert not {"codebooks", "codebook_dropout"} & set(json.loads((tmp_path / "config.json").read_text()))
    torch.manual_seed(0)
    first = AudioFormerForMaskedLM(one).state_dict()
    torch.manual_seed(0)
    second = AudioFormerForMaskedLM(listed).state_dict()
    assert first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebooks": []}, r"`codebooks` must be different indices.*got \[\]"),
        ({"codebooks": [0, 1, 0]}, r"`codebooks` must be different indices.*got \[0, 1, 0\]"),
        ({"codebooks": [1, -1]}, r"`codebooks` must be different indices.*got \[1, -1\]"),
        ({"codebooks": ["0", "1"]}, "codebooks"),
        ({"codebook": 1, "codebooks": [0, 2]}, r"`codebook` 1 and `codebooks` \[0, 2\] exclude each other"),
        ({"codebook_dropout": 1.0}, r"`codebook_dropout` must be in \[0, 1\)"),
    ],
)
def test_codebooks_that_cannot_be_meant_are_refused(changes, message):
    with pytest.raises((StrictDataclassError, ValueError), match=message):
        several_config(**changes)


def test_a_position_is_the_sum_of_one_embedding_per_codebook():
    model = build()
    ids = random_ids(model.config, 2, 11)
    tables = list(model.get_input_embeddings())
    summed = sum(table.weight[ids[..., index]] for index, table in enumerate(tables))
    torch.testing.assert_close(model.get_input_embeddings()(ids), summed)
    with torch.no_grad():
        from_ids, from_embeddings = model(ids), model(inputs_embeds=summed)
    torch.testing.assert_close(from_ids.last_hidden_state, from_embeddings.last_hidden_state)
    assert from_ids.last_hidden_state.shape == (2, 11, 32)
    for index in range(3):  # each codebook is heard
        changed = ids.clone()
        changed[:, 4, index] = 3 + (ids[:, 4, index] - 2) % 95
        with torch.no_grad():
            assert not torch.allclose(model(changed).pooler_output, from_ids.pooler_output, atol=1e-4)


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 2), (2, 7, 4), (2, 3, 7, 1)])
def test_ids_of_other_codebooks_are_refused(shape):
    with pytest.raises(ValueError, match=r"\(batch_size, sequence_length, 3\), since .* codebooks \[0, 2, 3\], got"):
        build()(torch.zeros(shape, dtype=torch.long))
    with pytest.raises(ValueError, match="`input_ids` must be from 0 to 98"):
        build()(torch.full((1, 4, 3), 99))


@pytest.mark.parametrize("labelled", ["all", "frames", "single codes"])
def test_the_loss_is_the_mean_over_all_labelled_codes(labelled):
    model = build(AudioFormerForMaskedLM)
    ids = random_ids(model.config, 2, 8)
    labels = ids.clone()
    if labelled == "frames":
        labels[:, ::2] = -100
    elif labelled == "single codes":
        labels[torch.rand(labels.shape, generator=torch.Generator().manual_seed(0)) < 0.6] = -100
    full = model(ids, labels=labels, return_full_logits=True)
    sparse = model(ids, labels=labels)
    assert full.logits.shape == (2, 8, 3, 99)
    chosen = labels != -100
    expected = F.cross_entropy(full.logits[chosen], labels[chosen])
    torch.testing.assert_close(full.loss, expected)
    torch.testing.assert_close(sparse.loss, expected)
    by_codebook = full.logits.movedim(2, 0)[chosen.movedim(-1, 0)]
    torch.testing.assert_close(sparse.logits, by_codebook)
    sparse.loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_labels_of_another_shape_are_refused():
    model = build(AudioFormerForMaskedLM)
    ids = random_ids(model.config, 2, 8)
    with pytest.raises(
        ValueError, match=r"`labels` of several codebooks must have the shape \(2, 8, 3\), got \(2, 8\)"
    ):
        model(ids, labels=ids[..., 0])


def test_each_decoder_is_tied_to_the_embedding_of_its_codebook(tmp_path):
    model = build(AudioFormerForMaskedLM)
    model.save_pretrained(tmp_path)
    assert not any("decoder.weight" in name for name in load_file(tmp_path / "model.safetensors"))
    resized = build(AudioFormerForMaskedLM)
    before = [table.weight.detach().clone() for table in resized.get_input_embeddings()]
    resized.resize_token_embeddings(102)
    assert resized.config.vocab_size == 102
    for variant in (model, AudioFormerForMaskedLM.from_pretrained(tmp_path), resized):
        tables = list(variant.get_input_embeddings())
        assert len({table.weight.data_ptr() for table in tables}) == 3
        for head, table in zip(variant.lm_head, tables, strict=True):
            assert head.decoder.weight is table.weight
    for table, old in zip(resized.get_input_embeddings(), before, strict=True):
        assert torch.equal(table.weight[:99], old)
    ids = torch.full((1, 4, 3), 101)
    assert resized(ids, labels=ids).logits.shape == (12, 102)
    untied = build(AudioFormerForMaskedLM, tie_word_embeddings=False)
    untied.resize_token_embeddings(102)
    assert untied.lm_head[2].decoder.weight.shape == (102, 32)
    assert untied.lm_head[2].decoder.weight is not untied.get_input_embeddings()[2].weight


@pytest.mark.parametrize("packed", [False, True])
def test_codebooks_are_dropped_per_clip_and_only_in_training(packed):
    model = build(codebook_dropout=0.7)
    embeddings = model.get_input_embeddings()
    clips = [random_ids(model.config, 1, length, seed=length)[0] for length in (5, 9, 6, 12) * 30]
    batch = pack_input_ids(clips) if packed else pad_input_ids(clips)
    ids = batch["input_ids"]
    clip_of_position = torch.repeat_interleave(torch.arange(120), torch.tensor([len(clip) for clip in clips]))
    embedded = []
    handle = embeddings.register_forward_hook(lambda module, inputs, output: embedded.append(output.detach()))
    model(**batch)
    model.train()
    torch.manual_seed(0)
    model(**batch)
    handle.remove()
    parts = torch.stack([table(ids[..., index]) for index, table in enumerate(embeddings)], dim=-1).detach()
    torch.testing.assert_close(embedded[0], parts.sum(-1))  # nothing is dropped in evaluation
    kept_sets = []
    for clip in range(120):
        where = (0, clip_of_position == clip) if packed else (clip, slice(len(clips[clip])))
        # Which subset of the codebooks explains the whole clip?
        subsets = [
            [index for index in range(3) if number >> index & 1]
            for number in range(1, 8)
            if torch.allclose(
                embedded[1][where],
                parts[where][..., [index for index in range(3) if number >> index & 1]].sum(-1),
                atol=1e-5,
            )
        ]
        assert len(subsets) == 1, clip
        kept_sets.append(subsets[0])
    assert min(map(len, kept_sets)) == 1 and max(map(len, kept_sets)) > 1
    # 3 * 0.3 on average, and one more where all three would be dropped: 0.9 + 0.7 ** 3 = 1.243.
    assert sum(map(len, kept_sets)) / 120 == pytest.approx(1.243, abs=0.2)


def test_padding_is_where_all_codebooks_are_padded():
    model = build()
    ids = pad_row(random_ids(model.config, 2, 10), model.config, row=1, length=6)
    mask = ids.ne(model.config.pad_token_id).all(-1)
    with torch.no_grad():
        derived, given = model(ids), model(ids, attention_mask=mask.long())
        ids[0, 4, 1] = model.config.pad_token_id
        partly = model(ids)
    torch.testing.assert_close(derived.pooler_output, given.pooler_output)
    torch.testing.assert_close(partly.pooler_output[0], partly.last_hidden_state[0].mean(0))


def test_packed_clips_equal_padded_ones():
    model = build(AudioFormerForMaskedLM)
    clips = [random_ids(model.config, 1, length, seed=length)[0] for length in (7, 3, 12)]
    padded, packed = pad_input_ids(clips), pack_input_ids(clips)
    real = padded["attention_mask"].bool()
    labels = torch.where(real[..., None], padded["input_ids"], -100)
    first = model(**padded, labels=labels, return_full_logits=True)
    second = model(**packed, labels=packed["input_ids"], return_full_logits=True)
    torch.testing.assert_close(second.logits[0], first.logits[real], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(second.loss, first.loss)


def test_flex_attention_equals_sdpa():
    model = build()
    ids = pad_row(random_ids(model.config, 2, 24), model.config, row=1, length=13)
    with torch.no_grad(), torch.compiler.set_stance("force_eager"):
        model.set_attn_implementation("sdpa")
        expected = model(ids)
        model.set_attn_implementation("flex_attention")
        actual = model(ids)
    torch.testing.assert_close(actual.pooler_output, expected.pooler_output, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model_class", ALL_CLASSES[1:])
def test_a_training_step_compiles_to_the_same_gradients(model_class):
    torch._dynamo.reset()
    model = build(model_class, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    ids = pad_row(random_ids(model.config, 3, 14), model.config, row=1, length=9)
    labels = ids if model_class is AudioFormerForMaskedLM else torch.tensor([0, 2, 1])
    model(ids, labels=labels).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(ids, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)
    # Dropping codebooks breaks no graph either.
    torch._dynamo.reset()
    dropping = build(model_class, codebook_dropout=0.5).train()
    torch.compile(dropping, fullgraph=True, backend="eager")(ids, labels=labels).loss.backward()
    torch._dynamo.reset()


def test_a_pretrained_encoder_loads_into_a_classifier(tmp_path):
    pretrained = build(AudioFormerForMaskedLM)
    pretrained.save_pretrained(tmp_path)
    model, info = AudioFormerForAudioClassification.from_pretrained(tmp_path, num_labels=7, output_loading_info=True)
    assert set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    expected = pretrained.audioformer.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.audioformer.state_dict().items())
