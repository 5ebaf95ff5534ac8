"""The page of `audioformer app` as a Space. The Space's variable AUDIOFORMER_MODEL names the model."""

import os
import sys

from audioformer.cli import main

if __name__ == "__main__":
    model = os.environ.get("AUDIOFORMER_MODEL")
    sys.exit(main(["app", *(["--model", model] if model else [])]))
