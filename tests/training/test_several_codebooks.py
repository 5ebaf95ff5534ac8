"""Training of models that read several codebooks: examples, masks, start of the weights, FT2, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.code_vectors import code_vectors
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)
from audioformer.training import CodeExamples, Settings, create_settings
from audioformer.training.audioformer_arguments import AudioFormerTrainingArguments
from audioformer.training.audioformer_family import view_codes
from audioformer.training.classifiers import classifier_to_train
from audioformer.training.codebooks import describe_codebooks, name_codebooks
from audioformer.training.embedding_init import start_from_code_vectors
from audioformer.training.examples.code_source import open_extractor
from audioformer.training.examples.collators import (
    DataCollatorForCodecClassification,
    DataCollatorForCodecMaskedLM,
    pack_input_ids,
)
from audioformer.training.pretraining.masked_lm import open_model
from audioformer.training.trainers import AudioFormerMLMTrainer, AudioFormerMPCTrainer
from audioformer.training.trainers.teachers import load_teachers

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
ROWS = [0, 2, 3]


def clips(num_clips: int = 6) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 1024, (4, 20 + 3 * index), dtype=np.uint16) for index in range(num_clips)]


def arguments(folder: Path, **changes: Any) -> AudioFormerTrainingArguments:
    options: dict[str, Any] = {"per_device_train_batch_size": 3, "save_strategy": "no", "max_steps": 2, "seed": 1}
    return AudioFormerTrainingArguments(
        output_dir=str(folder), use_cpu=True, disable_tqdm=True, **{**options, **changes}
    )


def test_codebooks_have_names():
    assert [name_codebooks(reads) for reads in (0, [0, 1, 2, 3], [0, 1], [0, 2], [1, 0])] == [
        *("C1", "C1-C4", "C1-C2", "C1_C3", "C2_C1")
    ]
    assert describe_codebooks(2) == "codebook 2 (C3)"
    assert describe_codebooks([1, 2, 3]) == "codebooks 1 to 3 (C2 to C4)"
    assert describe_codebooks([0, 3]) == "codebooks 0, 3 (C1, C4)"


def test_an_item_holds_the_codes_frame_by_frame_with_the_special_ids_in_every_codebook():
    examples = CodeExamples(clips(), codebook=ROWS, crop_frames=10, seed=3)
    for epoch in range(2):
        examples.set_epoch(epoch)
        ids = examples[4]["input_ids"]
        # The same crop as that of a single codebook.
        singles = [CodeExamples(clips(), codebook=row, crop_frames=10, seed=3) for row in ROWS]
        for single in singles:
            single.set_epoch(epoch)
        assert torch.equal(ids, torch.stack([single[4]["input_ids"] for single in singles], dim=1))
        assert ids.shape == (12, 3) and ids[0].tolist() == [0] * 3 and ids[-1].tolist() == [2] * 3
    with pytest.raises(
        ValueError, match=r"clip 0 must have the codebooks \[0, 2, 3\], got codes of the shape \(2, 5\)"
    ):
        CodeExamples([np.zeros((2, 5), dtype=np.uint16)], codebook=ROWS)[0]
    with pytest.raises(ValueError, match=r"clip 0 must have the codebooks \[0, 2, 3\]"):
        CodeExamples([np.zeros(5, dtype=np.uint16)], codebook=ROWS)[0]


def test_batches_are_padded_and_packed_frame_by_frame():
    examples = CodeExamples(clips(), np.arange(6), codebook=ROWS)
    items = [examples[index] for index in (0, 3)]
    batch = DataCollatorForCodecClassification(pad_to_multiple_of=8)(items)
    assert batch["input_ids"].shape == (2, 32, 3) and batch["attention_mask"].shape == (2, 32)
    assert batch["attention_mask"].sum(1).tolist() == [22, 31]
    assert (batch["input_ids"][0, 22:] == 1).all() and torch.equal(batch["input_ids"][1, :31], items[1]["input_ids"])
    packed = pack_input_ids([item["input_ids"] for item in items])
    assert packed["input_ids"].shape == (1, 53, 3) and packed["position_ids"].shape == (1, 53)


@pytest.mark.parametrize("packed", [False, True])
def test_whole_frames_are_masked_and_share_their_fate(packed):
    rng = np.random.default_rng(0)
    ids = np.concatenate([np.zeros((1, 3)), rng.integers(3, 1027, (400, 3)), np.full((1, 3), 2)]).astype(np.int64)
    collator = DataCollatorForCodecMaskedLM(packed=packed, replace_probability=0.5, random_probability=0.3)
    batch = collator([{"input_ids": ids, "draw_seed": 5}])
    hidden, labels = batch["input_ids"][0].numpy(), batch["labels"][0].numpy()
    chosen = labels != -100
    assert chosen.any(1).sum() == 100 and (chosen.all(1) == chosen.any(1)).all()
    assert (labels[chosen] == ids[chosen]).all() and (hidden[~chosen] == ids[~chosen]).all()
    frames = chosen.all(1)
    masked, kept = (hidden[frames] == 1027).all(1), (hidden[frames] == ids[frames]).all(1)
    assert (hidden[frames] == 1027).any(1).sum() == masked.sum()
    random = hidden[frames][~masked & ~kept]
    assert 35 < masked.sum() < 65 and 15 < len(random) < 45 and 5 < kept.sum() < 35
    # The codes of a random frame are drawn one by one.
    assert (random >= 3).all() and (random < 1027).all() and (random[:, 0] != random[:, 1]).mean() > 0.9


def test_codes_are_masked_one_by_one_if_asked_to():
    ids = np.concatenate([np.zeros((1, 3)), np.full((400, 3), 7), np.full((1, 3), 2)]).astype(np.int64)
    collator = DataCollatorForCodecMaskedLM(mask_whole_frames=False, mask_span_length=4)
    first, again = (collator([{"input_ids": ids, "draw_seed": 5}]) for _ in range(2))
    chosen = (first["labels"][0] != -100).numpy()
    assert chosen.sum(0).tolist() == [100] * 3  # the share of each codebook
    assert 5 < (chosen.sum(1) > 1).sum() < 100  # a quarter of a quarter, roughly, in each pair
    assert torch.equal(first["input_ids"], again["input_ids"])
    runs = np.diff(np.flatnonzero(np.diff(np.pad(chosen[:, 0], 1).astype(int)))[::1])[::2]
    assert runs.mean() > 3  # spans


def test_one_codebook_draws_what_it_drew_before():
    ids = np.concatenate([[0], np.random.default_rng(0).integers(3, 1027, 60), [2]])
    batches = [
        DataCollatorForCodecMaskedLM(mask_whole_frames=whole)([{"input_ids": ids, "draw_seed": 9}])
        for whole in (True, False)
    ]
    assert torch.equal(batches[0]["input_ids"], batches[1]["input_ids"])
    # What the collator of one codebook alone chose.
    positions = [1, 7, 8, 11, 14, 19, 20, 21, 22, 31, 37, 56, 57, 58, 60]
    assert np.flatnonzero(batches[0]["labels"][0].numpy() != -100).tolist() == positions
    assert int(batches[0]["input_ids"].sum()) == 34816


def test_masked_lm_training_and_evaluation_run_on_several_codebooks(tmp_path):
    torch.manual_seed(0)
    model = AudioFormerForMaskedLM(AudioFormerConfig(**SIZES, codebooks=ROWS, codebook_dropout=0.2))
    trainer = AudioFormerMLMTrainer(
        model=model,
        args=arguments(tmp_path, mask_whole_frames=False, gradient_accumulation_steps=2),
        train_dataset=CodeExamples(clips(), codebook=ROWS),
        eval_dataset=CodeExamples(clips(), codebook=ROWS),
    )
    assert trainer.data_collator.mask_whole_frames is False
    before = [table.weight.detach().clone() for table in model.get_input_embeddings()]
    loss = trainer.evaluate()["eval_loss"]
    assert loss == pytest.approx(np.log(1028), abs=0.3) and loss == trainer.evaluate()["eval_loss"]
    trainer.train()
    for table, old in zip(model.get_input_embeddings(), before, strict=True):
        assert not torch.equal(table.weight, old)


def test_embeddings_start_from_the_vectors_of_each_codebook_under_one_rotation():
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=ROWS)
    torch.manual_seed(0)
    model = AudioFormerForMaskedLM(AudioFormerConfig(**{**SIZES, "hidden_size": 256}, codebooks=ROWS))
    special = [table.weight[[0, 2, 1027]].detach().clone() for table in model.get_input_embeddings()]
    start_from_code_vectors(model, extractor, seed=0)
    tables = [table.weight.detach() for table in model.get_input_embeddings()]
    assert all(torch.equal(table[[0, 2, 1027]], old) for table, old in zip(tables, special, strict=True))
    vectors = [code_vectors(extractor.codec, row, 1024) for row in ROWS]
    assert torch.cat([table[3:1027] for table in tables]).pow(2).mean().sqrt().item() == pytest.approx(0.02, rel=1e-3)
    # Sums over the codebooks are as far apart as the decoder's sums are: what a separate rotation would not keep.
    codes = np.random.default_rng(0).integers(0, 1024, (50, 3))
    summed = sum(table[3 + codes[:, index]] for index, table in enumerate(tables))
    expected = sum(part[codes[:, index]] for index, part in enumerate(vectors))
    distances, wanted = torch.cdist(summed, summed), torch.cdist(expected, expected)
    torch.testing.assert_close(distances / distances.max(), wanted / wanted.max(), rtol=1e-3, atol=1e-3)


def settings_of(command: str, folder: Path, **given: Any) -> Settings:
    return create_settings(command, output_dir=folder / "run", codec=str(TINY_CODEC), use_cpu=True, **given)


def test_a_fresh_model_reads_the_codebooks_that_are_named(tmp_path):
    settings = settings_of("finetune", tmp_path, codebooks=ROWS, codebook_dropout=0.25, **SIZES)
    extractor = settings.family.examples.open_extractor(settings)
    classifier = classifier_to_train(settings, ["a", "b"], False, extractor)
    assert extractor.codebooks == classifier.config.codebooks == ROWS
    assert classifier.config.codebook_dropout == 0.25
    joint = settings_of("pretrain", tmp_path, codebooks=ROWS, joint_codebooks=True, **SIZES)
    assert open_model(joint, open_extractor(joint, ROWS)).config.codebooks == ROWS


def test_a_model_keeps_its_codebooks_and_refuses_others(tmp_path):
    several, one = tmp_path / "C1_C3_C4", tmp_path / "C1"
    pretrained = AudioFormerForMaskedLM(AudioFormerConfig(**SIZES, codebooks=ROWS))
    pretrained.save_pretrained(several)
    AudioFormerForMaskedLM(AudioFormerConfig(**SIZES)).save_pretrained(one)
    settings = settings_of("finetune", tmp_path, model=several)
    extractor = settings.family.examples.open_extractor(settings)
    classifier = classifier_to_train(settings, ["a", "b"], False, extractor)
    assert extractor.codebooks == classifier.config.codebooks == ROWS
    expected = pretrained.audioformer.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in classifier.audioformer.state_dict().items())
    for model, given, message in (
        (several, {"codebook": 0}, r"reads codebooks 0, 2, 3 \(C1, C3, C4\), the ids would be of codebook 0 \(C1\)"),
        (several, {"codebooks": [0, 3, 2]}, "the same codebooks in the same order"),
        (one, {"codebooks": ROWS}, r"reads codebook 0 \(C1\), the ids would be of codebooks 0, 2, 3"),
    ):
        wrong = settings_of("finetune", tmp_path, model=model, **given)
        with pytest.raises(ValueError, match=message):
            wrong.family.examples.open_extractor(wrong)
    with pytest.raises(ValueError, match="reads codebooks 0, 2, 3"):
        settings.family.check_extractor(pretrained.config, extractor.with_codebooks(0))
    # Another single codebook is a start for this one, as before.
    other = settings_of("finetune", tmp_path, model=one, codebook=1)
    assert other.family.examples.open_extractor(other).codebooks == 1


@pytest.mark.parametrize(
    ("command", "given", "message"),
    [
        ("finetune", {"codebooks": [0, 0]}, "`codebooks` must be different ones"),
        ("finetune", {"codebooks": [0, 4]}, r"`codebooks` must be at least 0 and below `num_codebooks` \(4\), got 4"),
        ("finetune", {"codebooks": [0, 1], "codebook": 0}, "exclude each other"),
        ("finetune", {"codebooks": [2]}, "`codebook` 2 says which it reads alone"),
        ("pretrain", {"codebooks": [2], "joint_codebooks": True}, "`joint_codebooks` needs at least two codebooks"),
    ],
)
def test_codebooks_that_cannot_be_meant_are_refused_first(tmp_path, command, given, message):
    with pytest.raises(ValueError, match=message):
        settings_of(command, tmp_path, **given)


def test_codebooks_are_dropped_from_several_only(tmp_path):
    settings = settings_of("finetune", tmp_path, codebook_dropout=0.2)
    with pytest.raises(ValueError, match=r"`codebook_dropout` 0.2 needs a model of several codebooks"):
        settings.family.examples.open_extractor(settings)


def test_an_anchor_of_several_codebooks_has_the_positives_of_single_ones(tmp_path):
    anchor = AudioFormerForAudioClassification(
        AudioFormerConfig(**SIZES, codebooks=ROWS, num_labels=2, problem_type="single_label_classification")
    )
    models = [AudioFormerModel(AudioFormerConfig(**SIZES, codebook=row)) for row in (2, 1)]
    teachers = load_teachers(models, anchor.config)
    assert [teacher.config.codebook for teacher in teachers] == [1, 2]
    data = CodeExamples(clips(), np.arange(6) % 2, codebook=ROWS, crop_frames=12, positive_codebooks=[1, 2])
    trainer = AudioFormerMPCTrainer(
        model=anchor,
        args=arguments(tmp_path, online_teachers=True, crop_frames=12, mixup_alpha=0.5),
        train_dataset=data,
        teachers=teachers,
    )
    result = trainer.train()
    assert np.isfinite(result.training_loss)
    with pytest.raises(ValueError, match=r"reads the codebooks \[0, 2, 3\] together"):
        load_teachers([AudioFormerModel(AudioFormerConfig(**SIZES, codebooks=ROWS))], anchor.config)
    with pytest.raises(ValueError, match="reads codebook 1"):
        load_teachers([models[1], models[1]], anchor.config)


def test_pictures_say_which_codebooks_are_read():
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=ROWS)
    model = AudioFormerForAudioClassification(AudioFormerConfig(**SIZES, codebooks=ROWS))
    view = view_codes(model, extractor, np.zeros(4800, dtype=np.float32))
    assert view.title == "Codes; the model reads C1, C3, C4" and view.values.shape[0] == 4
