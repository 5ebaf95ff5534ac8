"""Checkpoints that come with the package, each a folder as it is on the Hub, and cards for new ones."""

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
"""Jinja templates of all cards."""

TINY_CODEC = Path(__file__).parent / "audioformer-tiny-codec"
"""A small `EncodecModel` for trying things out: 24 kHz, 75 frames per second, 4 codebooks of 1,024 entries, trained on
ESC-10. Its reconstructions are not meant for listening."""

TINY_ESC10 = Path(__file__).parent / "audioformer-tiny-esc10"
"""A small `AudioFormerForAudioClassification` for the ten classes of ESC-10, with its feature extractor and codec."""

__all__ = ["TEMPLATES", "TINY_CODEC", "TINY_ESC10"]
