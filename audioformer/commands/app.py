"""`audioformer app`: a page in the browser that shows what a classifier hears."""

import argparse
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .devices import choose_device

DESCRIPTION = (
    "Show in the browser what a classifier hears: upload or record a sound, and see its waveform, its spectrogram, "
    "what the model receives, the labels, and for long sounds the labels over time, with each window to be played. "
    "Ctrl+C stops it and deletes the uploads."
)


def build_parser() -> argparse.ArgumentParser:
    """The flags of `audioformer app`."""
    parser = argparse.ArgumentParser(prog="audioformer app", description=DESCRIPTION)
    parser.add_argument(
        "--model", help="folder or Hub id of a classifier (default: the small one that comes with the package)"
    )
    parser.add_argument("--device", help='"cpu", "cuda", "cuda:1", ... (default: a GPU if there is one)')
    parser.add_argument("--window-s", type=float, default=10.0, metavar="S", help="window in seconds (default: 10)")
    parser.add_argument(
        "--hop-s",
        type=float,
        metavar="S",
        help="seconds from one window to the next, at most --window-s: if less, windows overlap (default: --window-s)",
    )
    parser.add_argument(
        "--max-minutes", type=float, default=10.0, metavar="M", help="longest accepted sound (default: 10)"
    )
    parser.add_argument("--max-mb", type=float, default=50.0, metavar="MB", help="largest upload (default: 50)")
    parser.add_argument("--host", help="address to listen on, 0.0.0.0 for all (default: this machine alone)")
    parser.add_argument("--port", type=int, help="port (default: a free one from 7860 on)")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Arguments of the command."""
    return build_parser().parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Serve the page until it is stopped.

    Raises:
        ValueError: If Gradio is missing, or the model or the port cannot be used.
    """
    try:
        import gradio  # noqa: F401
    except ImportError as error:
        raise ValueError('`audioformer app` needs Gradio: pip install "audioformer[app]".') from error
    from audioformer.training.outputs import quiet_loading

    from ..app.page import serve
    from ..app.sound_classifier import SoundClassifier

    quiet_loading()
    device = choose_device(arguments.device)
    classifier = SoundClassifier(
        arguments.model, device, arguments.window_s, arguments.max_minutes, arguments.max_mb, arguments.hop_s
    )
    # Stopping the page with `kill` leaves no uploads behind, either.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        tempfile.TemporaryDirectory(prefix="audioformer-app-") as folder,
        serve(classifier, Path(folder), arguments.host, arguments.port) as page,
    ):
        print(f"The page is at {page.local_url} (Ctrl+C stops it and deletes the uploads)", flush=True)
        page.block_thread()
    return 0
