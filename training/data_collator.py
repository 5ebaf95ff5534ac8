"""Batches of codec ids: dynamic padding, and the masking of masked-language modelling (paper section 3.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

BOA_TOKEN_ID, PAD_TOKEN_ID, EOA_TOKEN_ID = 0, 1, 2
CODE_OFFSET = 3
"""Id of code 0: the three ids below it are special."""
IGNORE_INDEX = -100
"""Label of positions that the cross-entropy leaves out."""


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


@dataclass
class DataCollatorForCodecClassification:
    """Pad `input_ids` and stack `labels`: class indices, or multi-hot vectors as floats.

    Args:
        pad_token_id (`int`, defaults to 1): Id of PAD.
        pad_to_multiple_of (`int`, defaults to 1): Round the common length up to a multiple of this.
    """

    pad_token_id: int = PAD_TOKEN_ID
    pad_to_multiple_of: int = 1

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = pad_input_ids([f["input_ids"] for f in features], self.pad_token_id, self.pad_to_multiple_of)
        if "labels" in features[0]:
            batch["labels"] = torch.stack([torch.as_tensor(f["labels"]) for f in features])
        return batch


@dataclass
class DataCollatorForCodecMaskedLM:
    """Pad `input_ids` and hide a share of the code positions of each sequence (paper section 3.2).

    Of each sequence exactly `round(mask_probability * number of codes)` positions are chosen, at least one where there
    is a code at all. Of the chosen, `replace_probability` become `<MASK>`, `random_probability` a random code, and the
    rest stay. BOA, PAD and EOA are never chosen, and no special id is ever put in by chance.

    Args:
        mask_probability (`float`, defaults to 0.25): Share of the code positions to predict, in (0, 1].
        replace_probability (`float`, defaults to 0.8): Share of the chosen positions that become `<MASK>`.
        random_probability (`float`, defaults to 0.1): Share of the chosen positions that become a random code.
        codebook_size (`int`, defaults to 1024): Codes occupy ids 3 to `codebook_size + 2`.
        mask_token_id (`int`, defaults to 1027): Id of `<MASK>`.
        pad_token_id (`int`, defaults to 1): Id of PAD.
        pad_to_multiple_of (`int`, defaults to 1): Round the common length up to a multiple of this.
        seed (`int`, *optional*): Draw from a generator of the collator's own; by default from torch's global one,
            which the Trainer seeds, restores on resume, and which differs from worker to worker.

    Raises:
        ValueError: If a share is outside its range, or the last two sum to more than 1.
    """

    mask_probability: float = 0.25
    replace_probability: float = 0.8
    random_probability: float = 0.1
    codebook_size: int = 1024
    mask_token_id: int = 1027
    pad_token_id: int = PAD_TOKEN_ID
    pad_to_multiple_of: int = 1
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
        self._generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        batch = pad_input_ids([f["input_ids"] for f in features], self.pad_token_id, self.pad_to_multiple_of)
        batch["input_ids"], batch["labels"] = self.mask(batch["input_ids"])
        return batch

    def mask(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide a share of each row.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): Padded ids; left as they are.

        Returns:
            `tuple`: The ids with the chosen positions hidden, and the labels: the original id at chosen positions,
            -100 elsewhere. Both of shape `(batch_size, sequence_length)`.
        """
        is_code = (input_ids >= CODE_OFFSET) & (input_ids < CODE_OFFSET + self.codebook_size)
        num_codes = is_code.sum(dim=1)
        num_chosen = (num_codes.double() * self.mask_probability).round().long().clamp(min=1).minimum(num_codes)
        # Ranks of random keys: the `num_chosen` smallest of a row are a uniform draw without repetition.
        keys = torch.rand(input_ids.shape, generator=self._generator).masked_fill(~is_code, 2.0)
        ranks = keys.argsort(dim=1).argsort(dim=1)
        chosen = ranks < num_chosen[:, None]

        fate = torch.rand(input_ids.shape, generator=self._generator)
        random_ids = torch.randint(
            CODE_OFFSET, CODE_OFFSET + self.codebook_size, input_ids.shape, generator=self._generator
        )
        becomes_mask = chosen & (fate < self.replace_probability)
        becomes_random = chosen & ~becomes_mask & (fate < self.replace_probability + self.random_probability)
        hidden = torch.where(becomes_mask, self.mask_token_id, torch.where(becomes_random, random_ids, input_ids))
        return hidden, torch.where(chosen, input_ids, IGNORE_INDEX)
