"""The clips that a run was begun with, recorded in the folder of its training: a run must not be resumed on others."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict

from audioformer.data.clips import Clips, ClipSplits
from audioformer.files import RUN_DATA, write_whole

from .arguments import AudioTrainingArguments

logger = logging.getLogger(__name__)

COPIES = "augmented_copies"
_PARTS = {"train": "training clips", "held_out": "held-out clips", "test": "test clips"}
_SYNTHETIC = "synthetic"


class RecordedClips(TypedDict):
    """The clips of a part of a run.

    Args:
        source (`str`): Name of the data set.
        num_clips (`int`): Number of clips and windows.
        digest (`str`): SHA-256 of the listing and of the codes, see [`Clips.digest`].
    """

    source: str
    num_clips: int
    digest: str


def check_run_data(
    arguments: AudioTrainingArguments, splits: ClipSplits, copies: Mapping[str, Any] | None = None
) -> None:
    """Record the clips of a run in its output folder, or compare them with those that are recorded there.

    Args:
        arguments (`AudioTrainingArguments`): `output_dir`, and `resume_from_checkpoint`. The record of a named
            checkpoint lies in a folder above it.
        splits ([`ClipSplits`]): The clips of this run.
        copies (mapping, *optional*): Number and settings of the augmented copies of the training clips, if any.

    Raises:
        ValueError: If the run is resumed and was begun with other clips or copies; the message names both.
    """
    own: dict[str, Any] = {
        part: None if clips is None else _describe(clips)
        for part, clips in (("train", splits.train), ("held_out", splits.held_out), ("test", splits.test))
    }
    if splits.synthetic is not None:
        own[_SYNTHETIC] = _describe(splits.synthetic)
    if copies is not None:
        own[COPIES] = dict(copies)
    record_run_data(arguments, own)


def check_stream_data(
    arguments: AudioTrainingArguments,
    stream: RecordedClips,
    held_out: Clips | None,
    copies: Mapping[str, Any] | None = None,
) -> None:
    """Do what [`check_run_data`] does for a run whose training clips are streamed.

    Args:
        arguments (`AudioTrainingArguments`): See [`check_run_data`].
        stream ([`RecordedClips`]): The shards to train on, with a digest of what and how is read.
        held_out ([`Clips`], *optional*): The clips that select the checkpoint.
        copies (mapping, *optional*): Number and settings of the augmented copies of the training clips, if any.

    Raises:
        ValueError: See [`check_run_data`].
    """
    held = None if held_out is None else _describe(held_out)
    own: dict[str, Any] = {"train": dict(stream), "held_out": held, "test": None}
    record_run_data(arguments, own if copies is None else {**own, COPIES: dict(copies)})


def record_run_data(arguments: AudioTrainingArguments, own: Mapping[str, Any]) -> None:
    """Record what a run reads in its output folder, or compare it with what is recorded there.

    Raises:
        ValueError: See [`check_run_data`].
    """
    output = Path(str(arguments.output_dir))
    if arguments.resume_from_checkpoint is not None:
        recorded = _find_record(arguments, output)
        if recorded is not None:
            _compare(recorded, own)
        elif any(output.glob("**/checkpoint-*")):
            logger.warning(
                "%s has no %s: an earlier version began the run. Nothing tells whether its clips were these, and it "
                "may have held out others.",
                output,
                RUN_DATA,
            )
    (output / RUN_DATA).parent.mkdir(parents=True, exist_ok=True)
    write_whole(output / RUN_DATA, lambda path: path.write_text(json.dumps(own, indent=2) + "\n", encoding="utf-8"))


def _describe(clips: Clips) -> RecordedClips:
    return {"source": clips.report.source, "num_clips": len(clips), "digest": clips.digest}


def _digest(clips: RecordedClips | None) -> Any:
    return None if clips is None else clips["digest"]


def _find_record(arguments: AudioTrainingArguments, output: Path) -> Path | None:
    checkpoint = Path(str(arguments.resume_from_checkpoint))
    # Models of several codebooks have folders of their own in that of the run.
    above = list(checkpoint.resolve().parents[:3]) if checkpoint.is_dir() else []
    return next((folder / RUN_DATA for folder in [*above, output] if (folder / RUN_DATA).is_file()), None)


def _compare(file: Path, own: Mapping[str, Any]) -> None:
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        # Only runs that have synthetic clips record them.
        parts = [*((name, begun[part], own[part]) for part, name in _PARTS.items())]
        parts.append(("synthetic clips", begun.get(_SYNTHETIC), own.get(_SYNTHETIC)))
        changed = [
            f"{name} (then {_in_words(then)}, now {_in_words(now)})"
            for name, then, now in parts
            if _digest(then) != _digest(now)
        ]
        if begun.get(COPIES) != own.get(COPIES):
            changed.append(f"augmented copies (then {begun.get(COPIES)}, now {own.get(COPIES)})")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{file} is damaged: {error!r}. It records the clips that the run was begun with.") from error
    if changed:
        raise ValueError(
            f"`resume_from_checkpoint`: the run in {file.parents[1]} was begun with other clips: "
            f"{', '.join(changed)}. Give the data and settings of then, or another --output without "
            "--resume-from-checkpoint."
        )


def _in_words(clips: RecordedClips | None) -> str:
    if clips is None:
        return "none"
    return f"{clips['num_clips']:,} of {clips['source']}, SHA-256 {clips['digest'][:12]}"
