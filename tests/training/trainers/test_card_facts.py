"""What a card says about a run that was started from Python is what happened."""

import numpy as np
import pytest
from accelerate.state import AcceleratorState, PartialState

from audioformer.model_cards.callback import known_facts
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training import AudioFormerTrainingArguments, CodeExamples
from audioformer.training.trainers import AudioFormerMLMTrainer, base


def make_trainer(folder, **settings) -> AudioFormerMLMTrainer:
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    examples = CodeExamples([np.arange(20) * (clip + 1) for clip in range(8)])
    defaults = {
        **{"max_steps": 6, "save_steps": 2, "logging_steps": 4, "per_device_train_batch_size": 2, "seed": 3},
        **{"learning_rate": 0.1, "use_cpu": True, "disable_tqdm": True, "save_strategy": "steps"},
    }
    arguments = AudioFormerTrainingArguments(str(folder), **{**defaults, **settings})
    model = AudioFormerForMaskedLM(AudioFormerConfig(**sizes))
    return AudioFormerMLMTrainer(model=model, args=arguments, train_dataset=examples, eval_dataset=examples)


def test_a_second_training_begins_at_nothing(tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="no", max_steps=2)
    trainer.train()
    first = trainer.card_facts.collected["train_loss"]
    trainer.evaluate()
    assert trainer.card_facts.collected["evaluation"]["after_training"]
    output = trainer.train()
    assert trainer.card_facts.collected["train_loss"] == pytest.approx(output.training_loss)
    assert first > trainer.card_facts.collected["train_loss"] and "evaluation" not in trainer.card_facts.collected


def test_the_precision_is_that_of_accelerate(tmp_path, monkeypatch):
    def trained(name: str) -> str:
        AcceleratorState._reset_state(reset_partial_state=True)
        trainer = make_trainer(tmp_path / name, save_strategy="no", max_steps=1)
        assert not trainer.args.bf16
        trainer.train()
        return trainer.card_facts.collected["precision"]

    try:
        assert trained("plain") == "float32"
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        assert trained("mixed") == "bfloat16"
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState()


def test_an_evaluation_tells_whether_its_clips_selected_the_checkpoint(tmp_path):
    trainer = make_trainer(
        tmp_path, eval_strategy="steps", eval_steps=2, load_best_model_at_end=True, metric_for_best_model="loss"
    )
    trainer.train()
    assert "not of the final weights" in known_facts(trainer.card_facts.collected)["evaluated on"]
    trainer.evaluate()
    assert "that selected the checkpoint" in known_facts(trainer.card_facts.collected)["evaluated on"]
    trainer.evaluate(CodeExamples([np.arange(20)] * 3))
    known = known_facts(trainer.card_facts.collected)
    assert known["evaluated on"] == "3 clips" and "eval loss" in known and "eval runtime" not in known


def test_peak_memory_is_the_largest_of_all_parts(tmp_path):
    first = make_trainer(tmp_path)
    first.card_facts.measure_memory = lambda: 3.0
    first.train()
    resumed = make_trainer(tmp_path)
    resumed.card_facts.measure_memory = lambda: 1.0
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert [part["peak_memory_gb"] for part in resumed.card_facts.collected["parts"]] == [3.0, 1.0]
    assert resumed.card_facts.collected["peak_memory_gb"] == 3.0


def test_what_only_loads_a_finished_training_is_no_part_of_it(tmp_path):
    """The run was killed after its last step; what finishes it took no step, on whatever machine."""
    whole = make_trainer(tmp_path)
    whole.card_facts.measure_memory = lambda: 3.0
    whole.train()
    finished = make_trainer(tmp_path)
    finished.card_facts.measure_memory = lambda: 99.0
    finished.train(resume_from_checkpoint=str(tmp_path / "checkpoint-6"))
    collected = finished.card_facts.collected
    assert [part["steps"] for part in collected["parts"]] == [6]
    assert collected["peak_memory_gb"] == 3.0
    assert collected["train_loss"] == pytest.approx(whole.card_facts.collected["train_loss"])


def test_the_loss_of_an_epoch_that_was_resumed_is_that_of_its_own_steps(tmp_path):
    """An epoch has four steps; the steps before the checkpoint belong to another part."""
    make_trainer(tmp_path, max_steps=4, logging_steps=1).train()
    resumed = make_trainer(tmp_path, max_steps=4, logging_steps=1)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    losses = {record["step"]: record["loss"] for record in resumed.state.log_history if "loss" in record}
    assert resumed.card_facts.epoch_loss == pytest.approx((losses[3] + losses[4]) / 2, rel=1e-4)


@pytest.mark.parametrize(
    ("settings", "given", "expected"),
    [({}, None, False), ({}, True, True), ({"hub_private_repo": True}, None, True)],
)
def test_a_repository_is_private_if_the_settings_or_the_caller_say_so(
    tmp_path, monkeypatch, settings, given, expected
):
    asked = {}
    monkeypatch.setattr(base, "push_folder", lambda folder, repo_id, **options: asked.update(options, repo_id=repo_id))
    trainer = make_trainer(tmp_path, hub_model_id="user/name", **settings)
    trainer.hub_model_id = "user/name"
    trainer.push_to_hub(license="mit", private=given)
    assert asked["private"] is expected and (asked["repo_id"], asked["license"]) == ("user/name", "mit")
