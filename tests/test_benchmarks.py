"""`make benchmark` runs every benchmark there is and that the documents name, with what they say it gives."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = {"timing.py"}
"""What the benchmarks import; measures nothing itself."""


def commands() -> list[list[str]]:
    """The command lines of the target, without the interpreter."""
    target = re.search(r"^benchmark:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target is not None
    return [shlex.split(line)[1:] for line in target[1].splitlines()]


def test_every_benchmark_that_exists_or_is_named_is_run():
    run = {command[0] for command in commands()}
    assert run == {f"benchmarks/{path.name}" for path in (ROOT / "benchmarks").glob("*.py")} - {
        f"benchmarks/{name}" for name in SHARED
    }
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        assert set(re.findall(r"benchmarks/\w+\.py", document.read_text())) <= run, document


def test_beats_runs_without_the_authors_code(tmp_path):
    tiny = ["--batch", "2", "--seconds", "0.5", "--layers", "1", "--repeats", "1", "--json", "beats.json"]
    command = [sys.executable, str(ROOT / "benchmarks" / "beats.py"), *tiny]
    printed = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    rows = json.loads((tmp_path / "beats.json").read_text())["rows"]
    parts = {"forward", "filterbank", "waveform_to_logits", "lengths", "masked_step"}
    assert {row["part"] for row in rows} == parts and all(row["median s"] > 0 for row in rows)
    assert "of the same step over all patches" in printed and "authors' code" not in printed


def test_maskspec_runs_without_the_authors_code(tmp_path):
    tiny = ["--batch", "1", "--seconds", "0.5", "--layers", "1", "--repeats", "1", "--json", "maskspec.json"]
    command = [sys.executable, str(ROOT / "benchmarks" / "maskspec.py"), *tiny]
    printed = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    rows = json.loads((tmp_path / "maskspec.json").read_text())["rows"]
    parts = {"forward", "waveform_to_logits", "shorter_clips", "pretraining_step"}
    assert {row["part"] for row in rows} == parts and all(row["median s"] > 0 for row in rows)
    assert "with a quarter of the patches" in printed and "authors' code" not in printed


def test_dasheng_runs_without_the_authors_package(tmp_path):
    tiny = ["--batch", "2", "--seconds", "0.5", "--hour-seconds", "12", "--layers", "1", "--hidden-size", "64"]
    command = [sys.executable, str(ROOT / "benchmarks" / "dasheng.py"), *tiny, "--repeats", "1"]
    printed = subprocess.run(
        [*command, "--json", "dasheng.json"], check=True, cwd=tmp_path, capture_output=True, text=True
    ).stdout
    rows = json.loads((tmp_path / "dasheng.json").read_text())["rows"]
    parts = {"spectrogram", "forward", "waveform_to_vectors", "pretraining_step", "hour"}
    assert {row["part"] for row in rows} == parts and all(row["median s"] > 0 for row in rows)
    assert 0.1 < rows[-1]["peak GB"] < 10 and "authors' package" not in printed


def test_masked_lm_gives_memory_and_draws_its_plot(tmp_path):
    (command,) = [command for command in commands() if command[0].endswith("masked_lm.py")]
    plot = command[command.index("--plot") + 1]
    assert "--skip-memory" not in command and not (tmp_path / plot).exists()
    command[command.index("--batch") + 1] = "1"
    tiny = ["--length", "16", "--layers", "1", "--repeats", "1", "--steps", "forward", "--json", "masked_lm.json"]
    command = [sys.executable, str(ROOT / command[0]), *command[1:], *tiny]
    printed = subprocess.run(command, check=True, cwd=tmp_path, capture_output=True, text=True).stdout
    rows = json.loads((tmp_path / "masked_lm.json").read_text())["rows"]
    assert [row["model"] for row in rows] == ["RoFormer, eager", "AudioFormer, sdpa"]
    assert all(0.1 < row["peak GB"] < 10 and row["tokens/s"] > 0 for row in rows)
    assert "peak GB" in printed and f"{rows[0]['peak GB']:.4g}" in printed
    assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")
