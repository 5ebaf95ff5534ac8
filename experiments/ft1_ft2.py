"""FT1 against FT2 with the package's own commands: pre-training of all rows, then both methods, over several seeds.

    python benchmarks/ft1_ft2.py --data path/to/esc10 --work runs/ft1_ft2

On clips with one label (accuracy) and on mixtures of two (mAP). Each seed draws its own weights, order, masks
and held-out clips; the test fold is the same, and no method sees it before its one test. Finished runs are kept in
`--work` and not repeated; a killed one goes on from its last checkpoint.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from audioformer.files import EVAL_RESULTS, PRETRAIN_RESULTS

from .mixtures import make_mixtures

METHODS = ("ft1", "ft2")


def run(command: str, output: Path, results_file: str, *flags: str) -> None:
    """One command in a process of its own, unless its folder is finished; its output goes into a log beside it."""
    if (output / results_file).is_file():
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-m", "audioformer.cli", command, *flags, "--output", str(output)]
    program += ["--resume-from-checkpoint", "last"]
    with open(f"{output}.log", "a") as log:
        # One thread each: several seeds run side by side, and threads that wait for each other are slower than none.
        environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
        done = subprocess.run(program, stdout=log, stderr=subprocess.STDOUT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(program)} failed with status {done.returncode}; see {output}.log")


def run_seed(seed: int, arguments: argparse.Namespace, mixtures: Path) -> None:
    """Pre-training of all rows, and FT1 and FT2 on both tasks, of one seed."""
    folder = arguments.work / f"seed-{seed}"
    shared = ["--seed", str(seed), "--cache-dir", str(arguments.work / "codes")]
    pretrained = folder / "pretrained"
    epochs = ["--num-train-epochs", str(arguments.pretrain_epochs)] if arguments.pretrain_epochs else []
    fold = str(arguments.fold)
    # The last row is the last that is written.
    run(
        *("pretrain", pretrained, f"C4/{PRETRAIN_RESULTS}", "--recipe", "tiny_pretrain"),
        *("--data", str(arguments.data), "--train-folds", *map(str, arguments.train_folds), *shared, *epochs),
    )
    epochs = ["--num-train-epochs", str(arguments.finetune_epochs)] if arguments.finetune_epochs else []
    for task, source in (("one-label", arguments.data), ("two-labels", mixtures)):
        for method in METHODS:
            teachers = ["--teachers", *(str(pretrained / f"C{row}") for row in (2, 3, 4))] if method == "ft2" else []
            run(
                *("finetune", folder / f"{task}-{method}", EVAL_RESULTS, "--recipe", f"tiny_{method}"),
                *("--model", str(pretrained / "C1"), *teachers, "--data", str(source), "--eval-folds", fold),
                *("--train-folds", *map(str, arguments.train_folds), *shared, *epochs),
            )


def table(work: Path, seeds: list[int]) -> dict[str, dict[str, object]]:
    """Metric of each run and their mean, by task and method; prints the table."""
    print(f"{'task':<12}{'metric':<10}{'method':<8}{'mean':>8}{'sd':>7}  by seed " + ", ".join(map(str, seeds)))
    rows: dict[str, dict[str, object]] = {}
    for task, metric in (("one-label", "accuracy"), ("two-labels", "mAP")):
        for method in METHODS:
            files = [work / f"seed-{seed}" / f"{task}-{method}" / EVAL_RESULTS for seed in seeds]
            values = [json.loads(file.read_text())[metric] for file in files]
            spread = statistics.stdev(values) if len(values) > 1 else 0.0
            rows[f"{task}-{method}"] = {
                "metric": metric,
                "values": values,
                "mean": statistics.mean(values),
                "sd": spread,
            }
            listing = ", ".join(f"{value:.1%}" for value in values)
            print(f"{task:<12}{metric:<10}{method.upper():<8}{statistics.mean(values):>8.1%}{spread:>7.1%}  {listing}")
        pairs = zip(rows[f"{task}-ft1"]["values"], rows[f"{task}-ft2"]["values"], strict=True)  # type: ignore[arg-type]
        gains = [second - first for first, second in pairs]
        print(f"{'':<30}FT2 - FT1: {statistics.mean(gains):+.1%} ({', '.join(f'{gain:+.1%}' for gain in gains)})")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="single-label data set with folds, such as ESC-10")
    parser.add_argument("--work", type=Path, default=Path("runs/ft1_ft2"), help="folder for everything")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="(default: 0 1 2)")
    parser.add_argument("--fold", type=int, default=4, help="fold that tests (default: 4)")
    parser.add_argument("--train-folds", type=int, nargs="+", default=[1, 2, 3], help="(default: 1 2 3)")
    parser.add_argument("--mixtures", type=int, default=600, help="two-label mixtures of all folds (default: 600)")
    parser.add_argument("--pretrain-epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--finetune-epochs", type=int, help="in place of the recipe's")
    parser.add_argument("--jobs", type=int, default=1, help="seeds side by side (default: 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    arguments = parser.parse_args()
    mixtures = make_mixtures(arguments.data, arguments.work / "mixtures", arguments.mixtures)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for done in [pool.submit(run_seed, seed, arguments, mixtures) for seed in arguments.seeds]:
            done.result()
    rows = table(arguments.work, arguments.seeds)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
