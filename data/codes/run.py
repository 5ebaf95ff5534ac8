"""Encodes shards on any number of processes, and completes the folder once all shards are there."""

import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import is_encodec_package_model
from audioformer.feature_extraction.codes_fingerprint import accepted_codes_fingerprints, codes_fingerprint
from audioformer.feature_extraction.level import NORMALIZATION_SETTINGS
from audioformer.files import CODES_MANIFEST, ENCODING_SETTINGS, write_whole

from ..progress import hides_bars
from ..shards import ClipShards
from .encoded import has_no_windows
from .finish import finish_folder, missing_shards
from .integrity import FILES_KEY, find_damage, read_manifest
from .parquet_parts import all_parts
from .repair import remove_damaged, set_aside_beyond, set_aside_foreign
from .settings import COPY, GAIN, HOP, EncodingSettings
from .shard_writer import ShardWriter

logger = logging.getLogger(__name__)


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
    checksums: bool = False,
) -> int:
    """Encode the shards of this process into `folder`, and complete the folder if no other process has shards left.

    Files are written under a temporary name and then renamed, and existing files are never written again: a run that
    is killed loses only the files that are open, and a second run on the same folder, even at the same time, makes the
    same files. Files that are missing or damaged are encoded again, in a finished folder too; files that do not belong
    to the folder are renamed. All of it is logged.

    Args:
        shards ([`ClipShards`]): What to encode.
        extractor (`AudioFormerFeatureExtractor`): Its codec encodes on its device; its own `codebooks` do not matter.
        folder (`Path`): Created if missing.
        settings ([`EncodingSettings`]): Lengths, windows and sizes.
        num_workers (`int`, *optional*): Threads that decode and resample; by default the cores of this machine divided
            by its processes, 8 at most.
        batch_size (`int`, *optional*): Clips per call of the codec; by default 16 on a CPU, 256 on a GPU.
        progress (`bool`, defaults to `True`): Whether the first process shows a progress bar.
        checksums (`bool`, defaults to `False`): Whether every byte of the files that are there is checked, instead of
            their existence, sizes, numbers of rows, and footers.

    Returns:
        `int`: Number of shards that are missing; 0 once the folder is complete.

    Raises:
        ValueError: If the folder was started with other clips, another codec or other settings; if too many clips are
            unreadable (the message shows the first of them); or if the codec has fewer codebooks.
    """
    info = _readable_manifest(folder)
    if info is not None:
        check_begun(shards, extractor, folder, settings)
        if not checksums and not find_damage(folder, info):
            return 0
    rank, world_size = process_of_job()
    own_shards = range(rank, shards.num_shards, world_size)
    records = {} if info is None else info.get(FILES_KEY, {})
    extractor = extractor.with_codebooks(list(range(settings.num_codebooks)))
    codec = describe_codec(extractor, settings.num_codebooks)
    check_begun(shards, extractor, folder, settings)
    damaged = [shard for shard in own_shards if remove_damaged(folder, shards, shard, records, checksums=checksums)]
    foreign = set_aside_beyond(folder, shards.num_shards) if rank == 0 else False
    if batch_size is None:
        batch_size = 16 if torch.device(extractor.device).type == "cpu" else 256
    if num_workers is None:
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
        num_workers = min(8, max(1, len(os.sched_getaffinity(0)) // local_processes))
    bar = tqdm(total=shards.num_clips, desc="encoding", unit="clip", disable=not progress or rank > 0 or hides_bars())

    def advance(num_clips: int) -> None:
        # The other processes have made about the same progress.
        step = num_clips * world_size
        bar.update(step if bar.total is None else min(step, bar.total - bar.n))

    with bar, ThreadPoolExecutor(num_workers) as pool:
        writer = ShardWriter(shards, extractor, settings, folder, codec, pool, batch_size, advance)
        for shard in own_shards:
            writer.write(shard)
            foreign |= set_aside_foreign(folder, shard)
    # What was made again may differ in its bytes from what the manifest records, if another version wrote it.
    return finish_if_whole(shards, folder, settings, again=bool(damaged) or foreign)


def finish_if_whole(shards: ClipShards, folder: Path, settings: EncodingSettings, *, again: bool = False) -> int:
    """Complete a folder if all its shards are there, whichever process wrote them.

    Args:
        shards ([`ClipShards`]): What is encoded.
        folder (`Path`): Where the files are.
        settings ([`EncodingSettings`]): What it is encoded with.
        again (`bool`, defaults to `False`): Whether a folder that is complete is completed once more.

    Returns:
        `int`: Number of shards that are missing.
    """
    info = None if again else _readable_manifest(folder)
    if info is not None and not find_damage(folder, info):
        return 0
    missing = missing_shards(folder, shards.num_shards)
    if not missing:
        finish_folder(shards, folder, settings)
    return len(missing)


def _readable_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a finished folder; one that is damaged is as good as none, since it can be written again."""
    if not (folder / CODES_MANIFEST).is_file():
        return None
    try:
        return read_manifest(folder)
    except ValueError as error:
        logger.warning("%s It is written again.", error)
        return None


def describe_codec(extractor: AudioFormerFeatureExtractor, num_codebooks: int) -> dict[str, Any]:
    """Describe where codes come from, for the footer of their files."""
    saved = extractor.to_dict()
    return {
        "codec": saved["codec"],
        "codec_revision": saved["codec_revision"],
        "codec_backend": "encodec" if is_encodec_package_model(extractor.codec) else "transformers",
        "codec_fingerprint": codes_fingerprint(extractor),
        **extractor.normalization,
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
        "codec": codes_fingerprint(extractor),
        **extractor.normalization,
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
    try:
        begun = json.loads(file.read_text())
    except ValueError as error:
        raise ValueError(f"{file} is damaged, it is no JSON: {error}. Choose another folder.") from error
    if HOP in own and HOP not in begun and own[HOP] == own["max_length_s"] and has_no_windows(folder):
        del own[HOP]
    if begun.get("codec") in accepted_codes_fingerprints(extractor):
        own["codec"] = begun["codec"]
    # Recorded only where they change the codes: what is not there is the default.
    optional = [name for name in (*NORMALIZATION_SETTINGS, GAIN, COPY) if name in begun and name not in own]
    changed = [
        f"{name} (then {begun.get(name)!r}, now {own.get(name)!r})"
        for name in (*own, *optional)
        if begun.get(name) != own.get(name)
    ]
    if changed:
        raise ValueError(f"{folder} was begun with other settings: {', '.join(changed)}. Choose another folder.")
