"""Tests of a finished classifier of any model family on labelled audio."""

from pathlib import Path

from audioformer.evaluation import EvaluationSummary
from audioformer.files import EVAL_RESULTS

from .classifiers import check_known, labels_of, read_classifier_config
from .clip_splits import open_test_clips
from .families import Settings
from .outputs import check_output
from .results import summarize


def evaluate(settings: Settings) -> EvaluationSummary:
    """Measure a classifier on the test clips of the data and write the results to `output_dir`.

    Args:
        settings (`Settings`): Settings of the command `evaluate`.

    Returns:
        `EvaluationSummary`: The results.

    Raises:
        ValueError: If the model is not a classifier, does not know a label of the data, or the data cannot be used.
    """
    model, family = settings.model, settings.family
    if model.model is None:
        raise ValueError("`model` must be given: the folder or Hub id of the classifier to evaluate.")
    output = Path(settings.training.output_dir)
    check_output(settings.training, [output], EVAL_RESULTS)
    config = read_classifier_config(family, model.model, model.model_revision)
    extractor = family.examples.open_extractor(settings)
    known = labels_of(config)
    clips = open_test_clips(
        settings, extractor, lambda labels, _: check_known(labels, known, f"`model` {model.model}")
    )
    if clips.multi_label and config.problem_type == "single_label_classification":
        raise ValueError(f"`model` {model.model!r} gives one label per clip, but clips of the data have several.")

    classifier = family.classifier.from_pretrained(model.model, **model.loading_options)
    trainer = family.examples.trainer(settings, classifier, extractor, None)
    summary = summarize(trainer, settings, clips.with_labels(known), extractor, tested_on="clips", selection=None)
    if trainer.is_world_process_zero():
        summary.save(output)
        print(summary.to_text())
    trainer.accelerator.wait_for_everyone()
    return summary
