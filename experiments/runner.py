"""Runs what an experiment compares, and keeps what is finished."""

import csv
import io
import multiprocessing
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.data.audio import ReadingSettings, list_audio_clips
from audioformer.data.clips import Clips
from audioformer.data.codes.cache import encode_listing
from audioformer.data.codes.copies import encode_copies
from audioformer.data.listing import ListedClip, Listing
from audioformer.data.readers import read_listing
from audioformer.evaluation.baselines import code_histogram, code_vector_statistics, cross_validated_predictions
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.code_vectors import code_vectors
from audioformer.files import write_whole
from audioformer.training.arguments import READING, DataArguments
from audioformer.training.outputs import quiet_loading

from . import mfcc_baseline
from .definition import Experiment, Row
from .records import Record, append_record, read_records, record_of
from .task import NUM_CODEBOOKS, Task, codec_of

REGULARIZATION = {"mfcc": mfcc_baseline.REGULARIZATION, "code_histogram": 0.01, "code_vectors": 0.1}
"""scikit-learn's `C` of each baseline."""


def run_experiment(
    experiment: Experiment,
    data: str | Path,
    work: Path,
    records_file: Path,
    *,
    rows: Sequence[str] | None = None,
    jobs: int = 1,
) -> list[Record]:
    """Run what is not in the records yet, and add it to them.

    A run that is killed loses nothing that is finished; models resume from their last checkpoint.

    Args:
        experiment ([`Experiment`]): What to compare.
        data (`str` or `Path`): Data set with one label per clip.
        work (`Path`): Folder for models and codes.
        records_file (`Path`): JSON lines to read and to add to.
        rows (sequence of `str`, *optional*): Names of the rows to run; by default all.
        jobs (`int`, defaults to 1): Models that are trained side by side, with one thread each if there are several.

    Returns:
        `list[Record]`: Everything that is known, see [`read_records`].

    Raises:
        ValueError: If a row does not exist, or the data lack folds, have several labels per clip, or long files.
    """
    unknown = sorted(set(rows or ()) - {row.name for row in experiment.rows})
    if unknown:
        names = ", ".join(repr(row.name) for row in experiment.rows)
        raise ValueError(f"`rows` must be among {names}, got {unknown[0]!r}.")
    wanted = [row for row in experiment.rows if rows is None or row.name in rows]
    listing = read_clips(data, experiment)
    manifest = write_manifest(listing, work / "clips.csv")
    done = {(record.row, record.seed, record.fold) for record in read_records(records_file, experiment)}
    for row in wanted:
        if row.baseline is not None and any((row.name, None, fold) not in done for fold in experiment.folds):
            for record in baseline_records(experiment, row, listing, work):
                append_record(records_file, record)
    tasks = [
        Task(experiment, row, seed, fold, manifest, work)
        for row in wanted
        if row.baseline is None
        for seed in experiment.seeds
        for fold in experiment.folds
        if (row.name, seed, fold) not in done
    ]
    for record in run_tasks(tasks, jobs):
        append_record(records_file, record)
        print(f"{record.row}, seed {record.seed}, fold {record.fold}: {record.value:.1%}", flush=True)
    return read_records(records_file, experiment)


