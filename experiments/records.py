"""Results of an experiment: one JSON line per row, seed and fold, and the table and picture made of them."""

import hashlib
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .definition import Experiment, Row

NUM_RESAMPLES = 10_000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Record:
    """What one model, or one baseline, got right in one fold.

    Args:
        row (`str`): Name of the row.
        fold (`int`): The fold it was tested on.
        seed (`int`, *optional*): Its seed; `None` for a baseline.
        settings (`dict`): See [`Row.to_dict`], with the settings of all rows.
        metric (`str`): `"accuracy"`.
        value (`float`): Share of the clips that it got right.
        clips (`str`): SHA-256 of the ids of the clips, which are in order.
        correct (`str`): One digit per clip, in that order: 1 if it got it right.
        seconds (`float`): How long it took, pre-training not included.
    """

    row: str
    fold: int
    seed: int | None
    settings: dict[str, Any]
    metric: str
    value: float
    clips: str
    correct: str
    seconds: float


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


def append_record(file: Path, record: Record) -> None:
    """Add a record to a file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A killed run may have left half a line.
    separator = "" if not file.is_file() or file.read_bytes()[-1:] in (b"", b"\n") else "\n"
    with file.open("a", encoding="utf-8") as lines:
        lines.write(f"{separator}{json.dumps(asdict(record))}\n")


def read_records(file: Path, experiment: Experiment) -> list[Record]:
    """Read the records that belong to an experiment as it is now; those of other settings are left out.

    Args:
        file (`Path`): JSON lines; there may be none yet.
        experiment ([`Experiment`]): Its rows and what they share.

    Returns:
        `list[Record]`: The last record for each row, seed and fold.
    """
    current = {row.name: recorded_settings(experiment, row) for row in experiment.rows}
    found = {}
    for record in _all_records(file):
        if current.get(record.row) == record.settings:
            found[record.row, record.seed, record.fold] = record
    return list(found.values())


def recorded_settings(experiment: Experiment, row: Row) -> dict[str, Any]:
    """What determines the results of a row."""
    settings = row.to_dict() if row.baseline is not None else {"shared": dict(experiment.shared), **row.to_dict()}
    # As it is read back from JSON.
    return json.loads(json.dumps(settings))


def _all_records(file: Path) -> Iterator[Record]:
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            yield Record(**json.loads(line))
        except (json.JSONDecodeError, TypeError):
            continue


@dataclass(frozen=True)
class Result:
    """A row of the table.

    Args:
        name (`str`): Its name.
        mean (`float`): Share of all clips that were right, the mean over the seeds.
        interval (`tuple[float, float]`): Its 95 % bootstrap interval over the clips.
        by_seed (`list[float]`): The share for each seed.
        difference (`float`, *optional*): To the reference.
        difference_interval (`tuple[float, float]`, *optional*): Its 95 % interval, over the same resampled clips.
    """

    name: str
    mean: float
    interval: tuple[float, float]
    by_seed: list[float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None


def summarize(experiment: Experiment, records: Sequence[Record]) -> list[Result]:
    """The rows that are complete: tested on every fold with at least one seed, the same ones on all folds.

    The intervals tell how the results would vary with the choice of test clips; `by_seed` shows how they vary with
    the training.

    Raises:
        ValueError: If records of a fold are about different clips.
    """
    shares = {row.name: _shares_of_row(experiment, row.name, records) for row in experiment.rows}
    complete = {name: rows for name, rows in shares.items() if rows is not None}
    reference = complete.get(experiment.reference)
    results = []
    for name, rows in complete.items():
        per_clip = rows.mean(axis=0)
        compared: dict[str, Any] = {}
        if reference is not None and name != experiment.reference:
            gains = per_clip - reference.mean(axis=0)
            compared = {"difference": float(gains.mean()), "difference_interval": _interval(gains)}
        results.append(
            Result(name, float(per_clip.mean()), _interval(per_clip), rows.mean(axis=1).tolist(), **compared)
        )
    return results


@dataclass(frozen=True)
class Effect:
    """What the one thing is worth in which a row differs from another.

    Args:
        name (`str`): Name of the row.
        against (`str`): Name of the other.
        num_seeds (`int`): Number of seeds that both were trained with; others are left out.
        difference (`float`): Of the shares of clips that were right, row minus other.
        interval (`tuple[float, float]`): Its 95 % bootstrap interval over the clips, paired by clip.
    """

    name: str
    against: str
    num_seeds: int
    difference: float
    interval: tuple[float, float]


def effects(experiment: Experiment, records: Sequence[Record]) -> list[Effect]:
    """The differences of the rows that have `against`, for those pairs whose rows are both complete."""
    found = []
    for row in experiment.rows:
        if row.against is None:
            continue
        seeds = [_finished_seeds(experiment, name, records) for name in (row.name, row.against)]
        # A baseline has no seed, and is compared with all.
        both = set(seeds[0]) & set(seeds[1]) if None not in seeds[0] + seeds[1] else set(seeds[0]) | set(seeds[1])
        own, other = (_shares_of_row(experiment, name, records, both) for name in (row.name, row.against))
        if own is None or other is None:
            continue
        gains = own.mean(axis=0) - other.mean(axis=0)
        num_seeds = max(len(own), len(other))
        found.append(Effect(row.name, row.against, num_seeds, float(gains.mean()), _interval(gains)))
    return found


def _finished_seeds(experiment: Experiment, name: str, records: Sequence[Record]) -> list[int | None]:
    own = {(record.seed, record.fold) for record in records if record.row == name}
    seeds = sorted({seed for seed, _ in own}, key=lambda seed: -1 if seed is None else seed)
    return [seed for seed in seeds if all((seed, fold) in own for fold in experiment.folds)]


def _shares_of_row(
    experiment: Experiment, name: str, records: Sequence[Record], among: Collection[int | None] | None = None
) -> np.ndarray | None:
    """Zeros and ones of shape `(num_seeds, num_clips)`, for all finished seeds or those of them that are `among` some;
    `None` if there are none."""
    own = {(record.seed, record.fold): record for record in records if record.row == name}
    for fold in experiment.folds:
        digests = {record.clips for record in records if record.fold == fold}
        if len(digests) > 1:
            raise ValueError(f"The records of fold {fold} are about different clips: remove those of other data.")
    finished = _finished_seeds(experiment, name, records)
    if among is not None:
        finished = [seed for seed in finished if seed in among]
    if not finished:
        return None
    joined = ["".join(own[seed, fold].correct for fold in experiment.folds) for seed in finished]
    return np.array([[int(digit) for digit in digits] for digits in joined])


def _interval(per_clip: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    means = np.array([per_clip[rng.integers(len(per_clip), size=len(per_clip))].mean() for _ in range(NUM_RESAMPLES)])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def table(experiment: Experiment, results: Sequence[Result], compared_rows: Sequence[Effect] = ()) -> str:
    """The results as Markdown, with a second table of what single changes are worth."""
    lines = [
        f"# {experiment.title}",
        "",
        f"Each of {len(experiment.folds)} folds is tested with what was trained on the others. Accuracy over all",
        "clips, the mean over the seeds, with 95 % bootstrap intervals over the clips; differences, in points, are",
        "paired by clip.",
        "",
        f"| row | accuracy | 95 % | by seed | against {experiment.reference} | 95 % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        by_seed = ", ".join(f"{value:.1%}" for value in result.by_seed) if len(result.by_seed) > 1 else ""
        compared, range_of_compared = "", ""
        if result.difference is not None and result.difference_interval is not None:
            compared = f"{100 * result.difference:+.1f}"
            range_of_compared = " to ".join(f"{100 * end:+.1f}" for end in result.difference_interval)
        low, high = result.interval
        lines.append(
            f"| {result.name} | {result.mean:.1%} | {low:.1%} to {high:.1%} | {by_seed} | {compared} | "
            f"{range_of_compared} |"
        )
    if compared_rows:
        lines += [
            "",
            "## One change at a time",
            "",
            "Differences in points, paired by clip, over the seeds that both rows have.",
            "",
            "| row | against | seeds | difference | 95 % |",
            "| --- | --- | --- | --- | --- |",
        ]
    for effect in compared_rows:
        low, high = (100 * end for end in effect.interval)
        lines.append(
            f"| {effect.name} | {effect.against} | {effect.num_seeds} | {100 * effect.difference:+.1f} | "
            f"{low:+.1f} to {high:+.1f} |"
        )
    left_out = [row.name for row in experiment.rows if row.name not in {result.name for result in results}]
    if left_out:
        lines += ["", f"Not finished: {', '.join(left_out)}."]
    lines += [
        "",
        f'A row is repeated with `audioformer experiment {experiment.name} --data FOLDER --rows "ROW"`.',
    ]
    return "\n".join(lines) + "\n"


def save_picture(experiment: Experiment, results: Sequence[Result], file: Path) -> None:
    """Draw the accuracies with their intervals, and a point for each seed."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.4 * len(results)), layout="constrained")
    axes = figure.subplots()
    for position, result in enumerate(reversed(results)):
        low, high = result.interval
        color = "#888888" if result.name == experiment.reference else "#4063d8"
        axes.plot([100 * low, 100 * high], [position, position], color=color, linewidth=2)
        axes.plot([100 * result.mean], [position], "o", color=color, markersize=7)
        if len(result.by_seed) > 1:
            axes.plot([100 * value for value in result.by_seed], [position] * len(result.by_seed), "|", color="black")
    axes.set_yticks(range(len(results)), [result.name for result in reversed(results)])
    axes.set(xlabel="accuracy in %, with its 95 % interval; a stroke per seed", title=experiment.title)
    axes.grid(axis="x", alpha=0.3)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=120)
