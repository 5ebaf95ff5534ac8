"""Codes of a data set on disk: encoded once, shard by shard, and read memory-mapped."""

import copy
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from accelerate import PartialState
from huggingface_hub import constants
from tqdm.auto import tqdm

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.training.data_collator import CODE_OFFSET

from .clip_reading import ReadClip, read_clip
from .encoded import MANIFEST, EncodedData, load_codes
from .listing import Listing, listing_fingerprint
from .report import DataReport

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "codes": pa.list_(pa.list_(pa.uint16())),
        "n_frames": pa.int32(),
        "labels": pa.list_(pa.string()),
        "split": pa.string(),
        "fold": pa.int32(),
        "group": pa.string(),
        "duration_s": pa.float64(),
        "sampling_rate": pa.int32(),
    }
)
BATCH_SIZE = 16
"""Clips that are encoded in one call."""


def default_cache_dir() -> Path:
    return Path(constants.HF_HOME) / "audioformer" / "codes"


def encode_listing(
    listing: Listing,
    extractor: AudioFormerFeatureExtractor,
    cache_dir: str | Path | None = None,
    *,
    num_codebooks: int = 4,
    max_length_s: float = 10.0,
    max_rejected: float = 0.01,
    clips_per_shard: int = 500,
    progress: bool = True,
) -> EncodedData:
    """Encode every clip of a data set, or open what was encoded before.

    Codes are kept in a folder of `cache_dir` whose name follows from the clips (names, files with their sizes and
    times, labels), the codec's weights and the settings: a change of any of them encodes anew. Shards are written
    under a temporary name and renamed, and finished ones are never made again, so that a killed run loses the open
    shard only. Several processes (`accelerate launch`) divide the shards; all must see `cache_dir`.

    A clip that cannot be read is left out, counted and reported with its reason.

    Args:
        listing (`Listing`): What to encode.
        extractor (`AudioFormerFeatureExtractor`): Its codec encodes; its `codebooks` don't matter.
        cache_dir (`str` or `Path`, *optional*): By default `audioformer/codes` in the Hugging Face home folder.
        num_codebooks (`int`, defaults to 4): Rows to keep, C1 to C4.
        max_length_s (`float`, defaults to 10.0): Seconds of a clip that are encoded.
        max_rejected (`float`, defaults to 0.01): Share of the clips that may be unreadable.
        clips_per_shard (`int`, defaults to 500): Clips a file.
        progress (`bool`, defaults to `True`): Whether to show a bar.

    Raises:
        ValueError: If more than `max_rejected` of the clips are unreadable (with the first of them; all are in
            `rejected.jsonl`), or the codec has fewer rows.
    """
    state = PartialState()
    extractor = copy.deepcopy(extractor)
    extractor.codebooks = list(range(num_codebooks))
    fingerprint = codec_fingerprint(extractor.codec)
    settings = {"codec": fingerprint, "num_codebooks": num_codebooks, "max_length_s": max_length_s}
    key = hashlib.sha256(
        f"{listing_fingerprint(listing)} {json.dumps(settings)} {clips_per_shard}".encode()
    ).hexdigest()
    folder = Path(cache_dir or default_cache_dir()) / f"{listing.name}-{key[:16]}"
    if not (folder / MANIFEST).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(listing.clips), clips_per_shard)
        writer = _ShardWriter(listing, extractor, folder, max_length_s, max_rejected)
        bar = tqdm(
            total=len(listing.clips), desc="encoding", unit="clip", disable=not (progress and state.is_main_process)
        )
        with bar:
            for number in range(len(starts))[state.process_index :: state.num_processes]:
                indices = range(starts[number], min(starts[number] + clips_per_shard, len(listing.clips)))
                writer.write(number, indices)
                # The other processes are about as far.
                bar.update(min(len(indices) * state.num_processes, bar.total - bar.n))
        state.wait_for_everyone()
        if state.is_main_process:
            _finish(listing, extractor, folder, settings, max_rejected)
    state.wait_for_everyone()
    return load_codes(folder)


def shard_name(number: int) -> str:
    return f"codes-{number:05d}.parquet"


def rejected_name(number: int) -> str:
    return f"rejected-{number:05d}.jsonl"


