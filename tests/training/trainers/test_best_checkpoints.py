"""The mean of the best checkpoints: which they are, what is averaged, and that a killed run ends with the same."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from audioformer.training import AudioFormerTrainingArguments
from audioformer.training.results import notes_on_record
from audioformer.training.trainers.best_checkpoints import KEPT_FOLDER, mean_weights, write_to

from ..processes import run_on_two_processes
from .run_training import train
from .test_classification import make_trainer

EVALUATED = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1, "max_steps": 6}
BEST = {"metric_for_best_model": "loss", "load_best_model_at_end": True, "save_total_limit": 1, "learning_rate": 0.05}
LOSSES = [0.9, 0.3, float("nan"), 0.2, 0.7, 0.4]


class Losses(TrainerCallback):
    """Replaces the losses of evaluations by given ones, and keeps the weights after each step."""

    def __init__(self) -> None:
        self.steps: dict[int, dict[str, torch.Tensor]] = {}

    def on_step_end(self, args, state, control, model=None, **kwargs):
        self.steps[state.global_step] = {name: value.detach().clone() for name, value in model.state_dict().items()}

    def on_evaluate(self, args, state, control, metrics=None, **kwargs):
        if state.global_step <= len(LOSSES) and metrics is not None:
            metrics["eval_loss"] = state.log_history[-1]["eval_loss"] = LOSSES[state.global_step - 1]


def trained(folder: Path, resume=None, **settings):
    trainer = make_trainer(folder, **{**EVALUATED, **BEST, "average_best_checkpoints": 3, **settings})
    losses = Losses()
    trainer.add_callback(losses)
    trainer.train(resume)
    return trainer, losses.steps


def assert_mean(trainer, weights: list[dict[str, torch.Tensor]]) -> None:
    for name, value in trainer.model.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, torch.stack([one[name] for one in weights]).mean(0), msg=name)


def test_the_best_checkpoints_are_averaged(tmp_path):
    trainer, steps = trained(tmp_path)
    assert_mean(trainer, [steps[number] for number in (2, 4, 6)])
    averaged = trainer.card_facts.collected["averaged_checkpoints"]
    assert averaged == [{"step": step, "eval_loss": LOSSES[step - 1]} for step in (2, 4, 6)]
    notes = notes_on_record({"unrecorded_steps": 0, "averaged_checkpoints": averaged})
    assert notes == ["The weights are the mean of the 3 best checkpoints, of the steps 2, 4, 6."]
    # What is kept does not grow with the run.
    assert {path.name for path in (tmp_path / KEPT_FOLDER).iterdir()} == {"2", "4", "6", "checkpoints.json"}
    trainer.save_model(str(tmp_path / "saved"))
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    torch.testing.assert_close(saved["classifier.weight"], trainer.model.classifier.weight.detach())


def test_a_higher_metric_can_be_the_better_one(tmp_path):
    settings = {"metric_for_best_model": "loss", "greater_is_better": True, "average_best_checkpoints": 2}
    trainer, steps = trained(tmp_path, **settings)
    assert_mean(trainer, [steps[1], steps[5]])


def test_without_evaluations_the_last_ones_are_averaged(tmp_path):
    settings = {"eval_strategy": "no", "load_best_model_at_end": False, "metric_for_best_model": None}
    trainer, steps = trained(tmp_path, **settings, average_best_checkpoints=2)
    assert_mean(trainer, [steps[5], steps[6]])
    assert trainer.card_facts.collected["averaged_checkpoints"] == [{"step": 5}, {"step": 6}]


def test_a_resumed_run_averages_the_same(tmp_path):
    whole, _ = trained(tmp_path, save_total_limit=None)
    for step in (5, 6):
        shutil.rmtree(tmp_path / f"checkpoint-{step}")
    assert Path(str(get_last_checkpoint(tmp_path))).name == "checkpoint-4"
    resumed, steps = trained(tmp_path, resume=True, save_total_limit=None)
    assert list(steps) == [5, 6]
    for name, value in whole.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value, msg=name)
    collected = [trainer.card_facts.collected["averaged_checkpoints"] for trainer in (whole, resumed)]
    assert collected[0] == collected[1]


def test_a_new_run_does_not_average_what_an_earlier_one_left(tmp_path):
    trained(tmp_path)
    trainer, steps = trained(tmp_path, max_steps=1)
    assert_mean(trainer, [steps[1]])


def test_buffers_are_averaged_and_whole_numbers_are_those_of_the_newest(tmp_path):
    norms = []
    for number in range(2):
        norm = torch.nn.BatchNorm1d(3)
        norm(torch.randn(8, 3, generator=torch.Generator().manual_seed(number)))
        for _ in range(number):
            norm(torch.randn(8, 3))
        norms.append(norm)
        (tmp_path / str(number)).mkdir()
        save_file(norm.state_dict(), tmp_path / str(number) / "model.safetensors")
    mean = torch.nn.BatchNorm1d(3)
    write_to(mean, mean_weights([tmp_path / "0", tmp_path / "1"]))
    torch.testing.assert_close(mean.running_mean, (norms[0].running_mean + norms[1].running_mean) / 2)
    assert mean.num_batches_tracked == 2
    with pytest.raises(ValueError, match="weights that the model has not: num_batches_tracked, running_mean"):
        write_to(torch.nn.LayerNorm(3), mean_weights([tmp_path / "0"]))


def test_two_processes_end_with_the_same_mean(tmp_path):
    settings = {"num_train_epochs": 2, "per_device_train_batch_size": 4, "save_steps": 2, "learning_rate": 1e-2}
    run_on_two_processes(_train_and_keep, tmp_path, settings)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    kept = [load_file(tmp_path / f"checkpoint-{step}" / "model.safetensors") for step in (4, 6)]
    for name, value in first.items():
        assert torch.equal(value, second[name])
        torch.testing.assert_close(value, (kept[0][name] + kept[1][name]) / 2, msg=name)


def _train_and_keep(output: Path, settings: dict) -> None:
    from audioformer.training.trainers.base import AudioTrainer

    train_once = AudioTrainer.train

    def train_and_keep(trainer, *arguments, **options):
        result = train_once(trainer, *arguments, **options)
        rank = torch.distributed.get_rank()
        save_file(
            {name: value.detach() for name, value in trainer.model.named_parameters()}, output / f"{rank}.safetensors"
        )
        return result

    AudioTrainer.train = train_and_keep
    train("cross_entropy", output, settings | {"average_best_checkpoints": 2})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"average_best_checkpoints": -1}, "`average_best_checkpoints` must be at least 0"),
        ({"average_best_checkpoints": 2, "save_strategy": "no"}, "needs checkpoints, but `save_strategy` is 'no'"),
    ],
)
def test_what_cannot_be_averaged_is_refused(settings, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        AudioFormerTrainingArguments(output_dir=str(tmp_path), **settings)


@pytest.mark.parametrize("kind", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_divided_weights_are_refused(kind, tmp_path, monkeypatch):
    from transformers import Trainer

    create = Trainer.create_accelerator_and_postprocess

    def divided(trainer):
        create(trainer)
        setattr(trainer, kind, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", divided)
    with pytest.raises(ValueError, match="`average_best_checkpoints` 3 needs the weights as a whole: FSDP and"):
        make_trainer(tmp_path, **EVALUATED, average_best_checkpoints=3)
