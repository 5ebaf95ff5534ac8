"""The main job on synthetic sound events: waveform, codes, masked-LM pre-training, fine-tuning, `pipeline`.

python -m audioformer.experiments.demo --output .demo
"""

import argparse
import time
from pathlib import Path

import numpy as np
import soundfile
from transformers import pipeline, set_seed

from audioformer.data import SOUND_EVENTS, synthesize_sound_events
from audioformer.data.audio import load_audio
from audioformer.evaluation.baselines import code_histogram, fit_histogram_classifier, majority_accuracy
from audioformer.evaluation.clip_figure import save_classification_figure
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training.examples.codes import CodeExamples, encode_waveforms

from .fit import (
    classifier_from_pretrained_backbone,
    finetune_classifier,
    predict_logits,
    pretrain_masked_lm,
    training_arguments,
)

TEST_FOLD = 0


def small_config() -> AudioFormerConfig:
    """An AudioFormer that two CPU cores train in a minute."""
    return AudioFormerConfig(hidden_size=128, num_hidden_layers=3, num_attention_heads=4, intermediate_size=512)


def run(output: Path, clips_per_class: int, pretrain_epochs: float, finetune_epochs: float, seed: int) -> float:
    """Run the whole demonstration and write model, example and picture below `output`.

    Args:
        output (`Path`): Folder for `model/`, `example.wav` and `demo.png`.
        clips_per_class (`int`): Synthetic clips of each class; a fifth of them is held out.
        pretrain_epochs (`float`): Passes of masked-LM pre-training over the training clips.
        finetune_epochs (`float`): Passes of fine-tuning over the training clips.
        seed (`int`): Seed of everything.

    Returns:
        `float`: Accuracy of the fine-tuned model on the held-out clips.
    """
    started = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    labels = list(SOUND_EVENTS)

    print("\n1. Synthesise labelled sound events")
    clips = synthesize_sound_events(clips_per_class, seed=seed)
    targets = np.array([labels.index(clip.label) for clip in clips])
    held_out = np.array([clip.fold == TEST_FOLD for clip in clips])
    hours = sum(clip.duration_s for clip in clips) / 3600
    print(f"   {len(clips)} clips, {len(labels)} classes, {hours:.2f} h; {held_out.sum()} clips held out")

    print("\n2. Waveform -> EnCodec codes (row C1 of the bundled tiny codec)")
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=0)
    codes = encode_waveforms([clip.waveform for clip in clips], extractor, clips[0].sampling_rate)
    train = [index for index in range(len(clips)) if not held_out[index]]
    test = [index for index in range(len(clips)) if held_out[index]]
    train_codes, test_codes = [[codes[i]] for i in train], [[codes[i]] for i in test]

    print("\n3. Masked-LM pre-training: restore the hidden quarter of the codes")
    set_seed(seed)
    pretrained = AudioFormerForMaskedLM(small_config())
    arguments = training_arguments(pretrain_epochs, learning_rate=1e-3, batch_size=16, seed=seed)
    pretrain_masked_lm(pretrained, CodeExamples(train_codes), arguments)

    print("\n4. Fine-tuning (FT1): a linear layer on the mean of the last hidden states")
    model = classifier_from_pretrained_backbone(pretrained, labels)
    arguments = training_arguments(finetune_epochs, learning_rate=5e-4, batch_size=16, seed=seed)
    finetune_classifier(model, CodeExamples(train_codes, targets[train].tolist()), arguments)
    predictions = predict_logits(model, CodeExamples(test_codes)).argmax(axis=1)
    accuracy = float((predictions == targets[test]).mean())

    print(f"\n5. Accuracy on the {len(test)} held-out clips")
    histogram = fit_histogram_classifier(code_histogram([codes[i] for i in train]), targets[train])
    histogram_accuracy = histogram.score(code_histogram([codes[i] for i in test]), targets[test])
    print(f"   always the commonest class   {majority_accuracy(targets[train], targets[test]):6.1%}")
    print(f"   counts of codes, linear      {histogram_accuracy:6.1%}")
    print(f"   AudioFormer                  {accuracy:6.1%}")

    print("\n6. Save, load through pipeline, classify a file")
    model.save_pretrained(output / "model")
    extractor.save_pretrained(output / "model")
    example = clips[test[len(test) // 2]]
    soundfile.write(output / "example.wav", example.waveform, example.sampling_rate)
    classifier = pipeline("audio-classification", model=str(output / "model"))
    waveform, sampling_rate = load_audio(output / "example.wav", sampling_rate=extractor.sampling_rate)
    scores = {item["label"]: item["score"] for item in classifier(waveform, top_k=None)}
    for label, score in list(scores.items())[:3]:
        print(f"   {label:<22} {score:.3f}")
    print(f"   (the file is an example of: {example.label})")

    rows = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=[0, 1, 2, 3])
    ids = rows(waveform, sampling_rate=sampling_rate, return_tensors="np")["input_ids"][0]
    save_classification_figure(
        output / "demo.png", waveform, sampling_rate, ids[1:-1].T - 3, scores, f"{example.label}: what the model heard"
    )
    print(f"   model:   {output / 'model'}\n   picture: {output / 'demo.png'}")
    print(f"\nDone in {time.perf_counter() - started:.0f} s.")
    return accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="folder to write (default: .demo)")
    parser.add_argument("--clips-per-class", type=int, default=60, help="synthetic clips of each class (default: 60)")
    parser.add_argument("--pretrain-epochs", type=float, default=12, help="passes of pre-training (default: 12)")
    parser.add_argument("--finetune-epochs", type=float, default=12, help="passes of fine-tuning (default: 12)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: 0)")
    arguments = parser.parse_args()
    if arguments.clips_per_class < 5:
        parser.error(
            f"--clips-per-class must be at least 5, so that a fifth can be held out: {arguments.clips_per_class}"
        )
    run(**vars(arguments))


if __name__ == "__main__":
    main()
