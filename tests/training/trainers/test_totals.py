"""What a card says about a run is what happened in all its parts, whoever started it."""

import shutil

import numpy as np
import pytest
from accelerate.state import AcceleratorState, PartialState

from audioformer.model_cards.callback import known_facts
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training import AudioFormerTrainingArguments, CodeExamples
from audioformer.training.trainers import AudioFormerMLMTrainer
from audioformer.training.trainers.callbacks import read_state
from audioformer.training.trainers.totals import TOTALS


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


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> AudioFormerMLMTrainer:
    """A run of six steps, with a checkpoint after every second."""
    trainer = make_trainer(tmp_path_factory.mktemp("whole"))
    output = trainer.train()
    assert trainer.totals.training_loss == pytest.approx(output.training_loss)
    return trainer


def test_a_resumed_run_counts_all_its_parts(whole, tmp_path):
    checkpoint = f"{whole.args.output_dir}/checkpoint-2"
    record = read_state(checkpoint).stateful_callbacks[TOTALS]["attributes"]
    assert record["seconds"] > 0 and record["loss_sum"] > 0 and record["since_step"] == 0
    resumed = make_trainer(tmp_path)
    last_part = resumed.train(resume_from_checkpoint=checkpoint).training_loss
    # The Trainer alone would say what the last part says.
    assert last_part != pytest.approx(whole.totals.training_loss, rel=1e-3)
    expected = (record["loss_sum"] + 4 * last_part) / 6
    assert resumed.totals.training_loss == pytest.approx(expected)
    assert resumed.totals.training_loss == pytest.approx(whole.totals.training_loss, rel=1e-4)
    assert resumed.totals.seconds > record["seconds"]
    assert resumed.card_facts.collected["seconds"] == resumed.totals.seconds
    assert resumed.card_facts.collected["steps"] == 6


def test_a_run_that_is_resumed_twice_counts_three_parts(whole, tmp_path):
    first = make_trainer(tmp_path / "first")
    first.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-2")
    second = make_trainer(tmp_path / "second")
    second.train(resume_from_checkpoint=str(tmp_path / "first" / "checkpoint-4"))
    assert second.totals.training_loss == pytest.approx(whole.totals.training_loss, rel=1e-4)


def test_checkpoints_of_earlier_versions_count_from_there_on(whole, tmp_path):
    trainer = make_trainer(tmp_path)
    state_file = tmp_path / "checkpoint-2" / "trainer_state.json"
    shutil.copytree(f"{whole.args.output_dir}/checkpoint-2", state_file.parent)
    state = read_state(state_file.parent)
    del state.stateful_callbacks[TOTALS]
    state.save_to_json(str(state_file))
    output = trainer.train(resume_from_checkpoint=str(state_file.parent))
    assert trainer.totals.since_step == 2
    assert trainer.totals.training_loss == pytest.approx(output.training_loss)
    assert known_facts(trainer.card_facts.collected)["duration"].endswith(" s, counted from step 2 on")


def test_a_second_training_begins_at_nothing(tmp_path):
    trainer = make_trainer(tmp_path, save_strategy="no", max_steps=2)
    trainer.train()
    first = trainer.totals.seconds
    trainer.evaluate()
    assert trainer.card_facts.collected["evaluation"]["after_training"]
    output = trainer.train()
    assert trainer.totals.training_loss == pytest.approx(output.training_loss)
    assert first > 0 and "evaluation" not in trainer.card_facts.collected


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
