"""Probing: the vectors of several models, probes on them, and their comparison."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from accelerate import PartialState

from audioformer.data.clips import Clips
from audioformer.evaluation.probes import knn_scores, linear_scores, mlp_scores
from audioformer.files import PROBE_PREDICTIONS, PROBE_RESULTS, PROBE_TABLE, write_whole

from ..arguments import PROBE
from ..classifiers import check_known
from ..clip_splits import has_test_source, open_and_report
from ..families import Settings, choose_family
from ..outputs import check_output
from ..results import describe_settings, publishable, published_name
from ..settings import create_settings, fields_of
from .arguments import ProbeArguments
from .comparison import ProbeResults, Scores, compare
from .partitions import Partitions, check_division, divide
from .vectors import ClipVectors, Encoder, common_clips, default_vectors_dir, vectors_of

PLACES = {"vectors_dir"}
"""Settings that name locations and say nothing about the results."""
PACKAGES = ("audioformer", "transformers", "torch")
"""Packages whose versions the settings of a run have."""


@dataclass(frozen=True)
class ProbeRun:
    """The settings of one run.

    Args:
        options ([`ProbeArguments`]): The probes.
        models (mapping of `str` to `Settings`): Settings of each model, by the name that the table gives it.
        output (`Path`): Folder to write.
    """

    options: ProbeArguments
    models: Mapping[str, Settings]
    output: Path


def create_probe_run(models: Sequence[str], options: ProbeArguments | None = None, **given: Any) -> ProbeRun:
    """Build the settings of a run.

    Args:
        models (sequence of `str`): Folders or Hub ids, of any families.
        options ([`ProbeArguments`], *optional*): The probes; by default k-NN and an MLP.
        given: Settings by name, as for `audioformer evaluate`, including `data` and `output_dir`. Each model takes
            those that its family has.

    Returns:
        [`ProbeRun`]: To be given to [`probe`].

    Raises:
        ValueError: If there is no model or one is named twice, or a setting does not exist for any of them or does not
            fit.
    """
    models = [str(model) for model in models]
    if not models:
        raise ValueError("`model` must be given: folders or Hub ids of the models to probe.")
    twice = sorted({model for model in models if models.count(model) > 1})
    if twice:
        raise ValueError(f"`model` must name different models, got {twice[0]!r} {models.count(twice[0])} times.")
    revision = given.get("model_revision")
    if revision is not None and len(models) > 1:
        raise ValueError(f"`model_revision` {revision!r} is for one model, got {len(models)}.")
    options = options or ProbeArguments()
    known = [fields_of(PROBE, choose_family(model, revision)) for model in models]
    unknown = [name for name in given if all(name not in fields for fields in known)]
    if unknown:
        raise ValueError(f"`{unknown[0]}` does not apply to `probe` of these models.")
    settings = [
        create_settings(PROBE, model=model, **{name: value for name, value in given.items() if name in fields})
        for model, fields in zip(models, known, strict=True)
    ]
    check_division(settings[0].data, options.cross_validate, any(map(has_test_source, settings)))
    output = Path(str(settings[0].training.output_dir))
    return ProbeRun(options, dict(zip(_names(models), settings, strict=True)), output)


def probe(run: ProbeRun) -> ProbeResults:
    """Compute vectors, fit the probes, compare the models, and write the folder.

    Vectors are kept in files outside of the folder, and each finished probe in the folder: the same run goes on where
    a killed one stopped.

    Args:
        run ([`ProbeRun`]): From [`create_probe_run`].

    Returns:
        [`ProbeResults`]: A row for each model and probe.

    Raises:
        ValueError: If a model or the data cannot be used, there are too few clips, or the folder holds results.
    """
    settings = list(run.models.values())
    num_processes = PartialState().num_processes
    if num_processes > 1:
        raise ValueError(f"`probe` runs in one process, got {num_processes}: start it without a launcher.")
    check_output(settings[0].training, [run.output], PROBE_RESULTS)
    started = time.perf_counter()
    opened = [_open(entry, show_report=number == 0) for number, entry in enumerate(settings)]
    # Before any vector is computed: what cannot be divided must not cost anything.
    planned = divide(settings[0].data, opened[0].clips, opened[0].test, run.options.cross_validate)
    fewest = min(len(part.train) for part in planned.parts)
    if "knn" in run.options.probes and run.options.k > fewest:
        raise ValueError(f"`k` must be at most the {fewest} clips to learn from, got {run.options.k}.")
    seconds = {"reading clips": time.perf_counter() - started}
    sources: list[list[ClipVectors]] = []
    for name, entry, source in zip(run.models, settings, opened, strict=True):
        started = time.perf_counter()
        sources.append(source.vectors(entry, run.options))
        seconds[f"vectors of {name}"] = time.perf_counter() - started
    table = _Table.of_sources(sources, run)
    started = time.perf_counter()
    scores = [
        Scores(name, entry.family.name, kind, table.scores(name, kind, vectors))
        for (name, entry), vectors in zip(run.models.items(), table.vectors, strict=True)
        for kind in run.options.probes
    ]
    seconds["probes"] = time.perf_counter() - started
    report = opened[0].clips.report
    results = ProbeResults(
        rows=compare(scores, table.targets[table.division.test], table.positions, table.groups),
        multi_label=table.targets.ndim == 2,
        num_clips=len(table.division.test),
        tested_on=table.division.tested_on,
        notes=[*table.notes, *table.division.notes],
        fitted=[describe_probe(kind, run.options) for kind in run.options.probes],
        settings=_describe(run),
        data=asdict(report),
        data_text=report.to_text(),
        seconds=seconds,
    )
    _save(results, run.output)
    print(results.to_text())
    return results


@dataclass(frozen=True)
class _Opened:
    """The clips of one model.

    Args:
        extractor: Its feature extractor.
        clips ([`Clips`]): The clips of the data.
        test ([`Clips`], *optional*): Those of the separate source to test on.
    """

    extractor: Any
    clips: Clips
    test: Clips | None

    def vectors(self, settings: Settings, options: ProbeArguments) -> list[ClipVectors]:
        """The vectors of the clips of each source."""
        encoder = Encoder.load(settings, self.extractor)
        folder = default_vectors_dir() if options.vectors_dir is None else Path(options.vectors_dir)
        clips_of_sources = [self.clips] if self.test is None else [self.clips, self.test]
        return [ClipVectors.of_windows(clips, vectors_of(encoder, clips, folder)) for clips in clips_of_sources]


def _open(settings: Settings, show_report: bool) -> _Opened:
    extractor = settings.family.examples.open_extractor(settings)
    clips = open_and_report(settings, extractor, check_labels=_check_labels, show_report=show_report)
    if not has_test_source(settings):
        return _Opened(extractor, clips, None)
    test = open_and_report(settings, extractor, test_source=True, show_report=show_report)
    check_known(test.labels, clips.labels, "The training data")
    return _Opened(extractor, clips, test.with_labels(clips.labels, clips.multi_label))


def _check_labels(labels: Sequence[str], multi_label: bool) -> None:
    if len(labels) < 2:
        raise ValueError(f"A probe needs labels of at least two classes, the data have {list(labels)}.")


@dataclass(frozen=True)
class _Table:
    """The clips that all models have: those of the data, then those of the separate source to test on.

    Args:
        run ([`ProbeRun`]): The settings.
        names (`list[str]`): Name of each clip.
        labels (`list[str]`): Names of the classes.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones.
        all_groups (`list`): Group of each clip.
        vectors (sequence of `np.ndarray` of shape `(num_clips, hidden_size)`): Of each model.
        division ([`Partitions`]): Which clips are learned from and tested on.
        notes (sequence of `str`): What a reader has to know.
    """

    run: ProbeRun
    names: list[str]
    labels: list[str]
    targets: np.ndarray
    all_groups: list[str | None]
    vectors: Sequence[np.ndarray]
    division: Partitions
    notes: Sequence[str]

    @classmethod
    def of_sources(cls, sources: Sequence[Sequence[ClipVectors]], run: ProbeRun) -> "_Table":
        """Reduce the clips of all models to those that all have, and divide them."""
        # By source, then by model; clips and their order are the same for all models.
        shared = [common_clips(of_models) for of_models in zip(*sources, strict=True)]
        firsts = [of_models[0] for of_models in shared]
        known = [set().union(*(clips.keys for clips in of_models)) for of_models in zip(*sources, strict=True)]
        left_out = sum(map(len, known)) - sum(len(first.names) for first in firsts)
        are_left_out = "clip is left out" if left_out == 1 else "clips are left out"
        by_model = zip(*([clips.vectors for clips in of_models] for of_models in shared), strict=True)
        clips = [first.clips for first in firsts]
        data = next(iter(run.models.values())).data
        return cls(
            run=run,
            names=[name for first in firsts for name in first.names],
            labels=clips[0].labels,
            targets=np.concatenate([source.targets for source in clips]),
            all_groups=[group for source in clips for group in source.groups],
            vectors=[np.concatenate(list(of_model)) for of_model in by_model],
            division=divide(data, clips[0], clips[1] if len(clips) > 1 else None, run.options.cross_validate),
            notes=[f"{left_out:,} {are_left_out} that not all models could read."] if left_out else [],
        )

    @property
    def groups(self) -> list[str | None]:
        """Group of each test clip."""
        return [self.all_groups[index] for index in self.division.test]

    @property
    def positions(self) -> dict[str, np.ndarray]:
        """Positions of the clips of each part among the test clips."""
        ends = np.cumsum([len(part.test) for part in self.division.parts])
        return {
            part.name: np.arange(end - len(part.test), end)
            for part, end in zip(self.division.parts, ends.tolist(), strict=True)
        }

    def scores(self, name: str, kind: str, vectors: np.ndarray) -> dict[int | None, np.ndarray]:
        """Fit a probe for each of its seeds, or read what was finished before.

        Args:
            name (`str`): Name of the model.
            kind (`str`): The probe.
            vectors (`np.ndarray` of shape `(num_clips, hidden_size)`): Of the model.

        Returns:
            `dict`: By seed, `None` for a probe without one, scores of shape `(num_test, num_labels)`.
        """
        folder = self.run.output / PROBE_PREDICTIONS / name.replace("/", "--")
        folder.mkdir(parents=True, exist_ok=True)
        scores: dict[int | None, np.ndarray] = {}
        for seed in self.run.options.seeds if kind == "mlp" else [None]:
            file = folder / (f"{kind}.npz" if seed is None else f"{kind}-seed{seed}.npz")
            key = self._key(kind, seed, vectors)
            found = _read_scores(file, key)
            scores[seed] = self._fit(kind, seed, vectors) if found is None else found
            if found is None:
                self._write_scores(file, key, scores[seed])
        return scores

    def _fit(self, kind: str, seed: int | None, vectors: np.ndarray) -> np.ndarray:
        fit = _probe(kind, self.run.options, seed)
        return np.concatenate(
            [
                fit(vectors[part.train], self.targets[part.train], vectors[part.test], len(self.labels))
                for part in self.division.parts
            ]
        )

    def _key(self, kind: str, seed: int | None, vectors: np.ndarray) -> str:
        deciding = [describe_probe(kind, self.run.options), seed, version("scikit-learn"), self.names, self.labels]
        digest = hashlib.sha256(json.dumps(deciding).encode())
        indices = [array for part in self.division.parts for array in (part.train, part.test)]
        for array in (vectors, self.targets, *indices):
            digest.update(json.dumps([str(array.dtype), list(array.shape)]).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def _write_scores(self, file: Path, key: str, scores: np.ndarray) -> None:
        """Write what `evaluate` writes, with the part that each clip was tested in, and what identifies the probe."""
        test = self.division.test
        contents = {
            "ids": np.array([self.names[index] for index in test]),
            "scores": scores,
            "targets": self.targets[test],
            "labels": np.array(self.labels),
            "parts": np.repeat(list(self.positions), [len(part.test) for part in self.division.parts]),
            "key": np.array(key),
        }
        write_whole(file, lambda path: np.savez_compressed(path, **contents))


def _read_scores(file: Path, key: str) -> np.ndarray | None:
    """The scores in a file of the same probe; `None` if there is none."""
    if not file.is_file():
        return None
    try:
        with np.load(file) as saved:
            return saved["scores"] if str(saved["key"]) == key else None
    except (ValueError, KeyError, OSError, BadZipFile):
        # Not a file of ours: it is replaced.
        return None


def _probe(kind: str, options: ProbeArguments, seed: int | None) -> Callable[..., np.ndarray]:
    if kind == "knn":
        return partial(knn_scores, k=options.k)
    if kind == "linear":
        return partial(linear_scores, regularization=options.linear_c)
    return partial(
        mlp_scores,
        hidden_size=options.mlp_hidden_size,
        learning_rate=options.mlp_learning_rate,
        epochs=options.mlp_epochs,
        seed=seed or 0,
    )


def describe_probe(kind: str, options: ProbeArguments) -> str:
    """How a probe is fitted, in words that have all its settings but the seeds."""
    if kind == "knn":
        return (
            f"k-NN: shares of the labels among the {options.k} nearest training clips by cosine distance, each with "
            "the same weight; vectors as they are."
        )
    if kind == "linear":
        return f"linear: logistic regression with C = {options.linear_c} on standardized vectors."
    return (
        f"MLP: one hidden layer of {options.mlp_hidden_size} ReLUs on standardized vectors, Adam with the learning "
        f"rate {options.mlp_learning_rate}, at most {options.mlp_epochs} epochs; the mean over the seeds."
    )


def _describe(run: ProbeRun) -> dict[str, Any]:
    options = {name: publishable(value) for name, value in asdict(run.options).items() if name not in PLACES}
    described: dict[str, Any] = {"models": list(run.models), **options}
    for settings in run.models.values():
        # `TrainingArguments` changes many of its own fields, of which none matters here.
        taken = (fields_of(PROBE, settings.family).keys() - {"model", "output_dir", "cache_dir"}) | set(PACKAGES)
        described |= {name: value for name, value in describe_settings(settings).items() if name in taken}
    return {**described, "scikit-learn": version("scikit-learn")}


def _names(models: Sequence[str]) -> list[str]:
    """What the table calls models: Hub ids as they are, folders by their names, with that above if these are alike."""
    names = [str(published_name(model)) for model in models]
    longer = ["/".join(Path(model).resolve().parts[-2:]) for model in models]
    names = [long if names.count(name) > 1 else name for name, long in zip(names, longer, strict=True)]
    return [
        f"{name} ({names[: number + 1].count(name)})" if names.count(name) > 1 else name
        for number, name in enumerate(names)
    ]


def _save(results: ProbeResults, output: Path) -> None:
    page = results.to_markdown()
    write_whole(output / PROBE_TABLE, lambda path: path.write_text(page, encoding="utf-8"))
    text = json.dumps(results.to_dict(), indent=2, ensure_ascii=False, default=str) + "\n"
    # Last: a folder that has it is finished.
    write_whole(output / PROBE_RESULTS, lambda path: path.write_text(text, encoding="utf-8"))