class _ShardWriter:
    """Encodes the clips of one shard at a time."""

    def __init__(
        self,
        listing: Listing,
        extractor: AudioFormerFeatureExtractor,
        folder: Path,
        max_length_s: float,
        max_rejected: float,
    ) -> None:
        self.listing, self.extractor, self.folder = listing, extractor, folder
        self.max_length_s = max_length_s
        self.allowed = max_rejected * len(listing.clips)
        self.rejected: list[dict[str, str]] = []

    def write(self, number: int, indices: range) -> None:
        """Write a shard, unless it is there."""
        file, rejected_file = self.folder / shard_name(number), self.folder / rejected_name(number)
        if file.is_file():
            self.rejected += read_rejected(rejected_file)
            check_rejected(self.rejected, self.allowed, len(self.listing.clips), self.folder)
            return
        rows: list[dict[str, Any]] = []
        rejected: list[dict[str, str]] = []
        for batch in self._read(indices):
            rejected += [clip.rejection for clip in batch if clip.rejection is not None]
            readable = [clip for clip in batch if clip.rejection is None]
            rows += self._encode(readable)
            check_rejected([*self.rejected, *rejected], self.allowed, len(self.listing.clips), self.folder)
        self.rejected += rejected
        # The list of what was rejected comes first: once the shard is there, so is its list.
        _replace(rejected_file, lambda path: path.write_text("".join(json.dumps(entry) + "\n" for entry in rejected)))
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        _replace(file, lambda path: pq.write_table(table, path, compression="zstd"))

    def _read(self, indices: range) -> Iterator[list[ReadClip]]:
        """Batches of decoded clips; the next are decoded while the last are encoded."""
        rate = self.extractor.sampling_rate
        batches = [indices[start : start + BATCH_SIZE] for start in range(0, len(indices), BATCH_SIZE)]

        def submit(pool: ThreadPoolExecutor, batch: range) -> list:
            return [pool.submit(read_clip, self.listing.clips[index], rate, self.max_length_s) for index in batch]

        with ThreadPoolExecutor(max_workers=2) as pool:
            waiting = submit(pool, batches[0])
            for following in [*batches[1:], None]:
                ready = waiting
                if following is not None:
                    waiting = submit(pool, following)
                yield [future.result() for future in ready]

    def _encode(self, clips: list[ReadClip]) -> list[dict[str, Any]]:
        if not clips:
            return []
        ids = self.extractor(
            [clip.waveform for clip in clips], sampling_rate=self.extractor.sampling_rate, padding=False
        )["input_ids"]
        rows = []
        for clip, clip_ids in zip(clips, ids, strict=True):
            codes = (np.asarray(clip_ids)[1:-1] - CODE_OFFSET).T.astype(np.uint16)
            listed = clip.listed
            rows.append(
                {
                    "id": listed.id,
                    "codes": list(codes),
                    "n_frames": codes.shape[1],
                    "labels": list(listed.labels),
                    "split": listed.split,
                    "fold": listed.fold,
                    "group": listed.group,
                    "duration_s": clip.duration_s,
                    "sampling_rate": clip.sampling_rate,
                }
            )
        return rows


def check_rejected(rejected: Sequence[dict[str, str]], allowed: float, num_clips: int, folder: Path) -> None:
    """Stop as soon as it is certain that too many clips are unreadable.

    Raises:
        ValueError: With the first twenty of them.
    """
    if len(rejected) <= allowed:
        return
    file = folder / "rejected.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in rejected))
    shown = "\n".join(f"  {entry['path']}: {entry['reason']}" for entry in rejected[:20])
    raise ValueError(
        f"{len(rejected)} of {num_clips} clips cannot be read, more than `max_rejected` ({allowed / num_clips:.1%}) "
        f"allows. The list so far is in {file}:\n{shown}"
    )


def read_rejected(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def _replace(file: Path, write: Any) -> None:
    """Write a file under a name of this process's own, and give it its name once it is whole."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    write(unfinished)
    os.replace(unfinished, file)


def _finish(
    listing: Listing,
    extractor: AudioFormerFeatureExtractor,
    folder: Path,
    settings: dict[str, Any],
    max_rejected: float,
) -> None:
    """Put all shards together: the report, and the file that says that the folder is whole."""
    rejected = [entry for file in sorted(folder.glob("rejected-*.jsonl")) for entry in read_rejected(file)]
    check_rejected(rejected, max_rejected * len(listing.clips), len(listing.clips), folder)
    columns = ["duration_s", "sampling_rate", "labels", "split"]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in sorted(folder.glob("codes-*.parquet"))])
    report = DataReport(
        source=listing.source,
        layout=listing.layout,
        listed=len(listing.clips) + len(listing.missing),
        found=len(table),
        missing=len(listing.missing),
        max_length_s=settings["max_length_s"],
        rejected=rejected,
    ).measure(*(table[name].to_pylist() for name in columns), all_labels=listing.labels)
    manifest = {
        "format": "audioformer codes 1",
        "source": listing.source,
        "codec_fingerprint": settings["codec"],
        "codec": extractor.to_dict()["codec"],
        "codec_revision": extractor.to_dict()["codec_revision"],
        "num_codebooks": settings["num_codebooks"],
        "codebook_size": extractor.codebook_size,
        "sampling_rate": extractor.sampling_rate,
        "frame_rate": extractor.codec.config.frame_rate,
        "labels": listing.labels,
        "label_ids": listing.label_ids,
        "multi_label": listing.multi_label,
        "missing": listing.missing,
        "report": asdict(report),
    }
    _replace(folder / MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=2) + "\n"))
