"""The codes of a listed data set in the user's cache: encoded on first use, read from there afterwards."""

import hashlib
import json
import time
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import constants

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint

from ..listing import Listing
from . import EncodingSettings, encode_shards, finish_if_whole, shards_of_listing
from .encoded import EncodedData, load_codes


def default_cache_dir() -> Path:
    return Path(constants.HF_HOME) / "audioformer" / "codes"


def encode_listing(
    listing: Listing,
    extractor: AudioFormerFeatureExtractor,
    cache_dir: str | Path | None = None,
    *,
    num_codebooks: int = 4,
    max_length_s: float = 10.0,
    max_rejected_share: float = 0.01,
    clips_per_shard: int = 500,
    progress: bool = True,
) -> EncodedData:
    """Encode every clip of a data set, or open what was encoded before.

    Codes are kept in a folder of `cache_dir` whose name follows from the clips (names, files with their sizes and
    times, labels), the codec's weights and the settings: a change of any of them encodes anew. A killed run loses the
    open shard only, see [`encode_shards`]. Several processes (`accelerate launch`) divide the shards; all must see
    `cache_dir`.

    A clip that cannot be read is left out, counted and reported with its reason.

    Args:
        listing (`Listing`): What to encode.
        extractor (`AudioFormerFeatureExtractor`): Its codec encodes; its `codebooks` don't matter.
        cache_dir (`str` or `Path`, *optional*): By default `audioformer/codes` in the Hugging Face home folder.
        num_codebooks (`int`, defaults to 4): Rows to keep, C1 to C4.
        max_length_s (`float`, defaults to 10.0): Seconds of a clip that are encoded.
        max_rejected_share (`float`, defaults to 0.01): Share of the clips that may be unreadable.
        clips_per_shard (`int`, defaults to 500): Clips a file.
        progress (`bool`, defaults to `True`): Whether to show a bar.

    Raises:
        ValueError: If more than `max_rejected_share` of the clips are unreadable (with the first of them; all are in
            `rejected.jsonl`), or the codec has fewer rows.
    """
    settings = EncodingSettings(
        num_codebooks, max_length_s, max_rejected_share=max_rejected_share, clips_per_shard=clips_per_shard
    )
    shards = shards_of_listing(listing, clips_per_shard)
    deciding = {**asdict(settings), "max_rejected_share": None, "codec": codec_fingerprint(extractor.codec)}
    key = hashlib.sha256(f"{shards.fingerprint} {json.dumps(deciding)}".encode()).hexdigest()
    folder = Path(cache_dir or default_cache_dir()) / f"{listing.name}-{key[:16]}"
    missing = encode_shards(shards, extractor, folder, settings, progress=progress)
    while missing:
        # Other processes are still at work. A collective would give up on them after half an hour.
        time.sleep(0.5)
        missing = finish_if_whole(shards, folder, settings)
    return load_codes(folder)
