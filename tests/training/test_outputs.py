"""The folder of a run: where its parts are, and what a kill while it is completed leaves."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.training import outputs
from audioformer.training.outputs import checkpoint_to_resume, drop_checkpoints, move_code
from audioformer.training.trainers import last_complete_checkpoint


def write_checkpoint(folder: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt"):
        (folder / name).write_bytes(b"x")
    (folder / "trainer_state.json").write_text("{}")


def arguments(**changes: Any) -> Any:
    return SimpleNamespace(**{"keep_checkpoints": False, "resume_from_checkpoint": "last", **changes})


def test_the_newest_checkpoint_counts_wherever_it_is(tmp_path):
    assert checkpoint_to_resume(arguments(), tmp_path) is None
    write_checkpoint(tmp_path / "checkpoint-4")
    assert checkpoint_to_resume(arguments(), tmp_path) == str(tmp_path / "checkpoint-4")
    write_checkpoint(tmp_path / "training" / "checkpoint-12")
    assert checkpoint_to_resume(arguments(), tmp_path) == str(tmp_path / "training" / "checkpoint-12")
    write_checkpoint(tmp_path / "checkpoint-20")
    assert checkpoint_to_resume(arguments(), tmp_path) == str(tmp_path / "checkpoint-20")
    assert checkpoint_to_resume(arguments(resume_from_checkpoint=None), tmp_path) is None


def test_only_checkpoints_are_dropped_and_none_if_they_are_kept(tmp_path):
    places = [
        tmp_path / "training" / "checkpoint-8",
        tmp_path / "training" / "checkpoint-16",
        tmp_path / "checkpoint-4",
    ]
    for place in places:
        write_checkpoint(place)
    others = [tmp_path / "checkpoint-best" / "x", tmp_path / "checkpoint-9.txt", tmp_path / "training" / "curves.png"]
    for other in others:
        other.parent.mkdir(exist_ok=True)
        other.write_text("mine")
    drop_checkpoints(arguments(keep_checkpoints=True), tmp_path)
    assert all(place.is_dir() for place in places)
    drop_checkpoints(arguments(), tmp_path)
    assert not any(place.exists() for place in places) and all(other.is_file() for other in others)


@pytest.mark.parametrize("survivors", [0, 1, 2])
def test_a_kill_while_checkpoints_are_dropped_leaves_only_whole_ones(tmp_path, monkeypatch, survivors):
    for number in (8, 16, 24):
        write_checkpoint(tmp_path / "training" / f"checkpoint-{number}")
    removed = 0

    def killed(folder: Path) -> None:
        nonlocal removed
        removed += 1
        if removed == 3 - survivors:
            (folder / "optimizer.pt").unlink()
            raise KeyboardInterrupt
        shutil.rmtree(folder)

    monkeypatch.setattr(outputs, "shutil", SimpleNamespace(rmtree=killed))
    with pytest.raises(KeyboardInterrupt):
        drop_checkpoints(arguments(), tmp_path)
    left = last_complete_checkpoint(tmp_path / "training")
    # The newest go first: the best one that a state names is still there when the run goes on.
    assert left == (str(tmp_path / "training" / f"checkpoint-{8 * survivors}") if survivors else None)


NAMES = st.from_regex(r"[a-z_]{1,12}", fullmatch=True)


@settings(derandomize=True, deadline=None, max_examples=30)
@given(modules=st.lists(NAMES, min_size=1, max_size=4, unique=True), foreign=NAMES, times=st.integers(1, 3))
def test_auto_map_names_the_code_where_it_is(tmp_path_factory, modules, foreign, times):
    folder = tmp_path_factory.mktemp("model")
    references: dict[str, Any] = {f"Auto{index}": f"{module}.Class" for index, module in enumerate(modules)}
    references |= {"Both": [f"{modules[0]}.Class", None], "Other": f"user/name--{foreign}.Class"}
    for _ in range(times):  # a run that is finished again saves its code again
        (folder / "config.json").write_text(json.dumps({"auto_map": references, "model_type": "x"}))
        for module in modules:
            (folder / f"{module}.py").write_text(module)
        move_code(folder)
        move_code(folder)
    saved = json.loads((folder / "config.json").read_text())
    assert saved["model_type"] == "x" and not list(folder.glob("*.py"))
    assert saved["auto_map"]["Other"] == references["Other"]
    assert saved["auto_map"]["Both"] == [f"code/{modules[0]}.Class", None]
    for index, module in enumerate(modules):
        path = folder / f"{saved['auto_map'][f'Auto{index}'].split('.')[0]}.py"
        assert path.read_text() == module and path.parent.name == "code"


def test_a_model_without_code_gets_no_folder_for_it(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "x"}')
    move_code(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
