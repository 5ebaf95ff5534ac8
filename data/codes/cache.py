"""The codes of a listed data set in the user's cache: encoded on first use, read from there afterwards."""

import hashlib
import json
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codes_fingerprint import accepted_codes_fingerprints

from ..audio.windows import ReadingSettings
from ..listing import Listing
from ..shards import ClipShards, shards_of_listing
from .encoded import EncodedClips, has_no_windows, load_codes
from .run import encode_shards, finish_if_whole
from .settings import HOP, EncodingSettings


def default_cache_dir() -> Path:
    """`audioformer/codes` in the Hugging Face home folder."""
    return Path(constants.HF_HOME) / "audioformer" / "codes"


def encode_listing(
    listing: Listing,
    extractor: AudioFormerFeatureExtractor,
    cache_dir: str | Path | None = None,
    reading: ReadingSettings | None = None,
    *,
    num_codebooks: int = 4,
    max_rejected_share: float = 0.01,
    clips_per_shard: int = 500,
    progress: bool = True,
) -> EncodedClips:
    """Encode every clip of a data set, or open what was encoded before.

    Codes are kept in a folder of `cache_dir` whose name depends on the clips (names, labels, sizes and times of the
    files), the weights of the codec, the level that the extractor gives waveforms, and the settings; if any of them
    changes, the data set is encoded again. A run that is killed loses only the shard that is open, see
    [`encode_shards`]. Several processes (`accelerate launch`) divide the shards among themselves; all of them must see
    `cache_dir`.

    A clip that cannot be read is left out, counted, and reported with the reason.

    Args:
        listing ([`Listing`]): What to encode.
        extractor (`AudioFormerFeatureExtractor`): Its codec encodes; its own `codebooks` do not matter.
        cache_dir (`str` or `Path`, *optional*): Defaults to `audioformer/codes` in the Hugging Face home folder.
        reading ([`ReadingSettings`], *optional*): How audio is read; by default, long clips become windows of 10 s,
            and silence is left out.
        num_codebooks (`int`, defaults to 4): Number of codebooks to keep, starting with the first.
        max_rejected_share (`float`, defaults to 0.01): Share of the clips that may be unreadable, in [0, 1].
        clips_per_shard (`int`, defaults to 500): Clips per file.
        progress (`bool`, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`EncodedClips`]: One entry per window.

    Raises:
        ValueError: If more than `max_rejected_share` of the clips are unreadable (the message shows the first of them;
            `rejected.jsonl` lists all), or the codec has fewer codebooks.
    """
    reading = reading or ReadingSettings()
    settings = EncodingSettings(
        **{entry.name: getattr(reading, entry.name) for entry in fields(ReadingSettings)},
        num_codebooks=num_codebooks,
        max_rejected_share=max_rejected_share,
        clips_per_shard=clips_per_shard,
    )
    shards = shards_of_listing(listing, clips_per_shard)
    root = Path(cache_dir or default_cache_dir())
    fingerprints = accepted_codes_fingerprints(extractor)
    folders = [root / cache_folder_name(shards, settings, name) for name in fingerprints]
    # What an earlier version encoded lies under the codec's earlier fingerprint.
    folder = next((folder for folder in folders if folder.is_dir()), folders[0])
    for name in fingerprints:
        earlier = _earlier_folder(folder, shards, settings, name)
        if earlier is not None:
            return load_codes(earlier)
    missing = encode_shards(shards, extractor, folder, settings, progress=progress)
    while missing:
        # Other processes are still at work. A collective would give up on them after half an hour.
        time.sleep(0.5)
        missing = finish_if_whole(shards, folder, settings)
    return load_codes(folder)


def cache_folder_name(shards: ClipShards, settings: EncodingSettings, fingerprint: str) -> str:
    """Name of the folder in the cache, which differs for other clips, settings, or another codec.

    Args:
        shards ([`ClipShards`]): What to encode.
        settings ([`EncodingSettings`]): All of them count, apart from `max_rejected_share`.
        fingerprint (`str`): SHA-256 of the codec and the level, see [`codes_fingerprint`].
    """
    return _folder_name(shards, settings.to_stored(), fingerprint)


def _folder_name(shards: ClipShards, stored: dict[str, Any], fingerprint: str) -> str:
    # The JSON text is what is hashed: its order and names must never change.
    deciding = {**stored, "max_rejected": None, "codec": fingerprint}
    key = hashlib.sha256(f"{shards.fingerprint} {json.dumps(deciding)}".encode()).hexdigest()
    return f"{shards.name}-{key[:16]}"


def _earlier_folder(folder: Path, shards: ClipShards, settings: EncodingSettings, fingerprint: str) -> Path | None:
    """The folder that an earlier rule of windows filled, if the rules agree on all of its clips."""
    if folder.exists() or settings.window_hop_s != settings.max_length_s:
        return None
    stored = {name: value for name, value in settings.to_stored().items() if name != HOP}
    earlier = folder.parent / _folder_name(shards, stored, fingerprint)
    return earlier if has_no_windows(earlier) else None
