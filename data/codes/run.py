"""Encodes shards on any number of processes, and completes the folder once all shards are there."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import accepted_fingerprints, codec_fingerprint, is_encodec_package_model
from audioformer.files import CODES_MANIFEST, ENCODING_SETTINGS, write_whole

from ..shards import ClipShards
from .finish import finish_folder, missing_shards
from .parquet_parts import all_parts
from .settings import EncodingSettings
from .shard_writer import ShardWriter


def process_of_job() -> tuple[int, int]:
    """Return the index of this process and the number of processes, as set by `accelerate launch` or `torchrun`.

    There is no process group: the processes never communicate, so each may end hours before the others, be killed, or
    be restarted alone.
    """
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


def encode_shards(
    shards: ClipShards,
    extractor: AudioFormerFeatureExtractor,
    folder: Path,
    settings: EncodingSettings,
    *,
    num_workers: int | None = None,
    batch_size: int | None = None,
    progress: bool = True,
) -> int:
    """Encode the shards of this process into `folder`, and complete the folder if no other process has shards left.

    Files are written under a temporary name and then renamed, and existing files are never written again: a run that
    is killed loses only the files that are open, and a second run on the same folder, even at the same time, makes the
    same files.

    Args:
        shards ([`ClipShards`]): What to encode.
        extractor (`AudioFormerFeatureExtractor`): Its codec encodes on its device; its own `codebooks` do not matter.
        folder (`Path`): Created if missing.
        settings ([`EncodingSettings`]): Lengths, windows and sizes.
        num_workers (`int`, *optional*): Threads that decode and resample; by default the cores of this machine divided
            by its processes, 8 at most.
        batch_size (`int`, *optional*): Clips per call of the codec; by default 16 on a CPU, 256 on a GPU.
        progress (`bool`, defaults to `True`): Whether the first process shows a progress bar.

    Returns:
        `int`: Number of shards that are missing; 0 once the folder is complete.

    Raises:
        ValueError: If the folder was started with other clips, another codec or other settings; if too many clips are
            unreadable (the message shows the first of them); or if the codec has fewer codebooks.
    """
    if (folder / CODES_MANIFEST).is_file():
        check_begun(shards, extractor, folder, settings)
        return 0
    rank, world_size = process_of_job()
    extractor = extractor.with_codebooks(list(range(settings.num_codebooks)))
    codec = describe_codec(extractor, settings.num_codebooks)
    check_begun(shards, extractor, folder, settings)
    if batch_size is None:
        batch_size = 16 if torch.device(extractor.device).type == "cpu" else 256
    if num_workers is None:
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        num_workers = min(8, max(1, len(os.sched_getaffinity(0)) // local_processes))
    bar = tqdm(total=shards.num_clips, desc="encoding", unit="clip", disable=not (progress and rank == 0))

    def advance(num_clips: int) -> None:
        # The other processes have made about the same progress.
        step = num_clips * world_size
        bar.update(step if bar.total is None else min(step, bar.total - bar.n))

    with bar, ThreadPoolExecutor(num_workers) as pool:
        writer = ShardWriter(shards, extractor, settings, folder, codec, pool, batch_size, advance)
        for shard in range(rank, shards.num_shards, world_size):
            writer.write(shard)
    return finish_if_whole(shards, folder, settings)


def finish_if_whole(shards: ClipShards, folder: Path, settings: EncodingSettings) -> int:
    """Complete a folder if all its shards are there, whichever process wrote them.

    Returns:
        `int`: Number of shards that are missing.
    """
    if (folder / CODES_MANIFEST).is_file():
        return 0
    missing = missing_shards(folder, shards.num_shards)
    if not missing:
        finish_folder(shards, folder, settings)
    return len(missing)


def describe_codec(extractor: AudioFormerFeatureExtractor, num_codebooks: int) -> dict[str, Any]:
    """Describe where codes come from, for the footer of their files."""
    saved = extractor.to_dict()
    return {
        "codec": saved["codec"],
        "codec_revision": saved["codec_revision"],
        "codec_backend": "encodec" if is_encodec_package_model(extractor.codec) else "transformers",
        "codec_fingerprint": codec_fingerprint(extractor.codec),
        "num_codebooks": num_codebooks,
        "codebook_size": extractor.codebook_size,
        "sampling_rate": extractor.sampling_rate,
        "frame_rate": extractor.frame_rate,
    }


def check_begun(
    shards: ClipShards, extractor: AudioFormerFeatureExtractor, folder: Path, settings: EncodingSettings
) -> None:
    """Record what the encoding of a folder is started with, or compare it with what is recorded there.

    Raises:
        ValueError: If something differs, or the folder has codes but no such record.
    """
    own = {
        "clips": shards.fingerprint,
        "codec": codec_fingerprint(extractor.codec),
        **{name: value for name, value in settings.to_stored().items() if name != "max_rejected"},
    }
    file = folder / ENCODING_SETTINGS
    if not file.is_file():
        if folder.is_dir() and all_parts(folder):
            raise ValueError(
                f"{folder} holds codes of another origin ({ENCODING_SETTINGS} is missing): choose another folder."
            )
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(file, lambda path: path.write_text(json.dumps(own, indent=2) + "\n"))
    begun = json.loads(file.read_text())
    if begun.get("codec") in accepted_fingerprints(extractor.codec):
        own["codec"] = begun["codec"]
    changed = [
        f"{name} (then {begun.get(name)!r}, now {value!r})" for name, value in own.items() if begun.get(name) != value
    ]
    if changed:
        raise ValueError(f"{folder} was begun with other settings: {', '.join(changed)}. Choose another folder.")
