"""Encodes the clips of a shard into its files, going on where an earlier run was stopped."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.feature_extraction import AudioFormerFeatureExtractor

from ..audio.clip_reading import ReadClip
from ..shards import ClipShards
from .parquet_parts import Account, part_path, parts_of_shard, write_part
from .read_ahead import read_ahead
from .rejections import Rejections
from .settings import EncodingSettings


@dataclass
class _OpenPart:
    """What has been encoded since the last file was written."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[dict[str, str]] = field(default_factory=list)
    num_listed: int = 0


class ShardWriter:
    """Encodes shards, one at a time.

    Args:
        shards (`ClipShards`): What there is to encode.
        extractor (`AudioFormerFeatureExtractor`): Encodes all rows that are kept.
        settings (`EncodingSettings`): Lengths, windows and sizes.
        folder (`Path`): Where the files go.
        codec (`dict`): What files say about the codec.
        pool (`concurrent.futures.Executor`): Threads that read.
        batch_size (`int`): Clips that are encoded in one call.
        on_progress (function): Told how many listed clips were done.
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
        self.rejections = Rejections(settings.max_rejected_share, shards.num_clips, folder)

    def write(self, shard: int) -> None:
        """Write the parts of a shard that are not there."""
        part, num_listed, is_last = 0, 0, False
        for _, account in parts_of_shard(self.folder, shard):
            part, num_listed, is_last = part + 1, num_listed + account.num_listed, account.is_last
            self.rejections.add(account.rejected, account.num_listed)
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
            # A shard without clips, or without any behind what was written before.
            self._close(shard, part, opened, True)

    def _close(self, shard: int, part: int, opened: _OpenPart, is_last: bool) -> None:
        account = Account(opened.num_listed, is_last, self.codec, rejected=opened.rejected)
        write_part(part_path(self.folder, shard, part, is_empty=not opened.rows), opened.rows, account)
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
        # The windows of a file are no independent clips.
        "group": listed.id if clip.is_window and listed.group is None else listed.group,
        "duration_s": clip.duration_s,
        "sampling_rate": clip.sampling_rate,
    }
