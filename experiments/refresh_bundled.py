"""Save the bundled classifier again after its code changed: same weights, today's files.

python -m audioformer.experiments.refresh_bundled
"""

from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

import audioformer  # noqa: F401  (registers the Auto classes)
from audioformer.model_cards import TINY_ESC10


def main() -> None:
    model = AutoModelForAudioClassification.from_pretrained(TINY_ESC10)
    extractor = AutoFeatureExtractor.from_pretrained(TINY_ESC10)
    model.save_pretrained(TINY_ESC10)
    extractor.save_pretrained(TINY_ESC10)
    print(f"saved {TINY_ESC10}")


if __name__ == "__main__":
    main()
