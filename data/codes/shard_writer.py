"""Encodes the clips of a shard into its files, continuing where an earlier run stopped."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.feature_extraction import AudioFormerFeatureExtractor

from ..audio.clip_reading import ReadClip
from ..rejections import Rejection, Rejections
from ..shards import ClipShards
from .parquet_parts import PartMetadata, part_origin, part_path, parts_of_shard, write_part
from .read_ahead import read_ahead
from .rejected_file import write_rejected
from .settings import EncodingSettings


@dataclass
class _OpenPart:
    """What was encoded since the last file was written."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    num_listed: int = 0


class ShardWriter:
    """Encodes shards, one at a time.

    Args:
        shards ([`ClipShards`]): What to encode.
        extractor (`AudioFormerFeatureExtractor`): Encodes all codebooks that are kept.
        settings ([`EncodingSettings`]): Lengths, windows and sizes.
        folder (`Path`): Where the files go.
        codec (`dict`): What the files say about the codec.
        pool (`concurrent.futures.Executor`): Threads that read audio.
        batch_size (`int`): Clips per call of the codec.
        on_progress (`Callable[[int], object]`): Called with the number of listed clips that were finished.
    """

    def __init__(
        self,
        shards: ClipShards,
        extractor: AudioFormerFeatureExtractor,
        settings: EncodingSettings,
        folder: Path,
        codec: dict[str, Any],
        pool: Executor,
        batch_size: int,
        on_progress: Callable[[int], object],
    ) -> None:
        self.shards, self.extractor, self.settings = shards, extractor, settings
        self.folder, self.codec, self.pool, self.batch_size = folder, codec, pool, batch_size
        self.on_progress = on_progress
        self.rejections = Rejections(settings.max_rejected_share, shards.num_clips, partial(write_rejected, folder))

    def write(self, shard: int) -> None:
        """Write the missing parts of a shard."""
        part, num_listed, is_last = 0, 0, False
        for _, metadata in parts_of_shard(self.folder, shard):
            part, num_listed, is_last = part + 1, num_listed + metadata.num_listed, metadata.is_last
            self.rejections.add(metadata.rejected, metadata.num_listed)
        self.on_progress(num_listed)
        if not is_last:
            self._encode_rest(shard, part, num_listed)

    def _encode_rest(self, shard: int, part: int, num_listed: int) -> None:
        clips = islice(self.shards.open_shard(shard), num_listed, None)
        opened, batch = _OpenPart(), []
        parts = read_ahead(clips, self.pool, 2 * self.batch_size, self.extractor.sampling_rate, self.settings)
        is_last = False
        for read in parts:
            for clip in read.clips:
                if clip.rejection is not None:
                    opened.rejected.append(clip.rejection)
                    continue
                batch.append(clip)
                if len(batch) == self.batch_size:
                    opened.rows += self._encode(batch)
                    batch = []
            if not read.is_whole:
                continue
            opened.num_listed += 1
            self.on_progress(1)
            is_last = read.is_last
            self.rejections.check(opened.rejected, opened.num_listed)
            if is_last or max(opened.num_listed, len(opened.rows) + len(batch)) >= self.settings.clips_per_shard:
                opened.rows += self._encode(batch)
                self._close(shard, part, opened, is_last)
                part, opened, batch = part + 1, _OpenPart(), []
        if not is_last:
            # The shard has no clips, or none after those that were written before.
            self._close(shard, part, opened, True)

    def _close(self, shard: int, part: int, opened: _OpenPart, is_last: bool) -> None:
        origin = part_origin(self.shards.fingerprint, shard, part)
        metadata = PartMetadata(opened.num_listed, is_last, self.codec, rejected=opened.rejected, origin=origin)
        write_part(part_path(self.folder, shard, part, is_empty=not opened.rows), opened.rows, metadata)
        self.rejections.add(opened.rejected, opened.num_listed)

    def _encode(self, clips: Sequence[ReadClip]) -> list[dict[str, Any]]:
        if not clips:
            return []
        codes = self.extractor.encode([clip.waveform for clip in clips], self.extractor.sampling_rate)
        return [_row(clip, clip_codes.T.astype(np.uint16)) for clip, clip_codes in zip(clips, codes, strict=True)]


def _row(clip: ReadClip, codes: np.ndarray) -> dict[str, Any]:
    listed = clip.listed
    return {
        "id": clip.id,
        "codes": codes,
        "n_frames": codes.shape[1],
        "labels": list(listed.labels),
        "split": listed.split,
        "fold": listed.fold,
        # Windows of one clip are not independent.
        "group": listed.id if clip.is_window and listed.group is None else listed.group,
        "duration_s": clip.duration_s,
        "sampling_rate": clip.sampling_rate,
    }
