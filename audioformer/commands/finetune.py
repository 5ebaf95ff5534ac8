"""`audioformer finetune`: classification alone (FT1) or with the multi-positive contrastive loss (FT2)."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from audioformer.data.codes.encoded import EncodedData
from audioformer.evaluation import EvaluationSummary, build_compute_metrics, fit_calibration
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.files import CARD, EVAL_RESULTS, TEACHER_CACHE, TRAINING_PICTURE
from audioformer.model_cards.callback import CardFactsCallback
from audioformer.model_cards.facts import CardFacts
from audioformer.model_cards.render import render_model_card
from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.training.arguments import AudioFormerTrainingArguments, DataArguments, ModelArguments
from audioformer.training.classifiers import check_head, classifier_to_train, labels_of, read_config
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.outputs import (
    check_output,
    checkpoint_to_resume,
    leave_processes,
    quiet_loading,
    save_run,
)
from audioformer.training.parts import Parts, open_extractor, open_parts
from audioformer.training.recipe import describe_recipe, parse_arguments
from audioformer.training.results import describe_settings, predict, publishable, summarize
from audioformer.training.trainers import AudioFormerClassificationTrainer, AudioFormerMPCTrainer
from audioformer.training.trainers.multi_positive import check_source_of_positives
from audioformer.training.trainers.teachers import build_positives, load_teachers

HELD_OUT = "a held-out part of the training clips"
PLACES = {"output_dir", "cache_dir", "teacher_cache_dir", "resume_from_checkpoint"}
"""Flags that say where things lie, and nothing about the model."""
DESCRIPTION = "Fine-tune AudioFormer to classify or tag your audio, from pre-trained, fine-tuned or fresh weights."


def labelled_examples(part: EncodedData, codebook: int, seed: int, **options: object) -> CodeExamples:
    """The codes of one row of a part with its targets."""
    return CodeExamples(part.codes, part.targets, codebook=codebook, seed=seed, **options)


def make_trainer(
    model: AudioFormerForAudioClassification,
    parts: Parts,
    model_arguments: ModelArguments,
    arguments: AudioFormerTrainingArguments,
) -> AudioFormerClassificationTrainer:
    """The trainer of FT1 or FT2 on the parts of a run."""
    row, seed = model.config.codebook, arguments.seed
    selecting = parts.test if parts.held_out is None else parts.held_out
    shared = {
        "model": model,
        "args": arguments,
        "eval_dataset": labelled_examples(selecting, row, seed),
        "compute_metrics": build_compute_metrics(parts.train.multi_label),
    }
    if model_arguments.method == "ft1":
        examples = labelled_examples(parts.train, row, seed, crop_frames=arguments.crop_frames)
        return AudioFormerClassificationTrainer(train_dataset=examples, **shared)
    check_source_of_positives(arguments)
    teachers = load_teachers(model_arguments.teachers, model.config)
    if arguments.online_teachers:
        rows = [teacher.config.codebook for teacher in teachers]
        examples = labelled_examples(
            parts.train, row, seed, crop_frames=arguments.crop_frames, positive_codebooks=rows
        )
        return AudioFormerMPCTrainer(train_dataset=examples, teachers=teachers, **shared)
    positives = build_positives(
        teachers,
        parts.train.codes,
        parts.train.dataset["id"][:],
        arguments.teacher_cache_dir or Path(arguments.output_dir) / TEACHER_CACHE,
        parts.train.codec_fingerprint,
    )
    examples = labelled_examples(parts.train, row, seed, positives=positives)
    return AudioFormerMPCTrainer(train_dataset=examples, **shared)


def calibrate(trainer: AudioFormerClassificationTrainer, part: EncodedData) -> None:
    """Make sigmoids of the logits usable, as ranking losses don't: a temperature and biases go into the config."""
    calibration = fit_calibration(predict(trainer, part), part.targets)
    config = trainer.model.config
    config.calibration_temperature = float(calibration.temperature)
    config.calibration_bias = [float(bias) for bias in calibration.bias]


def check_metric_arguments(arguments: AudioFormerTrainingArguments, multi_label: bool) -> None:
    """Select by the metric of the task where the recipe leaves it open."""
    metric = "mAP" if multi_label else "accuracy"
    wanted = arguments.metric_for_best_model
    if wanted in (None, "loss"):
        arguments.metric_for_best_model, arguments.greater_is_better = metric, True
    elif wanted.removeprefix("eval_") not in (metric, "loss"):
        raise ValueError(f"`metric_for_best_model` must be {metric!r} or 'loss' for these labels, got {wanted!r}.")


