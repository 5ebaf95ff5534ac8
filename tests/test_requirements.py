"""Tests whose requirements are missing are skipped, but CI does not pass without them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TEST_FILE = """
from tests.requirements import import_or_skip, program_or_skip

{requirement}


def test_it():
    pass
"""


def run_without(folder: Path, requirement: str, **variables: str) -> subprocess.CompletedProcess:
    """Run a test that needs something, where no program can be found."""
    (folder / "test_something.py").write_text(TEST_FILE.format(requirement=requirement))
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    environment |= {"PATH": str(folder), "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--rootdir", str(folder), str(folder)]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize(
    "requirement",
    ['program_or_skip(("chromium",), "no Chromium: apt-get install it")', 'import_or_skip("gradion", "no Gradio")'],
)
def test_what_is_missing_skips_here_and_fails_in_ci(tmp_path, requirement):
    here = run_without(tmp_path, requirement)
    # 5: no test was run.
    assert here.returncode == 5 and "1 skipped" in here.stdout and "SKIPPED [1]" in here.stdout, here.stdout
    in_ci = run_without(tmp_path, requirement, CI="true")
    assert in_ci.returncode not in (0, 5) and "1 error" in in_ci.stdout, in_ci.stdout
    assert "CI must not skip these tests" in in_ci.stdout and "skipped" not in in_ci.stdout


def test_what_is_there_is_used(tmp_path):
    (tmp_path / "google-chrome").touch(mode=0o755)
    requirement = """
assert program_or_skip(("chromium", "google-chrome"), "none").endswith("google-chrome")
assert import_or_skip("json", "none").loads("1") == 1
"""
    assert run_without(tmp_path, requirement, CI="true").returncode == 0


def test_the_tests_of_the_page_name_what_they_need_in_this_way():
    for file in (ROOT / "tests" / "app").glob("test_*.py"):
        text = file.read_text()
        assert "importorskip" not in text and "skipif" not in text, file.name
    assert "export CI=" in (ROOT / ".ci" / "run").read_text()
