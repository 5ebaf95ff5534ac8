"""The page of `audioformer demo` as a Space. The variable AUDIOFORMER_MODEL of the Space names the model."""

import os
import sys

from audioformer.app import page as demo_page

if __name__ == "__main__":
    model = os.environ.get("AUDIOFORMER_MODEL")
    sys.exit(demo_page.main(["--model", model] if model else []))
