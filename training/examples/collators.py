"""Batches of code ids, padded or packed, and the masking of masked language modeling (paper section 3.2)."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import get_worker_info

from audioformer.feature_extraction.token_ids import CODE_OFFSET, PAD_TOKEN_ID

IGNORE_INDEX = -100
"""Label of positions that the cross-entropy ignores."""
MASKING = 1
"""Separates the random numbers of masking from those of cropping, which come from the same `draw_seed`."""


def pad_input_ids(
    sequences: Sequence[Sequence[int] | torch.Tensor], pad_token_id: int = PAD_TOKEN_ID, pad_to_multiple_of: int = 1
) -> dict[str, torch.Tensor]:
    """Pad sequences of ids to the length of the longest.

    Args:
        sequences (sequence of `torch.LongTensor` of shape `(sequence_length,)`): Sequences `[BOA, ids, EOA]`, or of
            shape `(sequence_length, num_codebooks)` for several codebooks.
        pad_token_id (`int`, *optional*, defaults to 1): Id of PAD. It is not 0, which is BOA.
        pad_to_multiple_of (`int`, *optional*, defaults to 1): Round the common length up to a multiple of this.

    Returns:
        `dict`: `input_ids` and `attention_mask`, both int64 of shape `(batch_size, sequence_length)`; `input_ids` of
        shape `(batch_size, sequence_length, num_codebooks)` for several codebooks.

    Raises:
        ValueError: If `pad_to_multiple_of` is below 1.
    """
    check_multiple(pad_to_multiple_of)
    longest = max(len(sequence) for sequence in sequences)
    length = -(-longest // pad_to_multiple_of) * pad_to_multiple_of
    input_ids = torch.full((len(sequences), length, *np.shape(sequences[0])[1:]), pad_token_id)
    attention_mask = torch.zeros(len(sequences), length, dtype=torch.int64)
    for row, sequence in enumerate(sequences):
        input_ids[row, : len(sequence)] = torch.as_tensor(sequence)
        attention_mask[row, : len(sequence)] = 1
    return {"input_ids": input_ids, "attention_mask": attention_mask}


def check_multiple(pad_to_multiple_of: int) -> None:
    """Raise `ValueError` for a `pad_to_multiple_of` below 1."""
    if pad_to_multiple_of < 1:
        raise ValueError(f"`pad_to_multiple_of` must be at least 1, got {pad_to_multiple_of}.")


def pack_input_ids(sequences: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Pack sequences of ids into one row without padding, in the form that flash attention takes.

    Args:
        sequences (sequence of `torch.LongTensor` of shape `(sequence_length,)`): Sequences `[BOA, ids, EOA]`, or of
            shape `(sequence_length, num_codebooks)` for several codebooks.

    Returns:
        `dict`: `input_ids` and `position_ids` (0, 1, 2, ... from the beginning of each sequence), int64 of shape
        `(1, sequence_length)`, or `(1, sequence_length, num_codebooks)` for the ids of several codebooks;
        `cu_seq_lens_q` and `cu_seq_lens_k`, the boundaries 0, ..., `sequence_length`, int32 of shape
        `(batch_size + 1,)`; `max_length_q` and `max_length_k`, the length of the longest.
    """
    lengths = torch.tensor([len(sequence) for sequence in sequences])
    boundaries = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)]).to(torch.int32)
    longest = int(lengths.max())
    return {
        "input_ids": torch.cat([torch.as_tensor(sequence) for sequence in sequences])[None],
        "position_ids": torch.cat([torch.arange(length) for length in lengths.tolist()])[None],
        "cu_seq_lens_q": boundaries,
        "cu_seq_lens_k": boundaries,
        "max_length_q": longest,
        "max_length_k": longest,
    }


