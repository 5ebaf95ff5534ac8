"""Which libraries an import or a command line loads, in processes of their own. Modules are counted, not seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {"torch", "transformers", "numpy", "sklearn", "scipy", "datasets", "evaluate", "matplotlib", "pyarrow"}

# Imports one thing after another and prints the libraries that are loaded after each.
REPORT = """
import importlib, json, sys
loaded = {{}}
for name in {names!r}:
    module, _, attribute = name.partition(":")
    module = importlib.import_module(module)
    if attribute:
        getattr(module, attribute)
    loaded[name] = sorted({{name.partition(".")[0] for name in sys.modules}})
print(json.dumps(loaded))
"""

# What the installed script `audioformer` does.
COMMAND_LINE = """
import json, sys
sys.argv = {argv!r}
status = 0
try:
    from audioformer.cli import main
    status = main()
except SystemExit as exit:
    status = exit.code or 0
print()
print(json.dumps([status, sorted({{name.partition(".")[0] for name in sys.modules}})]))
"""


def last_line(code: str, folder: Path | None = None):
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["--help"], 0),
        (["--version"], 0),
        ([], 2),
        (["no-such-command"], 2),
        (["classify", "--help"], 0),
        (["classify", "--no-such-flag", "tone.wav"], 2),
        (["classify", "tone.wav", "--top-k", "0"], 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(value),
)
def test_help_and_mistakes_load_no_heavy_library(arguments, status, tmp_path):
    code = COMMAND_LINE.format(argv=[str(tmp_path / "bin" / "audioformer"), *arguments])
    actual, loaded = last_line(code, tmp_path)
    assert actual == status
    assert "audioformer" in loaded
    assert not HEAVY & set(loaded)


# What a model needs in any case: torch with numpy, transformers' base class with accelerate and scipy, and soundfile
# through the audio utilities of transformers. None of it loads the libraries of this set; transformers' Trainer does
# load datasets, with pandas and pyarrow.
EVALUATION_AND_DATA = {"sklearn", "datasets", "evaluate", "matplotlib", "pandas", "pyarrow"}
BASE_CLASS = "transformers:PreTrainedModel"
PARTS = [
    "audioformer",
    "audioformer.modeling_audioformer",
    "audioformer.feature_extraction",
    "audioformer.data",
    "audioformer:load_audio",
    "audioformer.training",
    "audioformer.training.losses",
    "audioformer.evaluation",
]


@pytest.fixture(scope="module")
def libraries() -> dict[str, set[str]]:
    """What is loaded after each of `PARTS`, one after another in one process: torch is imported once."""
    return {name: set(loaded) for name, loaded in last_line(REPORT.format(names=[BASE_CLASS, *PARTS])).items()}


def test_the_base_class_of_models_does_not_load_what_ours_must_not(libraries):
    """Otherwise the tests below would ask for what transformers makes impossible."""
    assert {"torch", "numpy"} <= libraries[BASE_CLASS]
    assert not EVALUATION_AND_DATA & libraries[BASE_CLASS]


@pytest.mark.parametrize("part", PARTS)
def test_importing_a_part_loads_only_what_it_needs(libraries, part):
    assert not EVALUATION_AND_DATA & libraries[part]
