"""The main job on synthetic sound events: waveform, codes, masked-LM pre-training, fine-tuning, `pipeline`.

python -m audioformer.experiments.demo --output .demo
"""

import argparse
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile
from transformers import pipeline

from audioformer.data import SOUND_EVENTS, Clip, synthesize_sound_events
from audioformer.data.audio import load_audio
from audioformer.evaluation.baselines import code_histogram, fit_histogram_classifier, majority_accuracy
from audioformer.evaluation.clip_figure import save_classification_figure
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.training import Settings, create_settings, finetune
from audioformer.training.outputs import quiet_loading
from audioformer.training.pretraining.masked_lm import pretrain_codebooks

from .runs import reports_to

TEST_FOLD = 0


def write_sounds(folder: Path, clips: Sequence[Clip]) -> None:
    """Write clips as WAV files to one folder per split and class."""
    for clip in clips:
        split = "test" if clip.fold == TEST_FOLD else "train"
        path = folder / split / clip.label / f"{clip.id}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, clip.waveform, clip.sampling_rate)


def baseline_accuracies(settings: Settings, extractor: AudioFormerFeatureExtractor) -> tuple[float, float]:
    """Accuracies of the baselines on the test clips.

    Returns:
        `tuple[float, float]`: Accuracy of always answering the most common class, and of a linear classifier on counts
        of codes.
    """
    clips = settings.family.examples.open_clips(settings, extractor, test_source=False, check_labels=None)
    is_test = np.array(clips.dataset["split"][:]) == "test"
    histograms = code_histogram([codes[0] for codes in clips.codes])
    targets = clips.targets
    classifier = fit_histogram_classifier(histograms[~is_test], targets[~is_test])
    by_counts = classifier.score(histograms[is_test], targets[is_test])
    return majority_accuracy(targets[~is_test], targets[is_test]), by_counts


def run(
    output: Path,
    clips_per_class: int = 60,
    pretrain_epochs: float | None = None,
    finetune_epochs: float | None = None,
    seed: int = 0,
) -> float:
    """Run the whole demonstration below `output`, by the recipes `demo_pretrain` and `demo_ft1`.

    Args:
        output (`Path`): Folder for `sounds/`, `model/`, `example.wav` and `demo.png`. It replaces what an earlier run
            left there.
        clips_per_class (`int`, defaults to 60): Synthetic clips per class; a fifth of them is held out for the test.
        pretrain_epochs (`float`, *optional*): Epochs of masked-LM pre-training; by default those of the recipe.
        finetune_epochs (`float`, *optional*): Epochs of fine-tuning; by default those of the recipe.
        seed (`int`, defaults to 0): Seed of everything.

    Returns:
        `float`: Accuracy of the fine-tuned model on the held-out clips.
    """
    started = time.perf_counter()
    output.mkdir(parents=True, exist_ok=True)
    for name in ("sounds", "pretrained", "model"):
        shutil.rmtree(output / name, ignore_errors=True)
    for name in ("pretrain.log", "finetune.log"):
        (output / name).unlink(missing_ok=True)
    sounds, model = output / "sounds", output / "model"
    shared = {"data": sounds, "cache_dir": output / "codes", "seed": seed}

    print("\n1. Synthesise labelled sound events")
    clips = synthesize_sound_events(clips_per_class, seed=seed)
    write_sounds(sounds, clips)
    test = [clip for clip in clips if clip.fold == TEST_FOLD]
    hours = sum(clip.duration_s for clip in clips) / 3600
    print(f"   {len(clips)} clips, {len(SOUND_EVENTS)} classes, {hours:.2f} h; {len(test)} clips held out")

    print("\n2. Encode them with EnCodec and pre-train: restore the masked quarter of the codes (codebook C1)")
    settings = create_settings(
        "pretrain",
        "demo_pretrain",
        output_dir=output / "pretrained",
        **({} if pretrain_epochs is None else {"num_train_epochs": pretrain_epochs}),
        **shared,
    )
    with reports_to(output / "pretrain.log"):
        (result,) = pretrain_codebooks(settings)
    print(f"   {result['train_loss']:.2f} nats per masked code; a uniform guess costs {np.log(1024):.2f}")

    print("\n3. Fine-tune (FT1): a linear layer on the mean of the last hidden states")
    settings = create_settings(
        "finetune",
        "demo_ft1",
        model=output / "pretrained" / "C1",
        output_dir=model,
        **({} if finetune_epochs is None else {"num_train_epochs": finetune_epochs}),
        **shared,
    )
    with reports_to(output / "finetune.log"):
        summary = finetune(settings)
    extractor = AudioFormerFeatureExtractor.from_pretrained(model)
    majority, by_counts = baseline_accuracies(settings, extractor)

    print(f"\n4. Accuracy on the {len(test)} held-out clips")
    print(f"   always the most frequent class  {majority:6.1%}")
    print(f"   counts of codes, linear         {by_counts:6.1%}")
    print(f"   AudioFormer                     {summary.value:6.1%}")

    print("\n5. Load it through pipeline and classify a file")
    example = test[len(test) // 2]
    soundfile.write(output / "example.wav", example.waveform, example.sampling_rate)
    classifier = pipeline("audio-classification", model=str(model))
    waveform, sampling_rate = load_audio(output / "example.wav", sampling_rate=extractor.sampling_rate)
    scores = {item["label"]: item["score"] for item in classifier(waveform, top_k=None)}
    for label, score in list(scores.items())[:3]:
        print(f"   {label:<22} {score:.3f}")
    print(f"   (the file is an example of: {example.label})")

    (codes,) = extractor.with_codebooks([0, 1, 2, 3]).encode([waveform], sampling_rate=sampling_rate)
    title = f"{example.label}: what the model received and answered"
    save_classification_figure(output / "demo.png", waveform, sampling_rate, codes.T, scores, title)
    print(f"   model:   {model}\n   picture: {output / 'demo.png'}\n   logs:    {output / 'finetune.log'}")
    print(f"\nDone in {time.perf_counter() - started:.0f} s.")
    return summary.value


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `make demo`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(".demo"), help="folder to write (default: .demo)")
    parser.add_argument("--clips-per-class", type=int, default=60, help="synthetic clips per class (default: 60)")
    parser.add_argument("--pretrain-epochs", type=float, help="epochs of pre-training (default: those of the recipe)")
    parser.add_argument("--finetune-epochs", type=float, help="epochs of fine-tuning (default: those of the recipe)")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: 0)")
    arguments = parser.parse_args(argv)
    if arguments.clips_per_class < 5:
        parser.error(
            f"--clips-per-class must be at least 5, so that a fifth can be held out, got {arguments.clips_per_class}"
        )
    quiet_loading()
    run(**vars(arguments))


if __name__ == "__main__":
    main()
