"""What a pre-training on audio reads: clips that were listed before, or a stream of them."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import PartialState
from datasets import get_dataset_split_names

from audioformer.data.audio import AudioClips, ReadingSettings, list_audio_clips
from audioformer.data.audio.stream import CropStream
from audioformer.data.listing import Listing, clips_of_splits, clips_without_audio, sorted_labels
from audioformer.data.readers.streams import is_tar_source, read_stream
from audioformer.data.shards import ClipShards, shards_of_listing

from ..arguments import DataArguments
from ..clip_splits import TRAIN, open_clip_splits
from ..examples.audio import AudioExamples, reading_settings
from ..examples.listings import open_listing
from ..examples.streams import StreamedExamples
from ..families import Settings
from ..processes import on_main_process
from ..run_data import RecordedClips, check_stream_data
from .held_out import describe_held_out

BLOCK_SIZE = 512
"""Clips of a stream that are shuffled together, where `shuffle_buffer_size` does not say it."""

MAX_HELD_OUT_CLIPS = 2000
"""Most clips of held-out shards, which are measured in every evaluation and kept in memory as they are stored."""

CLIPS_PER_SHARD, SHARDS_OF_LISTING = 64, 256
"""Most clips of a shard of a listed source, and how many shards a small one has as far as it can."""


@dataclass(frozen=True)
class PretrainingExamples:
    """The examples of a run, and what its results say about them.

    Args:
        train ([`AudioExamples`] or [`StreamedExamples`]): What is trained on.
        held_out ([`AudioExamples`], *optional*): What selects the checkpoint.
        facts (`dict`): For the results: `train_clips`, or `stream` with the name and the numbers of shards; and
            `held_out_clips` and `held_out_grouped` where clips are held out.
    """

    train: AudioExamples | StreamedExamples
    held_out: AudioExamples | None
    facts: dict[str, Any]


def open_examples(settings: Settings, extractor: Any, *, is_drawn: bool) -> PretrainingExamples:
    """Open the data of a pre-training run, as a whole or as a stream.

    Args:
        settings (`Settings`): Settings of the command `pretrain`.
        extractor: The feature extractor of the run.
        is_drawn (`bool`): Whether items have a `draw_seed`.

    Raises:
        ValueError: If the data cannot be used, or a resumed run was begun with others.
    """
    data, training, rate = settings.data, settings.training, extractor.sampling_rate
    hold_out = training.eval_strategy != "no"
    options: dict[str, Any] = {
        "augmentation": data.augmentation,
        "num_copies": data.augment_copies,
        "max_length_s": data.max_length_s,
        "is_drawn": is_drawn,
        "seed": training.seed,
    }
    held_out: AudioClips | None
    train: AudioExamples | StreamedExamples
    if data.streaming:
        train, held_out, facts = _open_stream(settings, rate, options, hold_out=hold_out)
    else:
        splits = open_clip_splits(settings, extractor, hold_out=hold_out)
        train, held_out = AudioExamples(splits.train, rate, labels=False, **options), splits.held_out
        facts = {"train_clips": len(splits.train), **describe_held_out(splits)}
    if held_out is None:
        return PretrainingExamples(train, None, facts)
    examples = AudioExamples(held_out, rate, labels=False, is_drawn=is_drawn, seed=training.seed)
    return PretrainingExamples(train, examples, facts)


def clips_in_words(results: Mapping[str, Any]) -> str:
    """What a model was pre-trained on, for its card."""
    stream = results.get("stream")
    if stream is None:
        return f"{results['train_clips']:,} clips"
    steps, batch_size = results["training"]["steps"], results["training"]["batch_size"]
    crops = f"{steps * batch_size:,} clips" if isinstance(batch_size, int) else "clips"
    return f"{crops} streamed from {stream['shards']:,} shards of {stream['source']}"


def _open_stream(
    settings: Settings, rate: int, options: Mapping[str, Any], *, hold_out: bool
) -> tuple[StreamedExamples, AudioClips | None, dict[str, Any]]:
    data, training, state = settings.data, settings.training, PartialState()
    shards = open_shards(settings)
    numbers, held_out_numbers = hold_out_shards(shards, data.held_out_share if hold_out else 0, training.seed)
    reading, block_size = reading_settings(settings), training.shuffle_buffer_size or BLOCK_SIZE
    order_seed = training.seed if training.data_seed is None else training.data_seed
    stream = CropStream(
        shards,
        numbers.tolist(),
        rate,
        reading,
        block_size=block_size,
        max_rejected_share=data.max_rejected_share,
        seed=order_seed,
    )
    examples = StreamedExamples(
        stream,
        process_index=state.process_index,
        num_processes=state.num_processes,
        num_workers=training.dataloader_num_workers,
        **options,
    )
    held_out = None
    if len(held_out_numbers):
        listing = _listing_of(shards, data, held_out_numbers)
        is_main = state.is_main_process
        held_out = list_audio_clips(listing, reading, data.max_rejected_share, progress=is_main)
    facts = {"source": shards.name, "shards": len(numbers), "held_out_shards": len(held_out_numbers)}
    if state.is_main_process:
        clips = "" if held_out is None else f"; {len(held_out_numbers):,} held out, {len(held_out):,} clips"
        print(f"streaming: {shards.name} ({shards.layout}), {len(numbers):,} shards{clips}")
    digest = _digest(shards, numbers, reading, block_size, order_seed)
    recorded = RecordedClips(source=f"{shards.name}, shards", num_clips=len(numbers), digest=digest)
    on_main_process(lambda: check_stream_data(training, recorded, held_out, data.describe_copies()))
    clips_held_out = {} if held_out is None else {"held_out_clips": len(held_out)}
    return examples, held_out, {"stream": facts, **clips_held_out}


def open_shards(settings: Settings) -> ClipShards:
    """Open `data` shard by shard: only the training part of data with splits, unless `train_split` names others.

    Raises:
        ValueError: If there is no `data`, or it cannot be read or lacks a split.
    """
    data = settings.data
    if data.data is None:
        raise ValueError("`data` must be given: tar files, a folder, a manifest, or a data set.")
    if is_tar_source(data.data):
        return read_stream(data.data, data.audio_column, data.label_column, data.train_split)
    path = Path(data.data)
    if not path.exists() or (data.layout in ("auto", "datasets") and path.is_dir() and any(path.rglob("*.parquet"))):
        return _open_dataset(data)
    listing = open_listing(settings, data.data)
    splits = data.train_split
    if splits is None and any(clip.split is not None for clip in clips_without_audio(listing)):
        splits = [TRAIN]
    if splits is not None:
        listing = clips_of_splits(listing, splits)
    return shards_of_listing(listing, max(1, min(CLIPS_PER_SHARD, len(listing.clips) // SHARDS_OF_LISTING)))


def _open_dataset(data: DataArguments) -> ClipShards:
    """A data set on the Hub, or its Parquet files in a folder."""
    columns = (str(data.data), data.audio_column, data.label_column)
    if data.train_split is not None:
        return read_stream(*columns, data.train_split)
    splits = get_dataset_split_names(str(data.data))
    return read_stream(*columns, [TRAIN] if TRAIN in splits else None)


def hold_out_shards(shards: ClipShards, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose shards at random to hold out, whole: neighbouring clips may be of one recording.

    Args:
        shards ([`ClipShards`]): The data.
        share (`float`): Share of the shards to hold out; at least one is, unless the share is 0.
        seed (`int`): Seed of the choice.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Numbers of the shards to train on, and of those to hold out.

    Raises:
        ValueError: If no shard would be left.
    """
    count = max(1, round(share * shards.num_shards)) if share else 0
    if count >= shards.num_shards:
        raise ValueError(
            f"`held_out_share` {share:g} holds out {count} of {shards.num_shards} shards, and none is left to train "
            "on: give data in more shards, or `eval_strategy` 'no'."
        )
    order = np.random.default_rng(seed).permutation(shards.num_shards)
    return np.sort(order[count:]), np.sort(order[:count])


def _listing_of(shards: ClipShards, data: DataArguments, numbers: np.ndarray) -> Listing:
    """The clips of some shards, as they are stored."""
    every = (clip for number in numbers for clip in shards.open_shard(int(number)))
    clips = list(islice(every, MAX_HELD_OUT_CLIPS))
    return Listing(
        name=shards.name,
        layout=shards.layout,
        source=str(data.data),
        clips=clips,
        labels=shards.labels or sorted_labels(clips),
        multi_label=shards.multi_label,
    )


def _digest(shards: ClipShards, numbers: np.ndarray, reading: ReadingSettings, block_size: int, seed: int) -> str:
    """SHA-256 of everything that the order of a stream depends on, beside the number of its readers."""
    parts = [shards.fingerprint, numbers.tolist(), repr(reading), block_size, seed]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
