"""The moving average of the weights: what it is, and that it is what is evaluated, selected, saved and returned."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerCallback

from audioformer.training import AudioFormerTrainingArguments
from audioformer.training.trainers.averaging import LAST_WEIGHTS

from .test_classification import make_model, make_trainer

EVALUATED = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 6}


class Recorder(TrainerCallback):
    """The weights after each step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, torch.Tensor]] = []

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps.append({name: weight.detach().clone() for name, weight in model.named_parameters()})


def trained(folder: Path, decay: float, **settings):
    trainer = make_trainer(folder, ema_decay=decay, **{"learning_rate": 0.05, "max_steps": 6, **settings})
    begun = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    recorder = Recorder()
    trainer.add_callback(recorder)
    trainer.train()
    return trainer, begun, recorder.steps


def averages(begun: dict[str, torch.Tensor], steps: list[dict[str, torch.Tensor]], decay: float, name: str):
    """The average after each step, by the formula."""
    average, results = begun[name], []
    for step, weights in enumerate(steps, start=1):
        d = min(decay, (1 + step) / (10 + step))
        average = d * average + (1 - d) * weights[name]
        results.append(average)
    return results


def test_a_training_ends_with_the_average(tmp_path):
    trainer, begun, steps = trained(tmp_path, 0.3)
    for name, weight in trainer.model.named_parameters():
        torch.testing.assert_close(weight, averages(begun, steps, 0.3, name)[-1])
    name = "classifier.weight"
    assert not torch.allclose(dict(trainer.model.named_parameters())[name], steps[-1][name])
    # Averaging changes nothing of the training itself.
    _, _, plain = trained(tmp_path / "plain", 0.0)
    assert len(plain) == len(steps) == 6
    torch.testing.assert_close(plain[-1][name], steps[-1][name], rtol=0, atol=0)


def test_the_average_is_evaluated_and_selected_and_lies_in_the_checkpoints(tmp_path):
    best = {"load_best_model_at_end": True, "metric_for_best_model": "loss"}
    trainer, begun, steps = trained(tmp_path, 0.9, **EVALUATED, **best, save_total_limit=6)
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert len(losses) == 6
    other = make_trainer(tmp_path / "other")
    for step, loss in enumerate(losses, start=1):
        folder = tmp_path / f"checkpoint-{step}"
        saved, last = load_file(folder / "model.safetensors"), load_file(folder / LAST_WEIGHTS)
        for name in begun:
            torch.testing.assert_close(saved[name], averages(begun, steps, 0.9, name)[step - 1])
            assert torch.equal(last[name], steps[step - 1][name])
        other.model.load_state_dict(saved)
        assert other.evaluate()["eval_loss"] == pytest.approx(loss, abs=1e-6)
    number = losses.index(min(losses)) + 1
    chosen = load_file(tmp_path / f"checkpoint-{number}" / "model.safetensors")
    for name, weight in trainer.model.named_parameters():
        assert torch.equal(weight, chosen[name])
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), abs=1e-6)
    trainer.save_model(str(tmp_path / "saved"))
    assert not (tmp_path / "saved" / LAST_WEIGHTS).exists()
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    assert all(torch.equal(saved[name], weight) for name, weight in chosen.items())


def test_a_checkpoint_is_resumed_with_the_setting_that_it_was_written_with(tmp_path):
    steps = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4}
    trained(tmp_path / "with", 0.5, **steps)
    trained(tmp_path / "without", 0.0, **steps)
    for name, decay, then in (("with", 0.0, "with"), ("without", 0.5, "without")):
        trainer = make_trainer(tmp_path / name, ema_decay=decay, **steps)
        with pytest.raises(
            ValueError, match=f"`ema_decay` is {decay}, but .*checkpoint-2 was written {then} an average"
        ):
            trainer.train(resume_from_checkpoint=str(tmp_path / name / "checkpoint-2"))
    # All steps were taken before: nothing but the average is loaded.
    finished = make_trainer(tmp_path / "with", model=make_model(), ema_decay=0.5, **steps)
    finished.train(resume_from_checkpoint=str(tmp_path / "with" / "checkpoint-4"))
    saved = load_file(tmp_path / "with" / "checkpoint-4" / "model.safetensors")
    assert all(torch.equal(weight, saved[name]) for name, weight in finished.model.named_parameters())


def test_weights_of_bfloat16_are_averaged_in_float32(tmp_path):
    trainer, begun, steps = trained(tmp_path, 0.99, model=make_model().to(torch.bfloat16))
    as_float = [{name: weight.float() for name, weight in step.items()} for step in steps]
    name = "classifier.weight"
    expected = averages({name: begun[name].float()}, as_float, 0.99, name)[-1]
    torch.testing.assert_close(trainer.model.classifier.weight, expected.bfloat16())


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_decay_that_is_none_is_refused(tmp_path, decay):
    with pytest.raises(ValueError, match=r"`ema_decay` must be in \[0, 1\)"):
        AudioFormerTrainingArguments(output_dir=str(tmp_path), ema_decay=decay)