def finetune(
    data: DataArguments,
    model: ModelArguments,
    arguments: AudioFormerTrainingArguments,
    recipe: Mapping[str, Any] | None = None,
) -> EvaluationSummary:
    """Fine-tune, select a checkpoint, calibrate, test once, and write the folder `arguments.output_dir`.

    Args:
        data (`DataArguments`): What to train, select and test on.
        model (`ModelArguments`): Where to start, and how.
        arguments (`AudioFormerTrainingArguments`): The training.
        recipe (mapping, *optional*): From [`describe_recipe`], for the card.

    Raises:
        ValueError: If the data, the labels, the model, the teachers or the output folder cannot be used.
    """
    output = Path(arguments.output_dir)
    check_output(arguments, [output], EVAL_RESULTS)
    codebook = model.codebooks[0] if model.codebooks else 0
    if model.model is not None and model.codebooks is None:
        codebook = read_config(model.model, model.model_revision).codebooks
    extractor = open_extractor(data, model.model, codebook)
    parts = open_parts(
        data,
        extractor,
        arguments.seed,
        hold_out=not data.select_on_eval,
        check_labels=lambda labels: check_head(model, labels),
    )
    if data.select_on_eval and parts.test is None:
        raise ValueError("`select_on_eval` needs test clips: give `eval_data`, `eval_split` or `eval_folds`.")
    if model.multi_label is not None:
        parts = parts.as_multi_label(model.multi_label)
    multi_label = parts.train.multi_label
    check_metric_arguments(arguments, multi_label)

    set_seed(arguments.seed)
    classifier = classifier_to_train(model, parts.train.labels, multi_label, extractor)
    trainer = make_trainer(classifier, parts, model, arguments)
    collector = CardFactsCallback()
    trainer.add_callback(collector)
    started = time.perf_counter()
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments))
    seconds = time.perf_counter() - started
    notes = []
    selecting = parts.test if parts.held_out is None else parts.held_out
    if classifier.config.classification_loss == "lsep":
        calibrate(trainer, selecting)
        notes.append(
            "LSEP logits were calibrated on the clips that selected the checkpoint; no ranking changes by it."
        )
    if parts.test is None:
        notes.append("There are no test clips: these are the clips that selected the checkpoint, which is optimistic.")
    save_run(trainer, extractor, output)
    summary = summarize(
        trainer,
        selecting if parts.test is None else parts.test,
        tested_on="held-out training clips" if parts.test is None else "test clips",
        selection="the test clips themselves, as in the paper (optimistic)" if data.select_on_eval else HELD_OUT,
        settings=describe_settings(data, model, arguments),
        notes=notes,
        train_seconds=seconds,
    )
    if trainer.is_world_process_zero():
        summary.save(output)
        facts = card_facts(classifier, extractor, model, summary, recipe or {}, collector.collected, output)
        facts.save(output)
        render_model_card(facts).save(output / CARD)
        print(summary.to_text())
    trainer.accelerator.wait_for_everyone()
    return summary


def card_facts(
    classifier: AudioFormerForAudioClassification,
    extractor: AudioFormerFeatureExtractor,
    model: ModelArguments,
    summary: EvaluationSummary,
    recipe: Mapping[str, Any],
    training: Mapping[str, Any],
    output: Path,
) -> CardFacts:
    """What the card of a run says; of paths of this machine only their names."""
    saved = extractor.to_dict()
    flags = {name: publishable(value) for name, value in recipe.get("flags", {}).items() if name not in PLACES}
    return CardFacts(
        name=output.resolve().name,
        method=model.method.upper(),
        base_model=publishable(model.model),
        codebook=classifier.config.codebook,
        codec={
            "codec": saved["codec"],
            "codec_revision": saved["codec_revision"],
            "codec_fingerprint": codec_fingerprint(extractor.codec),
            "sampling_rate": extractor.sampling_rate,
            "frame_rate": extractor.frame_rate,
            "codebook_size": extractor.codebook_size,
        },
        labels=labels_of(classifier.config),
        num_parameters=classifier.num_parameters(),
        loss=classifier.config.classification_loss,
        recipe={**recipe, "flags": flags},
        results=summary.to_dict(),
        training=dict(training),
        has_curves=(output / TRAINING_PICTURE).is_file(),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `audioformer finetune`."""
    settings = parse_arguments(argv, "finetune", DESCRIPTION)
    quiet_loading()
    finetune(*settings, recipe=describe_recipe(argv, "finetune"))
    leave_processes()
    return 0
