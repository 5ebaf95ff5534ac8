"""Tests of a finished classifier of any model family on labelled audio."""

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from audioformer.data.clips import Clips
from audioformer.evaluation import EvaluationSummary, GainResult
from audioformer.files import EVAL_RESULTS

from .classifiers import check_known, labels_of, read_classifier_config
from .clip_splits import open_test_clips
from .families import Settings
from .outputs import check_output
from .results import summarize
from .trainers import ClassificationTrainer


@dataclass(frozen=True)
class OpenedTest:
    """A classifier and what it is tested on.

    Args:
        trainer (`ClassificationTrainer`): Holds the classifier; it only evaluates.
        extractor: Feature extractor of the classifier.
        clips ([`Clips`]): The test clips, with the labels of the classifier in its order.
    """

    trainer: ClassificationTrainer
    extractor: Any
    clips: Clips


def open_test(settings: Settings) -> OpenedTest:
    """Open a classifier and the test clips of the data.

    Args:
        settings (`Settings`): Settings of the command `evaluate`.

    Raises:
        ValueError: If the model is not a classifier, does not know a label of the data, or the data cannot be used.
    """
    model, family = settings.model, settings.family
    if model.model is None:
        raise ValueError("`model` must be given: the folder or Hub id of the classifier to evaluate.")
    config = read_classifier_config(family, model.model, model.model_revision)
    extractor = family.examples.open_extractor(settings)
    known = labels_of(config)
    clips = open_test_clips(
        settings, extractor, lambda labels, _: check_known(labels, known, f"`model` {model.model}")
    )
    if clips.multi_label and config.problem_type == "single_label_classification":
        raise ValueError(f"`model` {model.model!r} gives one label per clip, but clips of the data have several.")
    classifier = family.classifier.from_pretrained(model.model, **model.loading_options)
    return OpenedTest(
        family.examples.trainer(settings, classifier, extractor, None), extractor, clips.with_labels(known)
    )


def evaluate(settings: Settings) -> EvaluationSummary:
    """Measure a classifier on the test clips of the data and write the results to `output_dir`.

    With `gains`, the same clips are measured again with their waveforms amplified by each gain, and the summary has a
    table of what is lost.

    Args:
        settings (`Settings`): Settings of the command `evaluate`.

    Returns:
        `EvaluationSummary`: The results.

    Raises:
        ValueError: If the model is not a classifier, does not know a label of the data, or the data cannot be used.
    """
    output = Path(str(settings.training.output_dir))
    check_output(settings.training, [output], EVAL_RESULTS)
    test = open_test(settings)
    trainer, extractor, clips = test.trainer, test.extractor, test.clips
    summary = summarize(trainer, settings, clips, extractor, tested_on="clips", selection=None)
    if settings.data.gains is not None:
        started = time.perf_counter()
        summary.gains = _measure_gains(trainer, settings, clips, extractor, summary)
        summary.seconds = {**summary.seconds, "gains": time.perf_counter() - started}
    if trainer.is_world_process_zero():
        summary.save(output)
        print(summary.to_text())
    trainer.accelerator.wait_for_everyone()
    return summary


def _measure_gains(
    trainer: ClassificationTrainer, settings: Settings, clips: Clips, extractor: Any, summary: EvaluationSummary
) -> list[GainResult]:
    """The metric of the test clips at each gain, from the lowest to the highest, with that of 0 dB among them."""
    results = []
    for gain_db in sorted({0.0, *(settings.data.gains or ())}):
        measured = summary
        if gain_db:
            changed = replace(settings, gain_db=gain_db)
            louder = open_test_clips(changed, extractor, lambda labels, _: None, show_report=False)
            if louder.ids != clips.ids:
                raise ValueError(f"The test clips at {gain_db:g} dB are not those at 0 dB: the data have changed.")
            louder = louder.with_labels(clips.labels)
            measured = summarize(trainer, changed, louder, extractor, tested_on="clips", selection=None)
        results.append(GainResult(gain_db, measured.value, measured.interval, measured.value - summary.value))
    return results
