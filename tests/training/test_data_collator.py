"""Padding and masking of codec ids."""

import pytest
import torch

from audioformer.training.data_collator import (
    DataCollatorForCodecClassification,
    DataCollatorForCodecMaskedLM,
    pad_input_ids,
)


def sequence(num_codes: int, seed: int = 0) -> list[int]:
    codes = torch.randint(3, 1027, (num_codes,), generator=torch.Generator().manual_seed(seed))
    return [0, *codes.tolist(), 2]


def test_padding_uses_pad_and_never_boa():
    batch = pad_input_ids([sequence(3), sequence(5)], pad_to_multiple_of=4)
    assert batch["input_ids"].shape == (2, 8)
    assert batch["input_ids"][0].tolist() == [*sequence(3), 1, 1, 1]
    assert batch["attention_mask"].sum(dim=1).tolist() == [5, 7]


@pytest.mark.parametrize("probability", [0.15, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("num_codes", [1, 2, 3, 75, 750])
def test_exactly_the_rounded_share_of_each_sequence_is_chosen(probability, num_codes):
    collator = DataCollatorForCodecMaskedLM(mask_probability=probability, seed=0)
    batch = collator([{"input_ids": sequence(num_codes)}, {"input_ids": sequence(40)}])
    chosen = (batch["labels"] != -100).sum(dim=1).tolist()
    assert chosen == [max(1, round(num_codes * probability)), round(40 * probability)]


def test_a_sequence_without_codes_is_left_alone():
    batch = DataCollatorForCodecMaskedLM(seed=0)([{"input_ids": [0, 2]}])
    assert batch["input_ids"].tolist() == [[0, 2]]
    assert batch["labels"].tolist() == [[-100, -100]]


def test_special_ids_are_never_chosen_and_never_put_in_by_chance():
    collator = DataCollatorForCodecMaskedLM(
        mask_probability=1.0, replace_probability=0.0, random_probability=1.0, seed=1
    )
    original = [sequence(200, seed) for seed in range(20)]
    batch = collator([{"input_ids": ids} for ids in [*original, sequence(10)]])
    ids, labels = batch["input_ids"], batch["labels"]
    code = (ids >= 3) & (ids <= 1026)
    assert torch.equal(code, labels != -100)
    assert ids[-1, 12:].eq(1).all() and ids[-1, 0] == 0 and ids[-1, 11] == 2


def test_shares_of_mask_random_and_kept():
    collator = DataCollatorForCodecMaskedLM(mask_probability=0.25, seed=2)
    original = torch.tensor([sequence(4000, seed) for seed in range(8)])
    ids, labels = collator.mask(original)
    chosen = labels != -100
    masked = (ids[chosen] == 1027).float().mean().item()
    kept = (ids[chosen] == original[chosen]).float().mean().item()
    assert masked == pytest.approx(0.8, abs=0.02)
    assert kept == pytest.approx(0.1, abs=0.02)
    assert torch.equal(ids[~chosen], original[~chosen])
    assert torch.equal(labels[chosen], original[chosen])


def test_choice_is_uniform_over_positions():
    collator = DataCollatorForCodecMaskedLM(seed=3)
    original = torch.tensor([sequence(20)] * 4000)
    share = (collator.mask(original)[1] != -100).float().mean(dim=0)[1:-1]
    assert (share - 0.25).abs().max() < 0.04


def test_a_seed_repeats_the_masks_and_the_global_generator_is_the_default():
    features = [{"input_ids": sequence(50)}]
    first, second = (DataCollatorForCodecMaskedLM(seed=4)(features)["input_ids"] for _ in range(2))
    assert torch.equal(first, second)
    collator = DataCollatorForCodecMaskedLM()
    torch.manual_seed(0)
    third, fourth = collator(features)["input_ids"], collator(features)["input_ids"]
    assert not torch.equal(third, fourth)
    torch.manual_seed(0)
    assert torch.equal(collator(features)["input_ids"], third)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask_probability": 0.0}, "mask_probability must be in"),
        ({"mask_probability": 1.5}, "got 1.5"),
        ({"replace_probability": -0.1}, "replace_probability must be in"),
        ({"replace_probability": 0.8, "random_probability": 0.3}, "must not sum to more than 1"),
    ],
)
def test_wrong_shares_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        DataCollatorForCodecMaskedLM(**arguments)


def test_classification_batches_carry_indices_or_multi_hot_rows():
    collator = DataCollatorForCodecClassification()
    batch = collator([{"input_ids": sequence(3), "labels": 1}, {"input_ids": sequence(4), "labels": 0}])
    assert batch["labels"].tolist() == [1, 0] and batch["labels"].dtype == torch.int64
    batch = collator([{"input_ids": sequence(3), "labels": [1.0, 0.0, 1.0]}])
    assert batch["labels"].tolist() == [[1.0, 0.0, 1.0]]
    assert "labels" not in collator([{"input_ids": sequence(3)}])
