"""The generic trainers on a spectrogram transformer of transformers, which knows nothing of codes."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import ASTConfig, ASTForAudioClassification, TrainingArguments, default_data_collator

from audioformer.evaluation import build_compute_metrics
from audioformer.training.arguments import AudioTrainingArguments
from audioformer.training.trainers import AudioTrainer, ClassificationTrainer

NUM_CLIPS, NUM_LABELS, NUM_FRAMES, NUM_MEL_BINS = 12, 3, 8, 4


class Spectrograms(Dataset):
    """Random spectrograms whose labels are plain to see: one band is louder."""

    def __init__(self, multi_label: bool = False) -> None:
        rng = np.random.default_rng(0)
        classes = np.arange(NUM_CLIPS) % NUM_LABELS
        self.spectrograms = rng.normal(size=(NUM_CLIPS, NUM_FRAMES, NUM_MEL_BINS)).astype(np.float32)
        self.spectrograms[np.arange(NUM_CLIPS), :, classes] += 3
        self.labels = np.eye(NUM_LABELS, dtype=np.float32)[classes] if multi_label else classes
        self.epochs: list[int] = []

    def __len__(self) -> int:
        return NUM_CLIPS

    def __getitem__(self, index: int) -> dict:
        return {"input_values": self.spectrograms[index], "labels": self.labels[index]}

    def set_epoch(self, epoch: int) -> None:
        self.epochs.append(epoch)


def make_model(**changes) -> ASTForAudioClassification:
    torch.manual_seed(0)
    config = ASTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        patch_size=4,
        frequency_stride=4,
        time_stride=4,
        max_length=NUM_FRAMES,
        num_mel_bins=NUM_MEL_BINS,
        num_labels=NUM_LABELS,
        problem_type=changes.pop("problem_type", "single_label_classification"),
    )
    for name, value in changes.items():
        setattr(config, name, value)
    return ASTForAudioClassification(config)


def make_trainer(tmp_path, model=None, **arguments) -> ClassificationTrainer:
    model = model or make_model()
    examples = Spectrograms(model.config.problem_type == "multi_label_classification")
    settings = dict(
        output_dir=str(tmp_path), use_cpu=True, disable_tqdm=True, save_strategy="no", per_device_train_batch_size=4
    )
    return ClassificationTrainer(
        model=model,
        args=AudioTrainingArguments(**{**settings, **arguments}),
        data_collator=default_data_collator,
        train_dataset=examples,
        eval_dataset=examples,
        compute_metrics=build_compute_metrics(examples.labels.ndim == 2),
    )


def batch_of(trainer: ClassificationTrainer) -> dict[str, torch.Tensor]:
    return trainer.data_collator([trainer.train_dataset[index] for index in range(4)])


@pytest.mark.parametrize("options", [{}, {"class_balanced_sampling": True}, {"group_by_length": False}])
def test_a_spectrogram_classifier_learns(tmp_path, options):
    trainer = make_trainer(
        tmp_path, num_train_epochs=16, learning_rate=1e-2, layer_wise_lr_decay=0.8, logging_steps=1, **options
    )
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_loss"] < 0.6 * before["eval_loss"] and after["eval_accuracy"] == 1.0
    assert sorted(set(trainer.train_dataset.epochs)) == list(range(16))
    assert len({group["initial_lr"] for group in trainer.optimizer.param_groups}) == 4


def test_unequal_batches_of_a_step_count_by_their_clips(tmp_path):
    settings = dict(num_train_epochs=1, learning_rate=0.5, optim="sgd", max_grad_norm=0.0, logging_steps=1)
    results = []
    for sizes in ({"per_device_train_batch_size": 12}, {"per_device_train_batch_size": 8}):
        trainer = make_trainer(tmp_path, gradient_accumulation_steps=2, **settings, **sizes)
        trainer.train()
        results.append((trainer.model.state_dict(), trainer.state.log_history[0]["loss"]))
    (whole, loss), (parts, other_loss) = results
    assert trainer.state.global_step == 1 and other_loss == pytest.approx(loss, rel=1e-5)  # twelve; eight and four
    for name, weight in whole.items():
        torch.testing.assert_close(parts[name], weight, atol=1e-6, rtol=1e-5, msg=name)


def test_the_loss_of_the_batch_is_the_models_own_without_smoothing(tmp_path):
    trainer = make_trainer(tmp_path)
    batch = batch_of(trainer)
    expected = nn.functional.cross_entropy(trainer.model.train()(**batch).logits, batch["labels"])
    torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), expected)


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_smoothed_labels_follow_the_problem_type(tmp_path, problem_type):
    trainer = make_trainer(tmp_path, make_model(problem_type=problem_type), label_smoothing_factor=0.2)
    batch = batch_of(trainer)
    logits = trainer.model.train()(batch["input_values"]).logits
    if problem_type == "single_label_classification":
        expected = nn.functional.cross_entropy(logits, batch["labels"], label_smoothing=0.2)
    else:
        expected = nn.functional.binary_cross_entropy_with_logits(logits, 0.8 * batch["labels"] + 0.1)
    torch.testing.assert_close(trainer.compute_loss(trainer.model, dict(batch)), expected)
    plain = trainer.model(**batch).loss
    torch.testing.assert_close(trainer.compute_loss(trainer.model.eval(), dict(batch)), plain)


def test_a_loss_without_smoothed_form_refuses_smoothing(tmp_path):
    with pytest.raises(ValueError, match="`label_smoothing_factor` must be 0.*'regression'.*got 0.1"):
        make_trainer(tmp_path, make_model(problem_type="regression"), label_smoothing_factor=0.1)


def test_training_removes_a_calibration_and_adds_no_field(tmp_path):
    model = make_model(calibration_bias=[0.0, 1.0, 2.0])
    make_trainer(tmp_path, model, max_steps=1).train()
    assert model.config.calibration_bias is None and not hasattr(model.config, "calibration_temperature")


@pytest.mark.parametrize("settings", [{"per_device_train_batch_size": 3}, {"gradient_accumulation_steps": 3}])
def test_clips_of_similar_length_share_a_step(tmp_path, settings):
    class OfUnequalLength(Spectrograms):
        def __getitem__(self, index):
            item = super().__getitem__(index)
            return item | {"input_values": item["input_values"][: 1 + index % 4]}

    trainer = make_trainer(tmp_path, **{"per_device_train_batch_size": 1, **settings})
    trainer.train_dataset = OfUnequalLength()
    trainer.get_train_dataloader()
    lengths = [
        [len(trainer.train_dataset[int(index)]["input_values"]) for index in indices]
        for indices in np.array(list(trainer.epoch_sampler)).reshape(4, 3)
    ]
    assert sorted(lengths) == [[1] * 3, [2] * 3, [3] * 3, [4] * 3]


def test_lengths_of_the_data_set_spare_reading_its_items(tmp_path):
    class Unread(Spectrograms):
        lengths = np.arange(NUM_CLIPS)

        def __getitem__(self, index):
            raise AssertionError("read")

    trainer = make_trainer(tmp_path)
    trainer.train_dataset = Unread()
    trainer.get_train_dataloader()
    assert sorted(trainer.epoch_sampler) == list(range(NUM_CLIPS))


@pytest.mark.parametrize("trainer", [AudioTrainer, ClassificationTrainer])
def test_what_the_trainer_cannot_know_has_to_be_given(tmp_path, trainer):
    with pytest.raises(ValueError, match="`args` must be `AudioTrainingArguments`, got `TrainingArguments`"):
        trainer(model=make_model(), args=TrainingArguments(str(tmp_path), use_cpu=True))
    with pytest.raises(ValueError, match=f"`data_collator` must be given: {trainer.__name__} does not know"):
        trainer(model=make_model(), args=AudioTrainingArguments(str(tmp_path), use_cpu=True))