def run_tasks(tasks: Sequence[Task], jobs: int) -> Iterator[Record]:
    """Run tasks, several of them in processes of their own, and return their records as they finish."""
    # Codes are made once, before several processes want them.
    for task in {task.row.name: task for task in tasks}.values():
        if task.reads_codes:
            encode_clips(task)
    if jobs == 1:
        for task in tasks:
            _quietly(task, "pretrain")
            yield _quietly(task, "test")
        return
    # Read when the processes import torch; threads of several would wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("spawn")
    # Rows that share a pre-training must not begin it at the same time.
    by_folder: dict[Path, list[Task]] = {}
    for task in sorted(tasks, key=lambda task: not task.reads_all_codebooks):
        by_folder.setdefault(task.begins_with, []).append(task)
    with ProcessPoolExecutor(jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for pretrained in [pool.submit(_pretrain_in_turn, sharing) for sharing in by_folder.values()]:
            pretrained.result()
        for future in as_completed([pool.submit(_quietly, task, "test") for task in tasks]):
            yield future.result()


def encode_clips(task: Task) -> None:
    """Encode the clips of all folds, and the augmented copies that pre-training or fine-tuning draws."""
    listing, cache_dir = read_listing(task.manifest), task.work / "codes"
    # Fine-tuning hears the level of the model that it starts from.
    extractor = extractor_of(task.experiment, task.pretrain_settings.get("normalize"))
    for settings in (task.pretrain_settings, task.finetune_settings):
        reading = ReadingSettings(**{name: settings[name] for name in READING if name in settings})
        num_codebooks = settings.get("num_codebooks", NUM_CODEBOOKS)
        clips = encode_listing(listing, extractor, cache_dir, reading, num_codebooks=num_codebooks)
        data = DataArguments(**{name: value for name, value in settings.items() if name.startswith("augment_")})
        if data.augmentation is not None:
            encode_copies(listing, clips, extractor, cache_dir, reading, data.augmentation, data.augment_copies)


def _pretrain_in_turn(tasks: Sequence[Task]) -> None:
    for task in tasks:
        _quietly(task, "pretrain")


def _quietly(task: Task, part: str) -> Any:
    quiet_loading()
    return getattr(task, part)()


def read_clips(data: str | Path, experiment: Experiment) -> Listing:
    """The clips of an experiment's folds, with the folds and labels that its patterns find if it has them.

    Raises:
        ValueError: If a clip has no fold or label or several labels, or the folds are not those of the experiment.
    """
    has_labels = experiment.label_pattern is None
    listing = read_listing(data, "auto" if has_labels else "audio_files")
    clips = list(listing.clips)
    if experiment.fold_pattern is not None:
        texts = _find(experiment.fold_pattern, "fold_pattern", clips)
        numbers = {text: number for number, text in enumerate(sorted(set(texts)), start=1)}
        clips = [replace(clip, fold=numbers[text]) for clip, text in zip(clips, texts, strict=True)]
    if experiment.label_pattern is not None:
        texts = _find(experiment.label_pattern, "label_pattern", clips)
        clips = [replace(clip, labels=(text,)) for clip, text in zip(clips, texts, strict=True)]
    clips = [clip for clip in clips if clip.fold in experiment.folds]
    there = {clip.fold for clip in clips}
    if there != set(experiment.folds):
        raise ValueError(
            f"`folds` of the experiment {experiment.name} are {list(experiment.folds)}, of which the data have "
            f"{sorted(fold for fold in there if fold is not None)}."
        )
    if any(len(clip.labels) != 1 for clip in clips):
        raise ValueError(f"{data}: experiments need one label per clip.")
    labels = listing.labels if has_labels else sorted({clip.labels[0] for clip in clips})
    return replace(listing, clips=clips, labels=labels, multi_label=False)


def _find(pattern: str, key: str, clips: Sequence[ListedClip]) -> list[str]:
    """What a pattern finds in the path of each clip."""
    found = [re.search(pattern, Path(str(clip.audio)).as_posix()) for clip in clips]
    without = [clip.id for clip, match in zip(clips, found, strict=True) if match is None]
    if without:
        raise ValueError(f"`{key}` {pattern!r} finds nothing in {without[0]!r}, nor in {len(without) - 1} others.")
    return [match[1] for match in found if match is not None]


def write_manifest(listing: Listing, file: Path) -> Path:
    """List clips with their folds in a CSV file, which the commands read."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "path", "label", "fold", "group"])
    for clip in listing.clips:
        writer.writerow([clip.id, Path(str(clip.audio)).resolve(), clip.labels[0], clip.fold, clip.group or ""])
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))
    return file


def baseline_records(experiment: Experiment, row: Row, listing: Listing, work: Path) -> list[Record]:
    """Logistic regression on features of the clips, cross-validated over the folds."""
    start = time.perf_counter()
    kind = str(row.baseline)
    clips: Clips
    if kind == "mfcc":
        clips = sounds = list_audio_clips(listing, progress=False)
        features = mfcc_baseline.features_of(sounds)
    else:
        extractor = extractor_of(experiment, row.normalize)
        reading = ReadingSettings(keep_silent=True)
        clips = encoded = encode_listing(listing, extractor, work / "codes", reading, num_codebooks=NUM_CODEBOOKS)
        codes = [encoded.codes[index] for index in range(len(encoded))]
        if kind == "code_histogram":
            features = code_histogram([rows[0] for rows in codes], extractor.codebook_size)
        else:
            vectors = [code_vectors(extractor.codec, n, extractor.codebook_size).numpy() for n in range(NUM_CODEBOOKS)]
            features = np.stack([code_vector_statistics(rows, vectors) for rows in codes])
    ids, folds = clips.dataset["id"][:], np.asarray(clips.dataset["fold"][:])
    if sorted(ids) != sorted(clip.id for clip in listing.clips):
        raise ValueError(f"{listing.source}: experiments need clips of at most 10 s that can all be read.")
    targets = clips.targets
    predicted = cross_validated_predictions(features, targets.tolist(), folds.tolist(), REGULARIZATION[kind])
    correct = predicted == targets
    seconds = time.perf_counter() - start
    chosen = [(fold, np.flatnonzero(folds == fold)) for fold in experiment.folds]
    return [
        record_of(experiment, row, fold, None, [ids[index] for index in indices], correct[indices], seconds)
        for fold, indices in chosen
    ]


def extractor_of(experiment: Experiment, normalize: str | None = None) -> AudioFormerFeatureExtractor:
    """The feature extractor that makes the codes of a row."""
    codec = str(codec_of(experiment))
    return AudioFormerFeatureExtractor(codec=codec, codebooks=list(range(NUM_CODEBOOKS)), normalize=normalize)
