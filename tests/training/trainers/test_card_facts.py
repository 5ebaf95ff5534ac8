"""What a card says about a run that was started from Python is what happened."""

import numpy as np
import pytest
from accelerate.state import AcceleratorState, PartialState

from audioformer.model_cards.callback import known_facts
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training import AudioFormerTrainingArguments, CodeExamples
from audioformer.training.trainers import AudioFormerMLMTrainer


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
