"""Which checkpoint a killed run resumes from."""

from pathlib import Path

import pytest

from audioformer.training.trainers import last_complete_checkpoint


def write(folder: Path, step: int, state: str | None = "{}", weights: str | None = "model.safetensors") -> str:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir()
    if state is not None:
        (checkpoint / "trainer_state.json").write_text(state)
    if weights is not None:
        (checkpoint / weights).write_bytes(b"")
    return str(checkpoint)


def test_the_highest_complete_step_is_found(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    write(tmp_path, 9)
    newest = write(tmp_path, 100)
    write(tmp_path, 20)
    (tmp_path / "checkpoint-best").mkdir()
    assert last_complete_checkpoint(tmp_path) == newest


@pytest.mark.parametrize(
    "damage", [{"state": None}, {"state": '{"global_st'}, {"weights": None}, {"weights": "optimizer.pt"}]
)
def test_a_checkpoint_that_was_cut_is_passed_over(tmp_path, damage):
    complete = write(tmp_path, 5)
    write(tmp_path, 10, **damage)
    assert last_complete_checkpoint(tmp_path) == complete


@pytest.mark.parametrize("weights", ["model.safetensors.index.json", "pytorch_model_fsdp_0", "latest"])
def test_weights_may_be_sharded(tmp_path, weights):
    found = write(tmp_path, 10, weights=weights)
    assert last_complete_checkpoint(tmp_path) == found
