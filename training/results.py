"""Tests of a classifier and the collection of their results."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from audioformer.data.audio.windows import clip_id_of, window_start_s
from audioformer.data.clips import Clips, GroupCounts
from audioformer.evaluation import EvaluationSummary, merge_windows

from .arguments import READING
from .examples.evaluation_crops import EvaluationCrops
from .families import Settings
from .peak_memory import peak_memory_gb
from .trainers import ClassificationTrainer

PLACES = {"output_dir", "cache_dir", "teacher_cache_dir", "resume_from_checkpoint"}
"""Settings that name locations and say nothing about the model."""

FEW_GROUPS = 10
"""Of fewer groups, a bootstrap over groups gives intervals that are too narrow; of one group, a single value."""

PATTERNS = {"group_pattern"}
"""Settings that may begin with a slash and are no paths."""


def predict(
    trainer: ClassificationTrainer, settings: Settings, clips: Clips, extractor: Any, *, crops: bool = False
) -> np.ndarray:
    """Logits of each clip, float32 of shape `(num_clips, num_labels)`, on every process.

    Args:
        trainer (`ClassificationTrainer`): Holds the classifier.
        settings (`Settings`): Settings of the run.
        clips (`Clips`): The clips.
        extractor: Feature extractor of the classifier.
        crops (`bool`, defaults to `False`): Whether `eval_crops` of the settings holds; otherwise clips are whole.

    Raises:
        ValueError: If the model returns more than logits.
    """
    examples: Any = settings.family.examples.examples(settings, clips, extractor, trainer.model.config, labels=False)
    num_crops = getattr(settings.training, "eval_crops", 0) if crops else 0
    cropped = EvaluationCrops(examples, settings.training.crop_frames, num_crops) if num_crops else None
    predictions = trainer.predict(examples if cropped is None else cropped).predictions
    if isinstance(predictions, tuple):
        raise ValueError(
            f"{type(trainer.model).__name__} must return logits alone in evaluations, got {len(predictions)} arrays: "
            "list its other outputs in `keys_to_ignore_at_inference` of its configuration."
        )
    return predictions if cropped is None else cropped.merge(predictions, clips.multi_label)


def summarize(
    trainer: ClassificationTrainer,
    settings: Settings,
    clips: Clips,
    extractor: Any,
    *,
    tested_on: str,
    selection: str | None,
    notes: Sequence[str] = (),
    grouped: bool | None = None,
    training: Mapping[str, Any] | None = None,
) -> EvaluationSummary:
    """Test a classifier. The windows of a long file count as one clip, with the mean of their scores over time.

    Args:
        trainer (`ClassificationTrainer`): Holds the classifier.
        settings (`Settings`): Settings of the run.
        clips (`Clips`): What it is tested on.
        extractor: Its feature extractor.
        tested_on (`str`): Which clips these are, for the summary.
        selection (`str`, *optional*): Which clips selected the checkpoint.
        notes (sequence of `str`): What else a reader of the results should know.
        grouped (`bool`, *optional*): Of clips drawn at random from the training clips, whether all have a group.
        training (mapping, *optional*): What `trainer.card_facts` collected, over all parts of the run.

    Returns:
        `EvaluationSummary`: Scores of `num_clips` clips with the settings, data and times of the run.
    """
    started = time.perf_counter()
    scores = predict(trainer, settings, clips, extractor, crops=True)
    seconds = {"testing": time.perf_counter() - started}
    memory_gb = peak_memory_gb(trainer.args.device.type)
    if training is not None:
        seconds = {"training": training["seconds"], **seconds}
        memory_gb = max(memory_gb, training["peak_memory_gb"])
    targets, groups, names = clips.targets, clips.groups, names_of_clips(clips)
    starts_s = np.array([window_start_s(name) for name in clips.ids])
    durations_s = np.asarray(clips.dataset["duration_s"][:], dtype=float)
    merged = merge_windows(names, scores, targets, durations_s, starts_s, multi_label=clips.multi_label)
    return EvaluationSummary(
        ids=[names[index] if len(rows) > 1 else clips.ids[index] for index, rows in merged.rows],
        scores=merged.scores,
        targets=targets[[index for index, _ in merged.rows]],
        labels=clips.labels,
        multi_label=clips.multi_label,
        tested_on=tested_on,
        selection=selection,
        groups=[groups[index] for index, _ in merged.rows],
        grouped=grouped,
        settings=describe_settings(settings),
        data=dataclasses.asdict(clips.report),
        data_text=clips.report.to_text(),
        notes=[*notes, *notes_on_crops(settings)],
        log_history=trainer.state.log_history,
        seconds=seconds,
        peak_memory_gb=memory_gb,
    )


def names_of_clips(clips: Clips) -> list[str]:
    """Name of the clip that each entry is, or is a window of."""
    # Windows always have a group: a whole clip without one may be called `take#2`.
    return [name if group is None else clip_id_of(name) for name, group in zip(clips.ids, clips.groups, strict=True)]


def notes_on_record(training: Mapping[str, Any]) -> list[str]:
    """What a reader has to know about a training: whose weights these are, and which of its steps have no record.

    Args:
        training (mapping): What `trainer.card_facts` collected.
    """
    notes = []
    averaged = training.get("averaged_checkpoints")
    if averaged:
        steps = ", ".join(f"{entry['step']:,}" for entry in averaged)
        which = "last" if averaged[0].keys() == {"step"} else "best"
        notes.append(f"The weights are the mean of the {len(averaged)} {which} checkpoints, of the steps {steps}.")
    if not training["unrecorded_steps"]:
        return notes
    return [
        *notes,
        f"Seconds, memory, hardware and precision of {training['unrecorded_steps']:,} of the {training['steps']:,} "
        "steps of the training were not recorded: those of the others are given.",
    ]


def notes_on_crops(settings: Settings) -> list[str]:
    """What a reader has to know about a test: that a model saw crops of the clips."""
    num_crops = getattr(settings.training, "eval_crops", 0)
    if not num_crops:
        return []
    frames = settings.training.crop_frames
    return [f"Scores of clips of more than {frames} frames are means over up to {num_crops} crops of that length."]


def notes_on_groups(drawn: GroupCounts) -> list[str]:
    """What a reader has to know about a number of clips that were drawn at random from the training clips.

    Args:
        drawn ([`GroupCounts`]): Groups of these clips.
    """
    notes = []
    if not drawn.all_grouped:
        without = drawn.clips - drawn.with_group
        which = f"{without:,} of these {drawn.clips:,} clips have" if drawn.with_group else "These clips have"
        notes.append(
            f"{which} no group and were drawn at random from the training data: the metric holds for the same "
            "speakers and recordings only."
        )
    elif drawn.groups < FEW_GROUPS:
        groups = "one group" if drawn.groups == 1 else f"{drawn.groups} groups"
        notes.append(f"These clips are of {groups}: drawn from fewer than {FEW_GROUPS}, the interval is too narrow.")
    return notes


def describe_settings(settings: Settings) -> dict[str, Any]:
    """Settings that differ from their defaults, and versions; absolute paths are reduced to their names."""
    described: dict[str, Any] = {"family": settings.family.name}
    for group in settings.groups:
        values = group.to_dict() if hasattr(group, "to_dict") else dataclasses.asdict(group)
        for entry in dataclasses.fields(group):
            default = entry.default
            if entry.default_factory is not dataclasses.MISSING:
                default = entry.default_factory()
            value = values.get(entry.name)
            if value != default and value is not None and not entry.name.startswith(("_", "hub_", "push_")):
                described[entry.name] = value if entry.name in PATTERNS else publishable(value)
    copies = settings.data.describe_copies()
    if copies is not None:
        # With the ranges that are the defaults: what a copy is must be known from this alone.
        described["augmented_copies"] = copies
    return described | {
        "audioformer": version("audioformer"),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def describe_recipe(settings: Settings) -> dict[str, Any]:
    """The recipe of a run for its card: its name, its own settings, and those given in addition."""
    recipe, copies = settings.recipe, settings.data.copies_in_words()
    given = {
        name: value if name in PATTERNS else publishable(value)
        for name, value in settings.given.items()
        if name not in PLACES
    }
    return {
        "recipe": None if recipe is None else recipe.name,
        "own": {} if recipe is None else {**recipe.own, **_reading_of_codes(settings)},
        "flags": given,
        **({} if copies is None else {"augmented_copies": copies}),
    }


def _reading_of_codes(settings: Settings) -> dict[str, Any]:
    """How the audio was read where codes, which exist already, decide it and not the recipe."""
    own = {} if settings.recipe is None else settings.recipe.own
    return {name: getattr(settings.data, name) for name in READING if name in own and name not in settings.given}


def published_name(model: str | None) -> str | None:
    """A model as a card may name it: an id of the Hub as it is, a local folder by the name of the folder alone."""
    if model is None or not (Path(model).exists() or Path(model).is_absolute()):
        return model
    return Path(model).resolve().name


def publishable(value: Any) -> Any:
    """A setting as it may be published: an absolute path, which would reveal this machine, is reduced to its name."""
    if isinstance(value, list):
        return [publishable(entry) for entry in value]
    is_path = isinstance(value, (str, Path)) and Path(value).is_absolute()
    return Path(value).name if is_path else value
