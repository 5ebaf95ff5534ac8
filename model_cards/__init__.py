"""The checkpoints that come with the package, each a folder exactly as it would be pushed to the Hub."""

from pathlib import Path

_TEMPLATES = Path(__file__).parent / "templates"

TINY_CODEC = Path(__file__).parent / "audioformer-tiny-codec"
"""A small `EncodecModel`: 24 kHz, 75 frames/s, 4 x 1024 codes. Trained on ESC-10; for trying, not for listening."""

TINY_ESC10 = Path(__file__).parent / "audioformer-tiny-esc10"
"""A small `AudioFormerForAudioClassification` with extractor and codec: the ten sounds of ESC-10."""

TINY_ESC10_CARD = _TEMPLATES / "tiny_esc10_card.md"
"""Template of the card of `TINY_ESC10`, filled by the command that trains it."""

CLASSIFIER_CARD = _TEMPLATES / "classifier_card.md"
"""Template of the card of a fine-tuned model."""

ONNX_SECTION = _TEMPLATES / "onnx_section.md"
"""Section of that card for a folder with ONNX files."""

CODES_DATASET_CARD = _TEMPLATES / "codes_dataset_card.md"
"""Template of the card of a data set of codes, filled by `audioformer encode`."""

__all__ = ["CLASSIFIER_CARD", "CODES_DATASET_CARD", "ONNX_SECTION", "TINY_CODEC", "TINY_ESC10", "TINY_ESC10_CARD"]
