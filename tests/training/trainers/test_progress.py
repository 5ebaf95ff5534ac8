"""What a training prints: one line per epoch where no terminal shows bars, and how long it will take."""

import io
import re
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PrinterCallback, ProgressCallback, TrainerControl, TrainerState
from transformers.trainer_callback import CallbackHandler

from audioformer.data.progress import hides_bars
from audioformer.model_cards.callback import CardFactsCallback
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification
from audioformer.training import AudioFormerClassificationTrainer, AudioFormerTrainingArguments
from audioformer.training.trainers.progress import BarCallback, EpochLinesCallback, PlanCallback, about

from .run_training import examples


class Stream(io.StringIO):
    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


def trainer_of(tmp_path, **settings) -> AudioFormerClassificationTrainer:
    config = AudioFormerConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=3,
        classification_loss="cross_entropy",
    )
    defaults = {"num_train_epochs": 3, "per_device_train_batch_size": 4, "logging_steps": 1, "save_strategy": "no"}
    arguments = AudioFormerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **{**defaults, **settings})
    return AudioFormerClassificationTrainer(
        model=AudioFormerForAudioClassification(config),
        args=arguments,
        train_dataset=examples("cross_entropy"),
        eval_dataset=examples("cross_entropy"),
    )


@pytest.mark.parametrize("settings", [{}, {"disable_tqdm": True}, {"logging_steps": 500}, {"eval_strategy": "epoch"}])
def test_a_log_has_one_line_per_epoch_and_nothing_else(tmp_path, monkeypatch, settings):
    out, err = Stream(False), Stream(False)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    trainer = trainer_of(tmp_path, **settings)
    trainer.train()
    lines = out.getvalue().splitlines()
    assert err.getvalue() == "" and not set("\r\x1b") & set(out.getvalue())
    assert len(lines) == 3
    for epoch, line in enumerate(lines, start=1):
        start = rf"epoch {epoch} of 3: step {6 * epoch} of 18, loss (\d\.\d+)"
        assert re.match(start, line), line
        assert ("eval_loss" in line) == ("eval_strategy" in settings)
        assert ("left" in line) == (epoch < 3)
    loss = float(re.search(r"loss ([\d.]+)", lines[0])[1])
    logged = [record["loss"] for record in trainer.state.log_history if "loss" in record][:6]
    if settings.get("logging_steps") != 500:
        assert loss == pytest.approx(sum(logged) / 6, rel=1e-3)


@pytest.mark.parametrize(
    ("out", "err", "expected"),
    [
        (True, True, {ProgressCallback}),
        (False, True, {BarCallback, EpochLinesCallback}),
        (True, False, {EpochLinesCallback}),
        (False, False, {EpochLinesCallback}),
    ],
)
def test_bars_are_for_terminals(tmp_path, monkeypatch, out, err, expected):
    monkeypatch.setattr(sys, "stdout", Stream(out))
    monkeypatch.setattr(sys, "stderr", Stream(err))
    assert hides_bars() == (not err)
    kinds = {type(callback) for callback in trainer_of(tmp_path, disable_tqdm=False).callback_handler.callbacks}
    assert kinds & {ProgressCallback, PrinterCallback, BarCallback, EpochLinesCallback} == expected


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_a_closed_or_absent_stream_is_no_terminal(monkeypatch, stream):
    if stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert hides_bars()


class Clock:
    """Time that passes only when it is told."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def steps(callback, tmp_path, clock: Clock, state: TrainerState, seconds: float, until: int) -> None:
    """The events of a training up to a step, `seconds` apart."""
    arguments = AudioFormerTrainingArguments(output_dir=str(tmp_path), use_cpu=True, per_device_train_batch_size=16)
    handler = CallbackHandler([callback], None, None, None, None)
    handler.train_dataloader = type("Loader", (), {"dataset": range(1152)})()
    handler.on_train_begin(arguments, state, TrainerControl())
    for step in range(state.global_step + 1, until + 1):
        clock.time += seconds
        state.global_step, state.epoch = step, step / 72
        handler.on_step_end(arguments, state, TrainerControl())


def state_of(max_steps: int, global_step: int = 0) -> TrainerState:
    return TrainerState(max_steps=max_steps, global_step=global_step, num_train_epochs=10, is_world_process_zero=True)


def test_steps_are_said_before_and_time_after_the_first_steps(tmp_path, capsys):
    clock = Clock()
    plan = PlanCallback(4, "codebooks", clock)
    for _ in range(4):
        steps(plan, tmp_path, clock, state_of(720), 0.25, 40)
    assert capsys.readouterr().out.splitlines() == [
        "training: 4 codebooks x 720 steps; 1,152 clips, batches of 16",
        "training: about 12 min left for all 4 codebooks (0.25 s a step)",
        "training: 2 of 4 codebooks",
        "training: 3 of 4 codebooks",
        "training: 4 of 4 codebooks",
    ]


def test_the_plan_of_a_resumed_run_counts_what_is_left(tmp_path, capsys):
    clock = Clock()
    steps(PlanCallback(clock=clock), tmp_path, clock, state_of(1000, 900), 10, 940)
    assert capsys.readouterr().out.splitlines() == [
        "training: 1,000 steps; 1,152 clips, batches of 16, resumed after step 900",
        "training: about 15 min left (10 s a step)",
    ]


def test_epochs_of_hours_say_something_in_between(tmp_path, capsys):
    clock = Clock()
    steps(EpochLinesCallback(CardFactsCallback(), clock), tmp_path, clock, state_of(720), 700, 6)
    assert capsys.readouterr().out.splitlines() == [
        "epoch 1 of 10: step 3 of 720, about 6 days left",
        "epoch 1 of 10: step 6 of 720, about 6 days left",
    ]


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.floats(0, 1e8))
def test_durations_are_close(seconds):
    _, number, unit = about(seconds).split()
    in_seconds = float(number) * {"s": 1, "min": 60, "h": 3600, "days": 86400}[unit]
    assert in_seconds == pytest.approx(max(1, seconds), rel=0.26, abs=0.5)
