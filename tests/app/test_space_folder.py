"""`model_cards/space`, set up as its README says, and run as the Hub runs it."""

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from huggingface_hub import SpaceCard
from packaging.version import Version

from audioformer.model_cards import TINY_ESC10

from ..requirements import import_or_skip
from .common import running_page, write_event

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "model_cards" / "space"


def test_the_metadata_is_what_a_space_needs():
    card = SpaceCard.load(SPACE / "README.md")
    assert card.data.sdk == "gradio" and card.data.app_file == "app.py" and (SPACE / "app.py").is_file()
    assert card.data.license == "apache-2.0"
    assert len(card.data.short_description) <= 60  # the Hub refuses longer ones
    colors = {"red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"}
    assert {card.data.colorFrom, card.data.colorTo} <= colors


def test_the_space_runs_the_gradio_that_is_tested():
    import_or_skip("gradio", "the page needs Gradio: pip install '.[app]'")
    named, tested = Version(SpaceCard.load(SPACE / "README.md").data.sdk_version), Version(metadata.version("gradio"))
    assert named.major == tested.major and named <= tested


def test_the_requirements_are_those_of_the_package():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    needed, listed = (
        {line for line in text.splitlines() if line and not line.startswith("#")}
        for text in (setup["options"]["install_requires"], (SPACE / "requirements.txt").read_text())
    )
    assert listed == needed


@pytest.mark.slow
def test_the_commands_of_its_readme_make_a_space_that_runs(tmp_path):
    gradio_client = import_or_skip("gradio_client", "the page needs Gradio: pip install '.[app]'")
    commands = [shlex.split(line) for line in re.findall(r"^    (.+)$", (SPACE / "README.md").read_text(), flags=re.M)]
    assert [command[0] for command in commands] == ["cp", "pip", "hf", "hf"]
    # A copy of the checkout, because building writes into it.
    ignored = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "runs", "__pycache__", "tests", "benchmarks")
    checkout = shutil.copytree(ROOT, tmp_path / "checkout", ignore=ignored)
    subprocess.run(commands[0], check=True, cwd=checkout)
    install = [sys.executable, "-m", *commands[1], "--no-build-isolation"]
    subprocess.run(install, check=True, capture_output=True, cwd=checkout)

    space = shutil.move(checkout / "my-space", tmp_path / "my-space")
    shutil.rmtree(checkout)
    where = [sys.executable, "-c", "import audioformer; print(audioformer.__file__)"]
    imported = subprocess.run(where, check=True, capture_output=True, text=True, cwd=space).stdout
    assert Path(imported.strip()).is_relative_to(space)

    model = shutil.copytree(TINY_ESC10, tmp_path / "a-model-of-mine")
    environment = {**os.environ, "AUDIOFORMER_MODEL": str(model), "TMPDIR": str(tmp_path)}
    with running_page(["app.py"], cwd=space, env=environment) as (url, process):
        client = gradio_client.Client(url, download_files=False, verbose=False, analytics_enabled=False)
        upload = gradio_client.handle_file(str(write_event(tmp_path / "knocks.wav")))
        _, scores, *_ = client.predict(upload, api_name="/classify")
        assert scores["label"] == "clock_tick"
        assert "a-model-of-mine" in str(client.config).replace("\\", "")
        assert list(tmp_path.glob("audioformer-app-*/uploads/*/knocks.wav"))
    assert process.returncode == 0
    assert not list(tmp_path.glob("audioformer-app-*"))