@dataclass
class DataCollatorForCodecClassification:
    """Makes batches of `input_ids` and `labels`, and of what FT2 needs in addition.

    A batch has `labels` (class indices or multi-hot vectors), `positives` of shape `(batch_size, num_codebooks - 1,
    hidden_size)` and `positive_input_ids` of shape `(batch_size, num_codebooks - 1, sequence_length)` if the items
    have them.

    Args:
        pad_token_id (`int`, *optional*, defaults to 1): Id of PAD.
        pad_to_multiple_of (`int`, *optional*, defaults to 1): Round the common length up to a multiple of this.
        packed (`bool`, *optional*, defaults to `False`): Pack the clips without padding, see [`pack_input_ids`].

    Raises:
        ValueError: If `pad_to_multiple_of` is below 1.
    """

    pad_token_id: int = PAD_TOKEN_ID
    pad_to_multiple_of: int = 1
    packed: bool = False

    def __post_init__(self) -> None:
        check_multiple(self.pad_to_multiple_of)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        ids = [feature["input_ids"] for feature in features]
        batch: dict[str, Any] = (
            pack_input_ids(ids) if self.packed else pad_input_ids(ids, self.pad_token_id, self.pad_to_multiple_of)
        )
        if "positive_input_ids" in features[0]:
            codebooks = [codebook for feature in features for codebook in feature["positive_input_ids"]]
            padded = pad_input_ids(codebooks, self.pad_token_id, self.pad_to_multiple_of)["input_ids"]
            batch["positive_input_ids"] = padded.unflatten(0, (len(features), -1))
        for name in ("labels", "positives"):
            if name in features[0]:
                batch[name] = torch.stack([torch.as_tensor(feature[name]) for feature in features])
        return batch


