"""FT1 against FT2 by recipes: pre-training for all codebooks, then both methods, with several seeds.

    python -m audioformer.experiments.ft1_ft2 --data path/to/esc10 --work runs/ft1_ft2

The tasks are clips with one label (accuracy) and mixtures of two clips (mAP). Each seed has its own weights, order,
masks and held-out clips. The test fold is the same for all, and each model sees it once, in its test. Finished runs
are kept in `--work` and not repeated; a run that was killed resumes from its last checkpoint.
"""

import argparse
import json
import multiprocessing
import os
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from audioformer.files import EVAL_RESULTS
from audioformer.training.outputs import quiet_loading

from .mixtures import make_mixtures
from .runs import finetune_once, pretrain_once

METHODS = ("ft1", "ft2")
METRICS = {"one-label": "accuracy", "two-labels": "mAP"}
NUM_CODEBOOKS = 4


@dataclass(frozen=True)
class Comparison:
    """What every seed of a comparison shares.

    Args:
        data (`Path`): Data set with one label per clip and folds.
        mixtures (`Path`): Manifest of the two-label mixtures.
        work (`Path`): Folder for everything.
        fold (`int`): Fold to test on.
        train_folds (sequence of `int`): Folds to train on.
        pretrain (mapping): Settings that take precedence over the recipe of pre-training.
        finetune (mapping): Settings that take precedence over the recipes of fine-tuning.
    """

    data: Path
    mixtures: Path
    work: Path
    fold: int = 4
    train_folds: Sequence[int] = (1, 2, 3)
    pretrain: Mapping[str, Any] = field(default_factory=dict)
    finetune: Mapping[str, Any] = field(default_factory=dict)


def run_seed(seed: int, comparison: Comparison) -> None:
    """Pre-train for all codebooks, and fine-tune by FT1 and FT2 on both tasks, with one seed."""
    quiet_loading()
    folder = comparison.work / f"seed-{seed}"
    pretrained = folder / "pretrained"
    shared: dict[str, Any] = {
        "train_folds": list(comparison.train_folds),
        "cache_dir": comparison.work / "codes",
        "seed": seed,
        "progress": False,
    }
    pretrain_once("tiny_pretrain", pretrained, NUM_CODEBOOKS, data=comparison.data, **shared, **comparison.pretrain)
    teachers = [str(pretrained / f"C{codebook + 1}") for codebook in range(1, NUM_CODEBOOKS)]
    own_settings: dict[str, dict[str, Any]] = {"ft1": {}, "ft2": {"teachers": teachers}}
    for task, source in (("one-label", comparison.data), ("two-labels", comparison.mixtures)):
        for method in METHODS:
            finetune_once(
                f"tiny_{method}",
                folder / f"{task}-{method}",
                model=pretrained / "C1",
                data=source,
                eval_folds=[comparison.fold],
                **own_settings[method],
                **shared,
                **comparison.finetune,
            )


def read_results(work: Path, seeds: Sequence[int]) -> dict[str, dict[str, Any]]:
    """Metric of each run with its mean and standard deviation over the seeds, by task and method."""
    results = {}
    for task, metric in METRICS.items():
        for method in METHODS:
            files = [work / f"seed-{seed}" / f"{task}-{method}" / EVAL_RESULTS for seed in seeds]
            values = [json.loads(file.read_text(encoding="utf-8"))[metric] for file in files]
            results[f"{task}-{method}"] = {
                "metric": metric,
                "values": values,
                "mean": statistics.mean(values),
                "sd": statistics.stdev(values) if len(values) > 1 else 0.0,
            }
    return results


def table(results: Mapping[str, Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """The results as a table for the terminal, with the gain of FT2 over FT1 for each seed."""
    lines = [f"{'task':<12}{'metric':<10}{'method':<8}{'mean':>8}{'sd':>7}  by seed {', '.join(map(str, seeds))}"]
    for task, metric in METRICS.items():
        for method in METHODS:
            row = results[f"{task}-{method}"]
            values = ", ".join(f"{value:.1%}" for value in row["values"])
            lines.append(f"{task:<12}{metric:<10}{method.upper():<8}{row['mean']:>8.1%}{row['sd']:>7.1%}  {values}")
        first, second = (results[f"{task}-{method}"]["values"] for method in METHODS)
        gains = [after - before for before, after in zip(first, second, strict=True)]
        lines.append(
            f"{'':<30}FT2 - FT1: {statistics.mean(gains):+.1%} ({', '.join(f'{gain:+.1%}' for gain in gains)})"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="single-label data set with folds, such as ESC-10")
    parser.add_argument("--work", type=Path, default=Path("runs/ft1_ft2"), help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--fold", type=int, default=4, help="fold to test on (default: 4)")
    parser.add_argument("--train-folds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--mixtures", type=int, default=600, help="two-label mixtures of all folds (default: 600)")
    parser.add_argument("--pretrain-epochs", type=float, help="epochs of pre-training (default: those of the recipe)")
    parser.add_argument("--finetune-epochs", type=float, help="epochs of fine-tuning (default: those of the recipes)")
    parser.add_argument("--jobs", type=int, default=1, help="seeds to run side by side (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to FILE as well")
    arguments = parser.parse_args(argv)
    # One thread per process: several seeds run side by side, and threads that wait for each other slow all of them.
    # Processes of the pool read it when they import torch.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    epochs = {"pretrain": arguments.pretrain_epochs, "finetune": arguments.finetune_epochs}
    comparison = Comparison(
        arguments.data,
        make_mixtures(arguments.data, arguments.work / "mixtures", arguments.mixtures),
        arguments.work,
        fold=arguments.fold,
        train_folds=arguments.train_folds,
        **{part: {"num_train_epochs": number} for part, number in epochs.items() if number is not None},
    )
    context = multiprocessing.get_context("spawn")
    # A process of its own per seed: nothing of one run is left in memory for the next.
    with ProcessPoolExecutor(arguments.jobs, mp_context=context, max_tasks_per_child=1) as pool:
        for done in [pool.submit(run_seed, seed, comparison) for seed in arguments.seeds]:
            done.result()
    results = read_results(arguments.work, arguments.seeds)
    print(table(results, arguments.seeds))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
