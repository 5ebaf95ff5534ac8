"""Padding and masking of codec ids."""

import numpy as np
import pytest
import torch
from accelerate import skip_first_batches
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.training.examples.codes import CodeExamples
from audioformer.training.examples.collators import (
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
        ({"mask_probability": 0.0}, "`mask_probability` must be in"),
        ({"mask_probability": 1.5}, "got 1.5"),
        ({"replace_probability": -0.1}, "`replace_probability` must be in"),
        ({"replace_probability": 0.8, "random_probability": 0.3}, "must not sum to more than 1"),
        ({"mask_span_length": 0}, "`mask_span_length` must be at least 1, got 0"),
        ({"crop_frames": 0}, "`crop_frames` must be at least 1, got 0"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
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


@pytest.mark.parametrize("span", [2, 5, 10])
def test_spans_are_whole_and_the_share_is_exact(span):
    collator = DataCollatorForCodecMaskedLM(mask_span_length=span, replace_probability=1.0, random_probability=0.0)
    for num_codes in (7, 75, 333):
        ids = collator([{"input_ids": sequence(num_codes), "draw_seed": num_codes}])["input_ids"][0]
        masked = (ids == 1027).int()
        assert masked.sum() == max(1, round(0.25 * num_codes))
        runs = "".join(map(str, masked.tolist())).split("0")
        short = [len(run) for run in runs if run and len(run) % span]
        # At most the first, the last and the one that was cut are no whole stretches.
        assert len(short) <= 3


def test_spans_have_one_fate():
    collator = DataCollatorForCodecMaskedLM(
        mask_probability=1.0, mask_span_length=4, replace_probability=0.5, random_probability=0.0
    )
    masked = collator([{"input_ids": sequence(400), "draw_seed": 3}])["input_ids"][0, 1:-1].eq(1027)
    changes = (masked[1:] != masked[:-1]).nonzero()[:, 0]
    assert len(changes) > 20 and len(set(((changes + 1) % 4).tolist())) == 1


def test_crops_keep_boa_and_eoa():
    collator = DataCollatorForCodecMaskedLM(crop_frames=20, replace_probability=0.0, random_probability=0.0)
    original = sequence(100)
    starts = set()
    for seed in range(30):
        ids = collator([{"input_ids": original, "draw_seed": seed}])["input_ids"][0].tolist()
        assert ids[0] == 0 and ids[-1] == 2 and len(ids) == 22
        starts.add(next(k for k in range(1, 82) if original[k : k + 20] == ids[1:-1]))
    assert len(starts) > 15


def test_masks_follow_from_the_draw_seed_alone():
    collator = DataCollatorForCodecMaskedLM()
    features = [{"input_ids": sequence(30 + seed, seed), "draw_seed": seed} for seed in range(6)]
    together = collator(features)
    assert "draw_seed" not in together
    for row, feature in enumerate(features):
        alone = collator([feature])
        length = len(feature["input_ids"])
        assert torch.equal(together["input_ids"][row, :length], alone["input_ids"][0])
        assert torch.equal(together["labels"][row, :length], alone["labels"][0])
    other = collator([{**features[0], "draw_seed": 99}])
    assert not torch.equal(other["labels"][0], together["labels"][0, :32])


def test_workers_make_the_same_batches():
    examples = CodeExamples([np.arange(20 + index) for index in range(12)], seed=5)
    batches = []
    for workers in (0, 2):
        loader = torch.utils.data.DataLoader(
            examples, 4, collate_fn=DataCollatorForCodecMaskedLM(), num_workers=workers
        )
        batches.append(list(loader))
    for first, second in zip(*batches, strict=True):
        assert all(torch.equal(first[name], second[name]) for name in first)


def test_each_epoch_has_its_masks_and_a_resumed_one_those_it_would_have_had():
    examples = CodeExamples([np.arange(60)] * 12, crop_frames=40, seed=6)
    loader = torch.utils.data.DataLoader(examples, 3, collate_fn=DataCollatorForCodecMaskedLM(mask_span_length=3))
    epochs = []
    for epoch in range(2):
        examples.set_epoch(epoch)
        epochs.append([batch["labels"] for batch in loader])
    assert not any(torch.equal(first, second) for first, second in zip(*epochs, strict=True))
    torch.manual_seed(77)
    resumed = [batch["labels"] for batch in skip_first_batches(loader, 2)]
    assert len(resumed) == 2
    assert all(torch.equal(first, second) for first, second in zip(resumed, epochs[1][2:], strict=True))


def test_joined_batches_hold_what_padded_ones_hold():
    features = [{"input_ids": sequence(10 + 7 * seed, seed), "draw_seed": seed} for seed in range(3)]
    padded = DataCollatorForCodecMaskedLM()(features)
    joined = DataCollatorForCodecMaskedLM(packed=True)(features)
    real = padded["attention_mask"].bool()
    assert torch.equal(joined["input_ids"][0], padded["input_ids"][real])
    assert torch.equal(joined["labels"][0], padded["labels"][real])
    assert joined["cu_seq_lens_q"].tolist() == [0, 12, 31, 57] and joined["max_length_q"] == 26
    assert joined["position_ids"][0].tolist() == [*range(12), *range(19), *range(26)]
    labelled = [{**feature, "labels": 1} for feature in features]
    assert DataCollatorForCodecClassification(packed=True)(labelled)["labels"].tolist() == [1, 1, 1]


def test_rows_of_the_teachers_are_padded_with_pad():
    features = [
        {"input_ids": torch.tensor([0, *[5] * n, 2]), "positive_input_ids": torch.full((2, n + 2), 7)} for n in (3, 1)
    ]
    batch = DataCollatorForCodecClassification()(features)
    assert batch["positive_input_ids"].tolist() == [[[7] * 5] * 2, [[7, 7, 7, 1, 1]] * 2]


class Plain(torch.utils.data.Dataset):
    """Clips without `draw_seed`, as other data sets hold them; two of them are short."""

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        return {"input_ids": sequence(40 if index > 1 else 9, index)}


def labels_by_clip(collator: DataCollatorForCodecMaskedLM, order: list[int], **options) -> dict[int, list[int]]:
    """Labels of each clip of [`Plain`] in one pass over the data in some order, without padding."""
    loader = torch.utils.data.DataLoader(Plain(), sampler=order, collate_fn=collator, **options)
    rows = [row for batch in loader for row in zip(batch["labels"], batch["attention_mask"], strict=True)]
    return {index: labels[mask.bool()].tolist() for index, (labels, mask) in zip(order, rows, strict=True)}


@settings(derandomize=True, deadline=None, max_examples=5)
@given(
    order=st.permutations(range(8)),
    batch_size=st.integers(1, 5),
    workers=st.sampled_from([0, 2, 3]),
    seed=st.integers(0, 2**63),
    epoch=st.integers(0, 100),
)
def test_masks_of_plain_items_follow_from_seed_epoch_and_item(order, batch_size, workers, seed, epoch):
    collator = DataCollatorForCodecMaskedLM(seed=seed)
    collator.set_epoch(epoch)
    found = labels_by_clip(collator, order, batch_size=batch_size, num_workers=workers)
    again = DataCollatorForCodecMaskedLM(seed=seed)
    again.set_epoch(epoch)
    assert found == labels_by_clip(again, list(range(8)), batch_size=8)
    again.set_epoch(epoch + 1)
    other = DataCollatorForCodecMaskedLM(seed=seed + 1)
    other.set_epoch(epoch)
    for changed in (again, other):
        labels = labels_by_clip(changed, list(range(8)), batch_size=8)
        assert all(labels[index] != found[index] for index in range(2, 8))


@pytest.mark.parametrize("persistent", [False, True])
def test_workers_that_live_on_hear_of_the_epoch_and_without_one_no_two_passes_are_alike(persistent):
    def passes(collator, told: bool):
        torch.manual_seed(0)
        loader = torch.utils.data.DataLoader(
            Plain(), 2, collate_fn=collator, num_workers=2, persistent_workers=persistent
        )
        found = []
        for epoch in (3, 4, 3):
            if told:
                collator.set_epoch(epoch)
            found.append([batch["labels"] for batch in loader])
        return found

    first, second, third = passes(DataCollatorForCodecMaskedLM(seed=0), True)
    assert all(torch.equal(one, other) for one, other in zip(first, third, strict=True))
    assert not any(torch.equal(one, other) for one, other in zip(first, second, strict=True))

    untold = passes(DataCollatorForCodecMaskedLM(seed=0), False)
    # Batches 2 and 3 hold clips of one length. A copied stream would choose the same positions in both workers.
    chosen = [labels != -100 for labels in [batch for one in untold for batch in one[1:]]]
    assert not any(torch.equal(a, b) for i, a in enumerate(chosen) for b in chosen[:i])
    again = passes(DataCollatorForCodecMaskedLM(seed=0), False)
    other = passes(DataCollatorForCodecMaskedLM(seed=1), False)
    assert all(torch.equal(a, b) for a, b in zip(sum(untold, []), sum(again, []), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(sum(untold, []), sum(other, []), strict=True))


@pytest.mark.parametrize("multiple", [0, -8])
def test_lengths_are_multiples_of_a_positive_number(multiple):
    for collator in (DataCollatorForCodecMaskedLM, DataCollatorForCodecClassification):
        with pytest.raises(ValueError, match=f"`pad_to_multiple_of` must be at least 1, got {multiple}"):
            collator(pad_to_multiple_of=multiple)
    with pytest.raises(ValueError, match="`pad_to_multiple_of`"):
        pad_input_ids([sequence(3)], pad_to_multiple_of=multiple)
