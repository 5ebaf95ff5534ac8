"""`audioformer evaluate`: the metric of a saved classifier on labelled audio, with its interval and its data."""

from collections.abc import Sequence
from pathlib import Path

from audioformer.evaluation import EvaluationSummary
from audioformer.files import EVAL_RESULTS
from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.training.arguments import AudioFormerTrainingArguments, DataArguments, ModelArguments
from audioformer.training.classifiers import check_known, is_classifier, labels_of, read_config
from audioformer.training.outputs import check_output, leave_processes, quiet_loading
from audioformer.training.parts import open_extractor, open_test
from audioformer.training.recipe import parse_arguments
from audioformer.training.results import describe_settings, summarize
from audioformer.training.trainers import AudioFormerClassificationTrainer

DESCRIPTION = "Measure a fine-tuned AudioFormer on labelled audio."


def evaluate(data: DataArguments, model: ModelArguments, arguments: AudioFormerTrainingArguments) -> EvaluationSummary:
    """Measure `model.model` on the test clips of the data and write the results to `arguments.output_dir`.

    Raises:
        ValueError: If the model is no classifier, does not know a label of the data, or the data cannot be used.
    """
    if model.model is None:
        raise ValueError("`model` must be given: the folder or Hub id of the classifier to evaluate.")
    output = Path(arguments.output_dir)
    check_output(arguments, [output], EVAL_RESULTS)
    config = read_config(model.model, model.model_revision)
    if not is_classifier(config):
        raise ValueError(f"`model` {model.model!r} must be a classifier, it is {config.architectures}.")
    extractor = open_extractor(data, model.model, config.codebook)
    known = labels_of(config)
    part = open_test(data, extractor, lambda labels: check_known(labels, known, f"`model` {model.model}"))
    if part.multi_label and config.problem_type == "single_label_classification":
        raise ValueError(f"`model` {model.model!r} gives one label a clip, but clips of the data have several.")

    classifier = AudioFormerForAudioClassification.from_pretrained(
        model.model, revision=model.model_revision, attn_implementation=model.attn_implementation
    )
    trainer = AudioFormerClassificationTrainer(model=classifier, args=arguments)
    summary = summarize(
        trainer,
        part.with_labels(known),
        tested_on="clips",
        selection=None,
        settings=describe_settings(data, model, arguments),
    )
    if trainer.is_world_process_zero():
        summary.save(output)
        print(summary.to_text())
    trainer.accelerator.wait_for_everyone()
    return summary


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `audioformer evaluate`."""
    settings = parse_arguments(argv, "evaluate", DESCRIPTION)
    quiet_loading()
    evaluate(*settings)
    leave_processes()
    return 0