@dataclass
class DataCollatorForCodecMaskedLM:
    """Pads or packs `input_ids` and hides a share of the codes of each sequence (paper section 3.2).

    Exactly `round(mask_probability * number of codes)` positions of each sequence are chosen, at least one if there is
    a code. Of these, a share of `replace_probability` become `<MASK>`, a share of `random_probability` become a random
    code, and the others stay. BOA, PAD and EOA are never chosen, and a random code is never a special id.

    Of several codebooks, whose items have ids of shape `(sequence_length, num_codebooks)`, whole frames are chosen,
    because the codes of a frame tell a lot about each other: all of them become `<MASK>`, or each a random code of its
    own, or all stay. Without `mask_whole_frames` the share is chosen in each codebook, regardless of the others.

    The `draw_seed` of an item (see [`CodeExamples`]) decides what is hidden, regardless of the batch, worker and
    process. For items without it, `seed`, the epoch of [`~DataCollatorForCodecMaskedLM.set_epoch`] and the ids of the
    item do. The trainers set the epoch; a loop of your own sets it as for a `DistributedSampler`. Until it is set, a
    pass over the data cannot be told from the next: random numbers then come from a stream that begins with `seed`, in
    workers of a `DataLoader` also with the seed that the loader gave to the worker, so that no two are the same.

    Args:
        mask_probability (`float`, *optional*, defaults to 0.25): Share of the codes to predict, in (0, 1].
        replace_probability (`float`, *optional*, defaults to 0.8): Share of the chosen positions that become `<MASK>`.
        random_probability (`float`, *optional*, defaults to 0.1): Share of the chosen positions that become a random
            code.
        mask_span_length (`int`, *optional*, defaults to 1): Choose spans of this many neighboring codes instead of
            single ones. The share stays exact: the last span is cut. All positions of a span are treated alike.
        mask_whole_frames (`bool`, *optional*, defaults to `True`): Of several codebooks, choose all codes of a frame
            or none. One codebook is not affected.
        crop_frames (`int`, *optional*): Crop longer sequences to this many codes at a random place, between BOA and
            EOA.
        codebook_size (`int`, *optional*, defaults to 1024): Codes have the ids 3 to `codebook_size + 2`.
        mask_token_id (`int`, *optional*, defaults to 1027): Id of `<MASK>`.
        pad_token_id (`int`, *optional*, defaults to 1): Id of PAD.
        pad_to_multiple_of (`int`, *optional*, defaults to 1): Round the common length up to a multiple of this.
        packed (`bool`, *optional*, defaults to `False`): Pack the clips without padding, see [`pack_input_ids`].
            `labels` then have the shape `(1, sequence_length)`; in any case that of `input_ids`.
        seed (`int`, *optional*): Seed of the random choices for items without `draw_seed`, at least 0. By default they
            use torch's global generator, which the Trainer seeds and restores on resume, and which differs between
            workers.

    Raises:
        ValueError: If a share is outside its range, the last two sum to more than 1, or a length is below 1.
    """

    mask_probability: float = 0.25
    replace_probability: float = 0.8
    random_probability: float = 0.1
    mask_span_length: int = 1
    mask_whole_frames: bool = True
    crop_frames: int | None = None
    codebook_size: int = 1024
    mask_token_id: int = 1027
    pad_token_id: int = PAD_TOKEN_ID
    pad_to_multiple_of: int = 1
    packed: bool = False
    seed: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.mask_probability <= 1:
            raise ValueError(f"`mask_probability` must be in (0, 1], got {self.mask_probability}.")
        shares = {"replace_probability": self.replace_probability, "random_probability": self.random_probability}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {share}.")
        if sum(shares.values()) > 1 + 1e-9:
            raise ValueError(
                f"`replace_probability` and `random_probability` must not sum to more than 1, got {shares}."
            )
        for name in ("mask_span_length", "crop_frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        check_multiple(self.pad_to_multiple_of)
        if self.seed is not None and self.seed < 0:
            raise ValueError(f"`seed` must be at least 0, got {self.seed}.")
        self._generator = None if self.seed is None else torch.Generator().manual_seed(self.seed)
        self._worker_seed: int | None = None
        # In shared memory, for workers that live on through the epochs; below 0 until it is set.
        self._epoch = torch.full((), -1, dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Make the choices of an epoch from now on, for items without `draw_seed` if there is a `seed`."""
        self._epoch.fill_(epoch)

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        hidden, labels = zip(*map(self._hide, features), strict=True)
        if self.packed:
            return {**pack_input_ids(hidden), "labels": torch.cat(labels)[None]}
        batch = pad_input_ids(hidden, self.pad_token_id, self.pad_to_multiple_of)
        batch["labels"] = torch.full_like(batch["input_ids"], IGNORE_INDEX)
        for index, clip_labels in enumerate(labels):
            batch["labels"][index, : len(clip_labels)] = clip_labels
        return batch

    def mask(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Hide a share of each sequence, with random numbers from the collator's stream.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`): Padded ids, or of shape
                `(batch_size, sequence_length, num_codebooks)`. They are not modified.

        Returns:
            `tuple`: The ids with the chosen positions hidden, and the labels, which are the original ids at the chosen
            positions and -100 elsewhere. Both have the shape of `input_ids`.
        """
        masked = [self._mask(ids.numpy(), self._next_rng()) for ids in input_ids]
        hidden, labels = (torch.from_numpy(np.stack(part)) for part in zip(*masked, strict=True))
        return hidden, labels

    def _hide(self, feature: Mapping[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        ids = np.asarray(feature["input_ids"], dtype=np.int64)
        rng = self._rng(ids, feature.get("draw_seed"))
        if self.crop_frames is not None and len(ids) - 2 > self.crop_frames:
            start = 1 + int(rng.integers(len(ids) - 2 - self.crop_frames + 1))
            ids = np.concatenate([ids[:1], ids[start : start + self.crop_frames], ids[-1:]])
        hidden, labels = self._mask(ids, rng)
        return torch.from_numpy(hidden), torch.from_numpy(labels)

    def _rng(self, ids: np.ndarray, draw_seed: int | None) -> np.random.Generator:
        """The random numbers of one item."""
        if draw_seed is None:
            epoch = int(self._epoch)
            if self.seed is None or epoch < 0:
                return self._next_rng()
            content = hashlib.blake2b(f"{self.seed} {epoch} ".encode() + ids.tobytes(), digest_size=8)
            draw_seed = int.from_bytes(content.digest(), "little")
        return np.random.default_rng([MASKING, draw_seed])

    def _next_rng(self) -> np.random.Generator:
        """The next random numbers of the collator's stream."""
        worker = get_worker_info()
        if self.seed is not None and worker is not None and worker.seed != self._worker_seed:
            # Each worker has a copy of the collator, whose stream would begin like that of all others, in each epoch.
            self._worker_seed = worker.seed
            mixed = np.random.default_rng([self.seed, worker.seed]).integers(2**63)
            self._generator = torch.Generator().manual_seed(int(mixed))
        return np.random.default_rng(int(torch.randint(2**62, (), generator=self._generator)))

    def _mask(self, ids: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        if ids.ndim == 2 and not self.mask_whole_frames:
            rows = [self._mask(row, rng) for row in ids.T]
            hidden, labels = (np.stack(part, axis=1) for part in zip(*rows, strict=True))
            return hidden, labels
        is_code = (ids >= CODE_OFFSET) & (ids < CODE_OFFSET + self.codebook_size)
        positions = np.flatnonzero(is_code if ids.ndim == 1 else is_code.all(axis=1))
        hidden, labels = ids.copy(), np.full_like(ids, IGNORE_INDEX)
        if not len(positions):
            return hidden, labels
        num_chosen = min(max(1, round(len(positions) * self.mask_probability)), len(positions))
        # Spans tile the codes from a random offset. They are chosen in random order, and the last one is cut.
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
        shape = (len(becomes_random), *ids.shape[1:])
        hidden[becomes_random] = rng.integers(CODE_OFFSET, CODE_OFFSET + self.codebook_size, shape)
        return hidden, labels
