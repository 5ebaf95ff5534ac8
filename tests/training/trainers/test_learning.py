"""The trainer learns the order of codes, in which histograms of codes do not differ."""

import numpy as np
import pytest
import torch

from audioformer.evaluation.baselines import code_histogram, fit_histogram_classifier
from audioformer.experiments.fit import predict_logits
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification
from audioformer.training import AudioFormerClassificationTrainer, AudioFormerTrainingArguments, CodeExamples


def rising_and_falling(num_clips: int, seed: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Sequences that run through twelve codes up or down from a random one. Each code is equally frequent."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, num_clips)
    ring = np.arange(24)
    clips = [(ring * (1 if label else -1) + rng.integers(12)) % 12 * 50 for label in labels]
    return [clip.astype(np.uint16) for clip in clips], labels


@pytest.mark.parametrize("seed", [0, 1])
def test_two_classes_that_differ_in_order_alone(seed, tmp_path):
    (clips, labels), (test_clips, test_labels) = rising_and_falling(256, seed), rising_and_falling(100, 1000 + seed)
    histograms = fit_histogram_classifier(code_histogram(clips), labels)
    assert histograms.score(code_histogram(test_clips), test_labels) < 0.65

    torch.manual_seed(seed)
    config = AudioFormerConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    model = AudioFormerForAudioClassification(config)
    arguments = AudioFormerTrainingArguments(
        output_dir=str(tmp_path),
        use_cpu=True,
        disable_tqdm=True,
        save_strategy="no",
        num_train_epochs=20,
        learning_rate=3e-3,
        per_device_train_batch_size=32,
        warmup_steps=0.1,
        seed=seed,
    )
    AudioFormerClassificationTrainer(model=model, args=arguments, train_dataset=CodeExamples(clips, labels)).train()
    accuracy = (predict_logits(model, CodeExamples(test_clips)).argmax(axis=1) == test_labels).mean()
    assert accuracy > 0.9, accuracy
