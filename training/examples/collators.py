"""Batches of codec ids: dynamic or no padding, and the masking of masked-language modelling (paper section 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from audioformer.feature_extraction.token_ids import CODE_OFFSET, PAD_TOKEN_ID

IGNORE_INDEX = -100
"""Label of positions that the cross-entropy leaves out."""
MASKING = 1
"""Sets the random numbers of the masking apart from those of the crop, which follow from the same `draw_seed`."""


def pad_input_ids(
    sequences: Sequence[Sequence[int] | torch.Tensor], pad_token_id: int = PAD_TOKEN_ID, pad_to_multiple_of: int = 1
) -> dict[str, torch.Tensor]:
    """Pad unequal sequences of ids to the longest of them.

    Args:
        sequences (sequence of 1-D ids): Each `[BOA, ids, EOA]`.
        pad_token_id (`int`, defaults to 1): Never 0, which is BOA.
        pad_to_multiple_of (`int`, defaults to 1): Round the common length up to a multiple of this.

    Returns:
        `dict`: `input_ids` and `attention_mask`, both int64 of shape `(batch_size, sequence_length)`.
    """
    longest = max(len(sequence) for sequence in sequences)
    length = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
    input_ids = torch.full((len(sequences), length), pad_token_id)
    attention_mask = torch.zeros_like(input_ids)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = torch.as_tensor(sequence)
        attention_mask[row, : len(sequence)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def pack_input_ids(sequences: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Join sequences of ids end to end, without padding, as flash attention takes them.

    Args:
        sequences (sequence of `torch.LongTensor` of shape `(length,)`): Each `[BOA, ids, EOA]`.

    Returns:
        `dict`: `input_ids` and `position_ids` (0, 1, 2, ... anew in each sequence), int64 of shape `(1, total)`;
        `cu_seq_lens_q` and `cu_seq_lens_k`, the same limits 0, ..., total, int32 of shape `(num_sequences + 1,)`;
        `max_length_q` and `max_length_k`, the longest length.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    limits = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).to(torch.int32)
    longest = int(lengths.max())
    return {
        "input_ids": torch.cat([torch.as_tensor(sequence) for sequence in sequences])[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        "cu_seq_lens_q": limits,
        "cu_seq_lens_k": limits,
        "max_length_q": longest,
        "max_length_k": longest,
    }


@dataclass
class DataCollatorForCodecClassification:
    """Batches of `input_ids` with `labels`, and with what FT2 needs besides.

    The batch has `labels` (class indices, or multi-hot vectors), `positives` of shape `(batch_size, N - 1,
    hidden_size)` and `positive_input_ids` of shape `(batch_size, N - 1, sequence_length)` where the items have them.

    Args:
        pad_token_id (`int`, defaults to 1): Id of PAD.
        pad_to_multiple_of (`int`, defaults to 1): Round the common length up to a multiple of this.
        flatten (`bool`, defaults to `False`): Join the clips without padding, see [`pack_input_ids`].
    """

    pad_token_id: int = PAD_TOKEN_ID
    pad_to_multiple_of: int = 1
    packed: bool = False

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ids = [feature["input_ids"] for feature in features]
        batch: dict[str, Any] = (
            pack_input_ids(ids) if self.packed else pad_input_ids(ids, self.pad_token_id, self.pad_to_multiple_of)
        )
        if "positive_input_ids" in features[0]:
            rows = [row for feature in features for row in feature["positive_input_ids"]]
            padded = pad_input_ids(rows, self.pad_token_id, self.pad_to_multiple_of)["input_ids"]
            batch["positive_input_ids"] = padded.unflatten(0, (len(features), -1))
        for name in ("labels", "positives"):
            if name in features[0]:
                batch[name] = torch.stack([torch.as_tensor(feature[name]) for feature in features])
        return batch


@dataclass
class DataCollatorForCodecMaskedLM:
    """Pad `input_ids` and hide a share of the code positions of each sequence (paper section 3.2).

    Of each sequence exactly `round(mask_probability * number of codes)` positions are chosen, at least one where there
    is a code at all. Of the chosen, `replace_probability` become `<MASK>`, `random_probability` a random code, and the
    rest stay. BOA, PAD and EOA are never chosen, and no special id is ever put in by chance.

    Items with a `draw_seed` (those of [`CodeExamples`]) are hidden as that number says, whatever batch, worker or
    process they are in; other items from one stream of random numbers.

    Args:
        mask_probability (`float`, defaults to 0.25): Share of the code positions to predict, in (0, 1].
        replace_probability (`float`, defaults to 0.8): Share of the chosen positions that become `<MASK>`.
        random_probability (`float`, defaults to 0.1): Share of the chosen positions that become a random code.
        mask_span_length (`int`, defaults to 1): Choose stretches of so many neighbouring codes, not single ones.
            The share stays exact: the last stretch is cut. A stretch has one fate.
        crop_frames (`int`, *optional*): Longest stretch of codes that is kept of a sequence, at a random place,
            between its own BOA and EOA.
        codebook_size (`int`, defaults to 1024): Codes occupy ids 3 to `codebook_size + 2`.
        mask_token_id (`int`, defaults to 1027): Id of `<MASK>`.
        pad_token_id (`int`, defaults to 1): Id of PAD.
        pad_to_multiple_of (`int`, defaults to 1): Round the common length up to a multiple of this.
        flatten (`bool`, defaults to `False`): Join the clips without padding, see [`pack_input_ids`]; `labels` then
            have the shape `(1, total)`.
        seed (`int`, *optional*): Of the stream for items without `draw_seed`; by default torch's global generator,
            which the Trainer seeds, restores on resume, and which differs from worker to worker.

    Raises:
        ValueError: If a share is outside its range, the last two sum to more than 1, or a length is below 1.
    """

    mask_probability: float = 0.25
    replace_probability: float = 0.8
    random_probability: float = 0.1
    mask_span_length: int = 1
    crop_frames: int | None = None
    codebook_size: int = 1024
    mask_token_id: int = 1027
    pad_token_id: int = PAD_TOKEN_ID
    pad_to_multiple_of: int = 1
    packed: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability <= 1:
            raise ValueError(f"mask_probability must be in (0, 1], got {self.mask_probability}")
        shares = {"replace_probability": self.replace_probability, "random_probability": self.random_probability}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {share}")
        if sum(shares.values()) > 1 + 1e-9:
            raise ValueError(f"replace_probability and random_probability must not sum to more than 1, got {shares}")
        for name in ("mask_span_length", "crop_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self._generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        hidden, labels = zip(*map(self._hide, features), strict=True)
        if self.packed:
            return {**pack_input_ids(hidden), "labels": torch.cat(labels)[None]}
        batch = pad_input_ids(hidden, self.pad_token_id, self.pad_to_multiple_of)
        batch["labels"] = torch.full_like(batch["input_ids"], IGNORE_INDEX)
        for row, row_labels in enumerate(labels):
            batch["labels"][row, : len(row_labels)] = row_labels
        return batch

    def mask(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide a share of each row, with numbers from the collator's stream.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): Padded ids; left as they are.

        Returns:
            `tuple`: The ids with the chosen positions hidden, and the labels: the original id at chosen positions,
            -100 elsewhere. Both of shape `(batch_size, sequence_length)`.
        """
        rows = [self._mask_row(row.numpy(), self._rng()) for row in input_ids]
        hidden, labels = (torch.from_numpy(np.stack(part)) for part in zip(*rows, strict=True))
        return hidden, labels

    def _hide(self, feature: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng([MASKING, feature["draw_seed"]]) if "draw_seed" in feature else self._rng()
        ids = np.asarray(feature["input_ids"], dtype=np.int64)
        if self.crop_frames is not None and len(ids) - 2 > self.crop_frames:
            start = 1 + int(rng.integers(len(ids) - 2 - self.crop_frames + 1))
            ids = np.concatenate([ids[:1], ids[start : start + self.crop_frames], ids[-1:]])
        hidden, labels = self._mask_row(ids, rng)
        return torch.from_numpy(hidden), torch.from_numpy(labels)

    def _rng(self) -> np.random.Generator:
        return np.random.default_rng(int(torch.randint(2**62, (), generator=self._generator)))

    def _mask_row(self, ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        positions = np.flatnonzero((ids >= CODE_OFFSET) & (ids < CODE_OFFSET + self.codebook_size))
        hidden, labels = ids.copy(), np.full_like(ids, IGNORE_INDEX)
        if not len(positions):
            return hidden, labels
        num_chosen = min(max(1, round(len(positions) * self.mask_probability)), len(positions))
        # Stretches tile the codes from a random offset; whole ones are taken in random order, and the last is cut.
        span = min(self.mask_span_length, len(positions))
        spans = (np.arange(len(positions)) + int(rng.integers(span))) // span
        order = rng.permutation(spans[-1] + 1)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        chosen = np.argsort(rank[spans], kind="stable")[:num_chosen]
        fate = rng.random(len(order))[spans[chosen]]
        chosen = positions[chosen]
        labels[chosen] = ids[chosen]
        becomes_random = chosen[
            (fate >= self.replace_probability) & (fate < self.replace_probability + self.random_probability)
        ]
        hidden[chosen[fate < self.replace_probability]] = self.mask_token_id
        hidden[becomes_random] = rng.integers(CODE_OFFSET, CODE_OFFSET + self.codebook_size, len(becomes_random))
        return hidden, labels
