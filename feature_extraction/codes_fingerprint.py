"""What identifies the codes of an extractor: its codec, and the level of the waveforms that the codec reads."""

import hashlib
import json

from .codec import accepted_fingerprints, codec_fingerprint
from .feature_extraction_audioformer import AudioFormerFeatureExtractor


def codes_fingerprint(extractor: AudioFormerFeatureExtractor) -> str:
    """SHA-256 of what decides the codes of a waveform: that of the codec, and with `normalize` of the level as well.

    Args:
        extractor ([`AudioFormerFeatureExtractor`]): Its own `codebooks` do not matter. Loads the codec.
    """
    return _with_level(codec_fingerprint(extractor.codec), extractor)


def accepted_codes_fingerprints(extractor: AudioFormerFeatureExtractor) -> list[str]:
    """Fingerprints under which codes of an extractor may have been stored: its own, then those of earlier versions.

    Args:
        extractor ([`AudioFormerFeatureExtractor`]): As for [`codes_fingerprint`].
    """
    if extractor.normalization:
        # Earlier versions could not normalize.
        return [codes_fingerprint(extractor)]
    return accepted_fingerprints(extractor.codec)


def _with_level(codec: str, extractor: AudioFormerFeatureExtractor) -> str:
    if not extractor.normalization:
        return codec
    # Another SHA-256, and not only another entry: a reader that does not know the setting must refuse the codes.
    return hashlib.sha256(f"{codec} {json.dumps(extractor.normalization, sort_keys=True)}".encode()).hexdigest()
