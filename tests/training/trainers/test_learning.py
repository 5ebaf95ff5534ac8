"""Trainers learn what can be learned from codes, and one seed gives one result."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import set_seed

from audioformer.evaluation.baselines import code_histogram, fit_histogram_classifier
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
)
from audioformer.training import (
    AudioFormerClassificationTrainer,
    AudioFormerMLMTrainer,
    AudioFormerTrainingArguments,
    CodeExamples,
    create_settings,
)
from audioformer.training.classifiers import classifier_to_train


def tiny_config(**changes: Any) -> AudioFormerConfig:
    sizes = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    }
    return AudioFormerConfig(**{**sizes, **changes})


def training_arguments(output: Path, **settings: Any) -> AudioFormerTrainingArguments:
    return AudioFormerTrainingArguments(
        output_dir=str(output), use_cpu=True, disable_tqdm=True, save_strategy="no", **settings
    )


def rising_and_falling(num_clips: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences that run through twelve codes up or down from a random one. Each code is equally frequent."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_clips)
    ring = np.arange(24)
    clips = [(ring * (1 if label else -1) + rng.integers(12)) % 12 * 50 for label in labels]
    return [clip.astype(np.uint16) for clip in clips], labels


def periodic_codes(num_clips: int, seed: int = 0) -> tuple[list[np.ndarray], np.ndarray]:
    """Clips that repeat the codes 0 to 7 (class 0) or 8 to 15 (class 1), each from a random one."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_clips) % 2
    clips = [np.roll(np.tile(np.arange(8) + 8 * label, 4), rng.integers(8)) for label in labels]
    return [clip.astype(np.uint16) for clip in clips], labels


@pytest.mark.parametrize("seed", [0, 1])
def test_two_classes_that_differ_in_order_alone(seed, tmp_path):
    (clips, labels), (test_clips, test_labels) = rising_and_falling(256, seed), rising_and_falling(100, 1000 + seed)
    histograms = fit_histogram_classifier(code_histogram(clips), labels)
    assert histograms.score(code_histogram(test_clips), test_labels) < 0.65

    torch.manual_seed(seed)
    model = AudioFormerForAudioClassification(tiny_config(initializer_range=0.2, num_labels=2))
    arguments = training_arguments(
        tmp_path,
        num_train_epochs=20,
        learning_rate=3e-3,
        per_device_train_batch_size=32,
        warmup_steps=0.1,
        seed=seed,
    )
    trainer = AudioFormerClassificationTrainer(model=model, args=arguments, train_dataset=CodeExamples(clips, labels))
    trainer.train()
    accuracy = (trainer.predict(CodeExamples(test_clips)).predictions.argmax(axis=1) == test_labels).mean()
    assert accuracy > 0.9, accuracy


@pytest.mark.slow
def test_pretraining_restores_what_can_be_known_and_fine_tuning_tells_the_classes_apart(tmp_path):
    (clips, labels), (test_clips, test_labels) = periodic_codes(64), periodic_codes(40, seed=1)
    set_seed(0)
    arguments = training_arguments(
        tmp_path, num_train_epochs=60, learning_rate=3e-3, per_device_train_batch_size=16, warmup_steps=0.1, seed=0
    )
    pretraining = AudioFormerMLMTrainer(
        model=AudioFormerForMaskedLM(tiny_config(initializer_range=0.2)),
        args=arguments,
        train_dataset=CodeExamples(clips),
    )
    pretraining.train()
    # Every code follows from its neighbours. Knowing the class of a clip but not the order leaves eight codes.
    loss = pretraining.evaluate(CodeExamples(test_clips))["eval_loss"]
    assert loss < np.log(8) - 0.3, loss
    pretraining.save_model(str(tmp_path / "C1"))

    settings = create_settings("finetune", model=tmp_path / "C1", output_dir=tmp_path / "ft1")
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=0)
    arguments = training_arguments(
        tmp_path, num_train_epochs=10, learning_rate=1e-3, per_device_train_batch_size=16, seed=0
    )
    finetuning = AudioFormerClassificationTrainer(
        model=classifier_to_train(settings, ["low", "high"], False, extractor),
        args=arguments,
        train_dataset=CodeExamples(clips, labels),
    )
    finetuning.train()
    logits = finetuning.predict(CodeExamples(test_clips)).predictions
    assert logits.shape == (40, 2)
    assert (logits.argmax(axis=1) == test_labels).mean() > 0.95


def test_predictions_do_not_depend_on_the_batch(tmp_path):
    set_seed(0)
    model = AudioFormerForAudioClassification(tiny_config(num_labels=3, initializer_range=0.2))
    examples = CodeExamples([np.arange(length, dtype=np.uint16) for length in (5, 50, 17)])
    together, alone = (
        AudioFormerClassificationTrainer(
            model=model, args=training_arguments(tmp_path, per_device_eval_batch_size=batch_size)
        )
        .predict(examples)
        .predictions
        for batch_size in (3, 1)
    )
    assert together.std() > 0.1
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_one_seed_gives_one_result(tmp_path):
    clips, labels = periodic_codes(8)

    def train(seed: int) -> np.ndarray:
        set_seed(seed)
        model = AudioFormerForAudioClassification(tiny_config(num_labels=2, hidden_dropout_prob=0.1))
        arguments = training_arguments(
            tmp_path, num_train_epochs=2, learning_rate=1e-3, per_device_train_batch_size=4, seed=seed
        )
        examples = CodeExamples(clips, labels, crop_frames=16, seed=seed)
        trainer = AudioFormerClassificationTrainer(model=model, args=arguments, train_dataset=examples)
        trainer.train()
        return trainer.predict(CodeExamples(clips)).predictions

    first, again, other = train(1), train(1), train(2)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
