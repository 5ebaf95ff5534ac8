"""What a run records about its training: the same whether it was resumed or not, and the precision that was used."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.multiprocessing import ProcessExitedException

from audioformer.model_cards.callback import PARTS, logged_loss, merged
from audioformer.training.results import notes_on_record
from audioformer.training.trainers import last_complete_checkpoint

from ..processes import run_in_process, run_on_two_processes
from .run_training import train

SETTINGS = {
    "num_train_epochs": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-2,
    "logging_steps": 5,  # not where the checkpoints are
    "save_steps": 3,
    "seed": 7,
}


def facts_of(folder) -> dict:
    return json.loads((folder / "facts.json").read_text())


@pytest.mark.parametrize("kill_at", [4, 8])
def test_a_resumed_run_records_all_its_parts(kill_at, tmp_path):
    run_in_process(train, "mlm", tmp_path / "whole", SETTINGS)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        run_in_process(train, "mlm", tmp_path / "cut", SETTINGS | {"kill_at": kill_at})
    checkpoint = last_complete_checkpoint(tmp_path / "cut")
    with open(f"{checkpoint}/trainer_state.json") as file:
        (first,) = json.load(file)["stateful_callbacks"][PARTS]
    assert first["steps"] == kill_at - kill_at % 3
    run_in_process(train, "mlm", tmp_path / "cut", SETTINGS | {"resume_from_checkpoint": "last"})
    whole, resumed = facts_of(tmp_path / "whole"), facts_of(tmp_path / "cut")
    assert [part["steps"] for part in whole["parts"]] == [12]
    assert [part["steps"] for part in resumed["parts"]] == [first["steps"], 12 - first["steps"]]
    assert resumed["train_loss"] == pytest.approx(whole["train_loss"], rel=1e-6)
    assert resumed["parts"][0] == first
    assert resumed["seconds"] == sum(part["seconds"] for part in resumed["parts"]) > first["seconds"] > 0
    assert resumed["peak_memory_gb"] == max(part["peak_memory_gb"] for part in resumed["parts"]) > 0
    assert resumed["steps"] == 12 and resumed["unrecorded_steps"] == 0 and notes_on_record(resumed) == []
    assert resumed["precision"] == "float32" and resumed["hardware"] == whole["hardware"]


def test_the_loss_is_that_of_the_trainer(tmp_path):
    run_in_process(train, "cross_entropy", tmp_path, SETTINGS | {"logging_steps": 1})
    history = json.loads((tmp_path / "log.json").read_text())
    (trainers,) = [record["train_loss"] for record in history if "train_loss" in record]
    assert facts_of(tmp_path)["train_loss"] == pytest.approx(trainers, rel=1e-6)


def test_processes_record_their_mean_loss(tmp_path):
    run_in_process(train, "lsep", tmp_path / "one", SETTINGS)
    run_on_two_processes(train, "lsep", tmp_path / "two", SETTINGS | {"per_device_train_batch_size": 2})
    one, two = facts_of(tmp_path / "one"), facts_of(tmp_path / "two")
    assert two["num_processes"] == 2 and two["batch_size"] == one["batch_size"] == 8
    assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)


def test_a_checkpoint_without_a_record_is_said(tmp_path):
    run_in_process(train, "mlm", tmp_path, SETTINGS)
    whole = facts_of(tmp_path)
    for folder in tmp_path.glob("checkpoint-*"):
        if folder.name != "checkpoint-6":
            (folder / "trainer_state.json").unlink()
    file = tmp_path / "checkpoint-6" / "trainer_state.json"
    state = json.loads(file.read_text())
    del state["stateful_callbacks"][PARTS]
    file.write_text(json.dumps(state))
    run_in_process(train, "mlm", tmp_path, SETTINGS | {"resume_from_checkpoint": "last"})
    resumed = facts_of(tmp_path)
    assert resumed["unrecorded_steps"] == 6 and [part["steps"] for part in resumed["parts"]] == [6]
    assert resumed["train_loss"] == pytest.approx(whole["train_loss"], rel=0.05)
    (note,) = notes_on_record(resumed)
    assert "6 of the 12 steps" in note


@pytest.mark.parametrize(
    ("environment", "changes", "expected"),
    [
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {}, "bfloat16"),
        ({}, {"bf16": True}, "bfloat16"),
        ({"ACCELERATE_MIXED_PRECISION": "bf16"}, {"dtype": "float64"}, "bfloat16"),
        ({}, {"dtype": "float64"}, "float64"),
    ],
)
def test_the_precision_is_the_one_that_was_used(environment, changes, expected, tmp_path):
    run_in_process(train, "mlm", tmp_path, SETTINGS | {"max_steps": 1, "environment": environment} | changes)
    assert facts_of(tmp_path)["precision"] == expected


PART = st.fixed_dictionaries(
    {
        "hardware": st.sampled_from(["CPU", "H200"]),
        "num_processes": st.integers(1, 2),
        "precision": st.sampled_from(["float32", "bfloat16"]),
        "batch_size": st.just(8),
        "versions": st.fixed_dictionaries({"torch": st.sampled_from(["2.13.0", "2.14.0"])}),
    }
)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(PART, min_size=1, max_size=4))
def test_values_that_changed_are_all_named_in_order(parts):
    together = merged(parts)
    assert together["batch_size"] == 8
    for name in ("hardware", "num_processes", "precision"):
        values = [part[name] for part in parts]
        if len(set(values)) == 1:
            assert together[name] == values[0]
        else:
            listed = together[name].split(", then ")
            assert all(a != b for a, b in zip(listed, listed[1:], strict=False))
            assert set(listed) == set(map(str, values)) and listed[0] == str(values[0])


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 10)), max_size=8))
def test_the_mean_of_a_log_weighs_by_steps(intervals):
    history, step = [], 0
    for steps, loss in intervals:
        step += steps
        history += [{"loss": loss, "step": step}, {"eval_loss": 99.0, "step": step}]
    expected = sum(steps * loss for steps, loss in intervals) / step if step else 0
    assert logged_loss(history) == pytest.approx(expected)
