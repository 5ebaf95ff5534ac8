"""The page in the browser that shows what a classifier hears. Uploads are limited and deleted."""

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soundfile

from audioformer.data import synthesize_sound_events

from .sound_classifier import ClassifiedSound, SoundClassifier

if TYPE_CHECKING:
    import gradio

TOP_K = 5
"""Number of labels that are shown."""

KEEP_UPLOADS_S = 600
"""Seconds after which an upload is deleted; until then the page can play it."""

CLEANING_INTERVAL_S = 60
"""Seconds between two searches for uploads to delete."""

EXAMPLES = ("knocks_speeding_up", "rain", "siren", "bell", "beeps")
"""Synthetic sound events that the page offers."""


def write_examples(folder: Path) -> list[Path]:
    """Synthesise the sounds that the page offers: short ones, and a long one of all kinds one after another.

    Args:
        folder (`Path`): Where the WAV files go; made if missing.

    Returns:
        `list[Path]`: The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    short = {clip.label: clip for clip in synthesize_sound_events(1)}
    for label in EXAMPLES:
        files.append(folder / f"{label}.wav")
        soundfile.write(files[-1], short[label].waveform, short[label].sampling_rate)
    events = synthesize_sound_events(1, duration_s=5.0)
    files.append(folder / "all_kinds_one_after_another.wav")
    soundfile.write(files[-1], np.concatenate([event.waveform for event in events]), events[0].sampling_rate)
    return files


def _plain(text: str) -> str:
    """Text that others chose, such as the name of a file, so that Markdown shows it as it is."""
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", " ".join(text.split()))


def _report(sound: ClassifiedSound) -> str:
    label, score = next(iter(sound.scores.scores.items()))
    name, duration_s = Path(sound.scores.path).name, sound.scores.duration_s
    return f"**{_plain(label)}** ({score:.3f}) is the best label for {_plain(name)}, {duration_s:.2f} s."


def show(path: str | None, classifier: SoundClassifier) -> tuple[Any, ...]:
    """What the page shows of an upload, or a message instead.

    Args:
        path (`str`, *optional*): The uploaded file; `None` when it was removed.
        classifier (`SoundClassifier`): What classifies it.

    Returns:
        `tuple`: Message (Markdown), scores of the labels, figures of the waveform, of the first window (spectrogram
        and what the model receives) and of labels over time, and rows of start, end (seconds), best label and score.
        The last two exist only for sounds longer than a window; absent parts are `None`.
    """
    from .figures import draw_labels_over_time, draw_waveform, draw_window

    if path is None:
        return "Upload or record a sound, or choose an example.", None, None, None, None, None
    try:
        sound = classifier(path)
    except ValueError as error:
        return f"⚠️ This sound was not classified. {_plain(str(error))}", None, None, None, None, None
    shown = (
        _report(sound),
        sound.scores.scores,
        draw_waveform(sound.waveform, sound.sampling_rate),
        draw_window(sound.heard),
    )
    windows = sound.scores.windows
    if len(windows) == 1:
        return *shown, None, None
    rows = []
    for window in windows:
        label, score = next(iter(window.scores.items()))
        rows.append([round(window.start_s, 3), round(window.end_s, 3), label, round(score, 3)])
    labels = list(islice(sound.scores.scores, TOP_K))
    return *shown, draw_labels_over_time(windows, labels), rows


def play(path: str | None, row: Sequence[Any], classifier: SoundClassifier) -> tuple[Any, ...]:
    """What the page plays and shows of a window that was clicked.

    Args:
        path (`str`, *optional*): The uploaded file; `None` when it was removed.
        row (sequence): The row of the window, from [`show`].
        classifier (`SoundClassifier`): What reads the file.

    Returns:
        `tuple`: Message (Markdown) if there is anything to say, sampling rate (Hz) and samples (int16, mono) of the
        window, and the figure of the window; absent parts are `None`.
    """
    from .figures import draw_window

    if path is None:
        return "Upload or record a sound, or choose an example.", None, None
    try:
        heard = classifier.hear(path, float(row[0]), float(row[1]))
    except ValueError as error:
        return f"⚠️ This window cannot be played. {_plain(str(error))}", None, None
    # Floating-point samples would be made as loud as possible.
    samples = np.rint(32767 * np.clip(heard.waveform, -1, 1)).astype(np.int16)
    return None, (heard.sampling_rate, samples), draw_window(heard)


def build_page(classifier: SoundClassifier, examples: Sequence[Path]) -> "gradio.Blocks":
    """The page, ready to be launched.

    Args:
        classifier (`SoundClassifier`): What classifies the uploads.
        examples (sequence of `Path`): Files to offer.
    """
    import gradio

    def classify(path: str | None) -> tuple[Any, ...]:
        message, scores, *details = show(path, classifier)
        shown = (gradio.update(value=part, visible=part is not None) for part in details)
        return message, scores, *shown, gradio.update(value=None, visible=False)

    def hear(path: str | None, clicked: gradio.SelectData) -> tuple[Any, ...]:
        message, samples, figure = play(path, clicked.row_value, classifier)
        if message is not None:
            return message, gradio.update(value=None, visible=False), gradio.skip()
        start_s, end_s, *_ = clicked.row_value
        label = f"Window from {start_s} to {end_s} s"
        return gradio.skip(), gradio.update(value=samples, label=label, visible=True), figure

    with gradio.Blocks(title="AudioFormer", analytics_enabled=False) as page:
        gradio.Markdown(
            f"# {classifier.family.title}\n{classifier.family.card.description} The model {_plain(classifier.name)} "
            f"knows {len(classifier.labels)} labels, and answers with one of them whatever it hears. Sounds of up to "
            f"{classifier.max_minutes:g} minutes and {classifier.max_mb:g} MB are accepted, and are deleted after "
            f"{KEEP_UPLOADS_S // 60} minutes."
        )
        with gradio.Row():
            with gradio.Column():
                # No button to share: it would send the sound elsewhere.
                sound = gradio.Audio(
                    sources=["upload", "microphone"], type="filepath", label="Sound", buttons=["download"]
                )
                gradio.Examples(
                    [[str(file)] for file in examples],
                    sound,
                    example_labels=[file.stem.replace("_", " ") for file in examples],
                    label="Synthetic examples",
                )
            with gradio.Column():
                message = gradio.Markdown(show(None, classifier)[0], elem_id="message")
                scores = gradio.Label(num_top_classes=TOP_K, label="Labels", elem_id="scores")
        # The figures have titles: a label would cover them.
        waveform, view, labels_over_time = (
            gradio.Plot(label=label, show_label=False, visible=False, elem_id=label.lower().replace(" ", "-"))
            for label in ("Waveform", "Model input", "Labels over time")
        )
        table = gradio.Dataframe(
            headers=["from (s)", "to (s)", "best label", "score"],
            datatype=["number", "number", "str", "number"],
            label="Best label over time; click a row to hear it",
            interactive=False,
            visible=False,
            elem_id="table",
        )
        window = gradio.Audio(
            label="Window", interactive=False, autoplay=True, visible=False, buttons=["download"], elem_id="window"
        )
        outputs = [message, scores, waveform, view, labels_over_time, table, window]
        sound.change(classify, sound, outputs, api_name="classify")
        table.select(hear, sound, [message, window, view], api_visibility="private")
    return page


def _delete_uploads(folder: Path, kept: set[Path], stop: threading.Event) -> None:
    """Delete old uploads until the page stops.

    Gradio's own `delete_cache` is not used: it stops for good when a file arrives while it searches.
    """
    while not stop.wait(CLEANING_INTERVAL_S):
        for file in folder.rglob("*"):
            # A copy keeps the modification time of its original, so only the change time tells its age.
            with contextlib.suppress(OSError):
                if file.is_file() and file not in kept and time.time() - file.stat().st_ctime > KEEP_UPLOADS_S:
                    file.unlink()


@contextlib.contextmanager
def serve(
    classifier: SoundClassifier, folder: Path, host: str | None = None, port: int | None = None
) -> Iterator["gradio.Blocks"]:
    """Serve the page for as long as the context lasts.

    Args:
        classifier (`SoundClassifier`): What classifies the uploads.
        folder (`Path`): Where uploads and examples are kept; who calls this removes it afterwards.
        host (`str`, *optional*): Address to listen on: this machine alone, or what `GRADIO_SERVER_NAME` says.
        port (`int`, *optional*): Port: a free one from 7860 on, or what `GRADIO_SERVER_PORT` says.

    Yields:
        `gradio.Blocks`: The running page, with its address in `local_url`.

    Raises:
        ValueError: If the port is taken.
    """
    import gradio

    uploads = folder / "uploads"
    # Gradio reads it for every component, also after the page was built: its own default outlives the page.
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    page = build_page(classifier, write_examples(folder / "examples"))
    page.queue(max_size=32)
    # Fonts of the system, because the theme's own are fetched from elsewhere.
    theme = gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])
    kept, stop = set(uploads.rglob("*")), threading.Event()
    try:
        page.launch(
            server_name=host,
            server_port=port,
            max_file_size=round(classifier.max_mb * 1e6),
            prevent_thread_lock=True,
            quiet=True,
            footer_links=[],
            run_history=False,
            ssr_mode=False,
            theme=theme,
        )
    except OSError as error:
        raise ValueError(f"`--port` {port} cannot be used: {error}") from error
    cleaner = threading.Thread(target=_delete_uploads, args=(uploads, kept, stop), daemon=True)
    cleaner.start()
    try:
        yield page
    finally:
        stop.set()
        cleaner.join()
        page.close(verbose=False)
