"""Every command line of the README, run as it stands in one folder, from the first to the last."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audioformer.cli import main
from audioformer.commands import app, export

from .hub.client import run_client
from .hub.conftest import server  # noqa: F401  (a fixture)
from .hub.server import TOKEN

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
FAST = ["--num-train-epochs", "1", "--use-cpu"]
EXTRA_FLAGS = {
    "pretrain": [*FAST, "--num-hidden-layers", "1"],
    "finetune": FAST,
    # The codec is the bundled one, which tests/export exports.
    "export": ["--parts", "classifier"],
}
"""Flags that make a command fast; the lines themselves run as they stand."""
RUN_BY_OTHERS = {
    "make demo": "tests/experiments/test_demo.py runs what the target runs",
    "make test": "this is it",
    "pip install torch==2.13.0": "the Makefile",
    "pip install .": "tests/test_packaging.py",
}
PUSH = "import sys\nfrom audioformer.cli import main\nsys.exit(main(sys.argv[1:]))"


def command_lines() -> list[str]:
    """Indented lines outside of blocks, with continuations joined and comments cut; not the lines of Python."""
    text = re.sub(r"```.*?```", "", README, flags=re.S).replace("\\\n", " ")
    lines = [line.strip() for line in text.splitlines() if line.startswith("    ")]
    lines = [line.removeprefix("$ ") for line in lines]
    return [
        line.split("  #")[0].split(" # ")[0].strip() for line in lines if re.match(r"(audioformer|make|pip|hf) ", line)
    ]


def write_sounds(folder: Path, num_clips: int = 24) -> None:
    for index in range(num_clips):
        split = "test" if index % 4 == 3 else "train"
        # Two clips of each recording, as in the pattern for groups.
        path = folder / split / ("hum", "hiss")[index // 4 % 2] / f"take{index // 2}_{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng(index).standard_normal(6000)
        soundfile.write(path, noise if index // 4 % 2 else noise * 0.1 + np.sin(np.arange(6000) * 0.1), 16000)


def test_no_command_is_forgotten():
    names = {" ".join(line.split()[:2]) for line in command_lines() if line.startswith("audioformer")}
    wanted = ("classify", "encode", "pretrain", "finetune", "evaluate", "push", "app", "export")
    assert names == {f"audioformer {name}" for name in wanted}


@pytest.mark.slow
def test_the_commands_run_as_they_stand(tmp_path, monkeypatch, server):  # noqa: F811
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    for name in ("sounds", "other_sounds", "recordings"):
        write_sounds(tmp_path / name)
    soundfile.write("1-26806-A.ogg", 0.1 * np.random.default_rng(0).standard_normal(44100), 44100)
    for line in command_lines():
        if line in RUN_BY_OTHERS:
            continue
        program, command, *flags = shlex.split(line)
        if program == "make":
            dry = subprocess.run(["make", "--dry-run", command], cwd=ROOT, capture_output=True, text=True)
            assert dry.returncode == 0, dry.stderr
            continue
        assert program == "audioformer", f"nothing runs {line!r}"
        if command == "push":
            # The upload lines of the README, to a Hub on this machine.
            flags = [flag.replace("USER/", "tester/") for flag in flags]
            done = run_client(
                PUSH,
                command,
                *[_absolute(flag, tmp_path) for flag in flags],
                server=server,
                home=tmp_path / "push",
                token=TOKEN,
            )
            assert done.returncode == 0, (line, done.stderr)
        elif command == "app":
            # tests/app runs the page in a browser.
            app.parse(flags)
        elif command == "export" and not _has_onnx():
            export.parse(flags)
        else:
            assert main([command, *flags, *EXTRA_FLAGS.get(command, [])]) == 0, line
    assert {name for _, name in server.repositories} == {"tester/NAME", "tester/NAME-codes"}


def _absolute(flag: str, folder: Path) -> str:
    return str(folder / flag) if (folder / flag).exists() else flag


def _has_onnx() -> bool:
    try:
        import onnxruntime  # noqa: F401
    except ImportError:
        return False
    return True
