"""Runs what an experiment compares, and keeps what is finished."""

import csv
import hashlib
import io
import json
import multiprocessing
import os
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
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
from audioformer.files import PREDICTIONS, write_whole
from audioformer.model_cards import TINY_CODEC
from audioformer.training.arguments import READING, DataArguments
from audioformer.training.codebooks import name_codebooks
from audioformer.training.families import choose_family, recipe_folders
from audioformer.training.outputs import quiet_loading
from audioformer.training.recipes import load_recipe
from audioformer.training.settings import fields_of

from . import mfcc_baseline
from .definition import Experiment, Row
from .records import Record, append_record, read_records, recorded_settings
from .runs import finetune_once, pretrain_once, pretrain_stage_once, probe_once

NUM_CODEBOOKS = 4
REGULARIZATION = {"mfcc": mfcc_baseline.REGULARIZATION, "code_histogram": 0.01, "code_vectors": 0.1}
"""scikit-learn's `C` of each baseline."""


@dataclass(frozen=True)
class Task:
    """One model to train and test.

    Args:
        experiment ([`Experiment`]): What it belongs to.
        row ([`Row`]): Its recipes.
        seed (`int`): Its seed.
        fold (`int`): The fold to test on.
        manifest (`Path`): The clips with their folds.
        work (`Path`): Folder for models and codes.
    """

    experiment: Experiment
    row: Row
    seed: int
    fold: int
    manifest: Path
    work: Path

    @property
    def shared(self) -> dict[str, Any]:
        """Settings of pre-training and fine-tuning."""
        codes = {"cache_dir": self.work / "codes", "codec": codec_of(self.experiment)} if self.reads_codes else {}
        return {
            "data": self.manifest,
            "train_folds": [fold for fold in self.experiment.folds if fold != self.fold],
            **codes,
            "seed": self.seed,
            "progress": False,
        }

    @property
    def reads_codes(self) -> bool:
        """Whether the model family reads codes, which are kept for all rows."""
        if self.row.probe is not None:
            return False
        family = choose_family(recipe=load_recipe(str(self.row.finetune), recipe_folders()))
        return {"cache_dir", "codec"} <= fields_of("finetune", family).keys()

    @property
    def reads_all_codebooks(self) -> bool:
        """Whether fine-tuning needs models of all codebooks (FT2)."""
        return self.row.probe is None and self.finetune_settings.get("method") == "ft2"

    @property
    def pretrain_settings(self) -> dict[str, Any]:
        """Settings of pre-training, as of fine-tuning; those of fine-tuning if there is no pre-training."""
        if self.row.pretrain is None:
            return self.finetune_settings
        recipe = load_recipe(self.row.pretrain, recipe_folders()).values
        return {**recipe, **self.experiment.shared, **self.row.pretrain_settings}

    @property
    def is_joint(self) -> bool:
        """Whether the pre-trained model reads all codebooks together."""
        return self.row.probe is None and bool(self.pretrain_settings.get("joint_codebooks"))

    @property
    def finetune_settings(self) -> dict[str, Any]:
        """Settings of fine-tuning: those of the recipe, of all rows, and of its own."""
        recipe = load_recipe(str(self.row.finetune), recipe_folders()).values
        return {**recipe, **self.experiment.shared, **self.row.settings}

    @property
    def pretrained(self) -> Path:
        """Folder of its pre-trained models, which rows with the same pre-training share; of several stages, the
        last."""
        if self.row.stages:
            return self.stage_folder(len(self.row.stages) - 1)
        deciding = (self.row.pretrain, dict(self.row.pretrain_settings), dict(self.experiment.shared))
        return self.work / "pretrained" / short_digest(deciding) / f"seed-{self.seed}-fold-{self.fold}"

    def stage_folder(self, number: int) -> Path:
        """Folder of a stage of pre-training, which rows share that begin with the same stages."""
        deciding = ([stage.to_dict() for stage in self.row.stages[: number + 1]], dict(self.experiment.shared))
        return self.work / "pretrained" / short_digest(deciding) / f"seed-{self.seed}-fold-{self.fold}"

    @property
    def begins_with(self) -> Path:
        """Folder of its first pre-training: tasks that share it are pre-trained one after the other."""
        return self.stage_folder(0) if self.row.stages else self.pretrained

    @property
    def output(self) -> Path:
        """Folder of its classifier."""
        deciding = recorded_settings(self.experiment, self.row)
        return self.work / "finetuned" / short_digest(deciding) / f"seed-{self.seed}-fold-{self.fold}"

    def pretrain(self) -> None:
        """Pre-train on all folds but its own, unless that is done.

        Raises:
            ValueError: If FT2 needs a model of each codebook, but there is to be one of all.
        """
        if self.is_joint and self.reads_all_codebooks:
            raise ValueError(f"Row {self.row.name!r}: FT2 needs a model of each codebook, not `joint_codebooks`.")
        folders: dict[str, Path] = {}
        for number, stage in enumerate(self.row.stages):
            inputs = {name: folders[recipe] for name, recipe in stage.inputs.items()}
            folders[stage.recipe] = self.stage_folder(number)
            settings = {**self.shared, **self.experiment.shared, **stage.settings, **inputs}
            pretrain_stage_once(stage.recipe, self.stage_folder(number), **settings)
        if self.row.pretrain is not None:
            settings = {**self.shared, **self.experiment.shared, **self.row.pretrain_settings}
            num_codebooks = NUM_CODEBOOKS if self.reads_all_codebooks or self.is_joint else 1
            pretrain_once(self.row.pretrain, self.pretrained, num_codebooks, **settings)

    def test(self) -> Record:
        """Fine-tune, or fit a probe, on all folds but its own, and test on it."""
        start = time.perf_counter()
        predictions = self.finetune() if self.row.probe is None else self.probe()
        with np.load(predictions) as saved:
            if saved["targets"].ndim != 1:
                raise ValueError(f"{self.manifest}: experiments need one label per clip.")
            correct = saved["scores"].argmax(axis=1) == saved["targets"]
            ids = saved["ids"].tolist()
        return record_of(self.experiment, self.row, self.fold, self.seed, ids, correct, time.perf_counter() - start)

    def probe(self) -> Path:
        """Fit a probe to the vectors of the pre-trained model; gives the file of its predictions."""
        given = {**self.shared, "eval_folds": [self.fold]}
        assert self.row.probe is not None
        vectors = self.work / "vectors"
        return probe_once(self.row.probe, self.pretrained, self.output, vectors_dir=vectors, **given)

    def finetune(self) -> Path:
        """Fine-tune a model; gives the file of its predictions."""
        given = {**self.shared, **self.experiment.shared, **self.row.settings, "eval_folds": [self.fold]}
        if self.row.stages:
            given["model"] = self.pretrained
        elif self.row.pretrain is not None:
            reads = list(range(NUM_CODEBOOKS)) if self.is_joint else 0
            given["model"] = self.pretrained / name_codebooks(reads)
            if self.reads_all_codebooks:
                given["teachers"] = [str(self.pretrained / f"C{n + 1}") for n in range(1, NUM_CODEBOOKS)]
        finetune_once(str(self.row.finetune), self.output, **given)
        return self.output / PREDICTIONS


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


def record_of(
    experiment: Experiment,
    row: Row,
    fold: int,
    seed: int | None,
    ids: Sequence[str],
    correct: np.ndarray,
    seconds: float,
) -> Record:
    """What is recorded of a test; the clips in the order of their ids."""
    order = np.argsort(np.asarray(ids))
    return Record(
        row=row.name,
        fold=fold,
        seed=seed,
        settings=recorded_settings(experiment, row),
        metric="accuracy",
        value=float(np.mean(correct)),
        clips=hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest(),
        correct="".join("1" if correct[index] else "0" for index in order),
        seconds=round(seconds, 1),
    )


def codec_of(experiment: Experiment) -> Path:
    """Folder or Hub id of the codec: that of the shared settings, else the bundled one."""
    return Path(experiment.shared.get("codec", TINY_CODEC))


def extractor_of(experiment: Experiment, normalize: str | None = None) -> AudioFormerFeatureExtractor:
    """The feature extractor that makes the codes of a row."""
    codec = str(codec_of(experiment))
    return AudioFormerFeatureExtractor(codec=codec, codebooks=list(range(NUM_CODEBOOKS)), normalize=normalize)


def short_digest(value: Any) -> str:
    """Name of a folder for some settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
