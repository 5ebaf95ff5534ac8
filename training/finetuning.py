"""Fine-tuning a classifier of any model family: select a checkpoint, calibrate, test once, and write the folder."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, set_seed

from audioformer.data.clips import Clips, check_multi_label
from audioformer.evaluation import EvaluationSummary, fit_calibration, metric_name
from audioformer.files import CARD, EVAL_RESULTS, TRAINING_PICTURE
from audioformer.model_cards.facts import CardFacts
from audioformer.model_cards.render import render_model_card

from .arguments import AudioTrainingArguments
from .classifiers import check_classification_loss, check_head, classifier_to_train, labels_of
from .clip_splits import groups_in_words, open_clip_splits
from .families import Settings
from .outputs import check_output, checkpoint_to_resume, drop_checkpoints, in_training_folder, save_run
from .results import describe_recipe, notes_on_groups, notes_on_record, predict, published_name, summarize
from .trainers import ClassificationTrainer
from .trainers.progress import PlanCallback

HELD_OUT = "a held-out part of the training clips"
TEST_CLIPS = "the test clips themselves, as in the paper (optimistic)"


def finetune(settings: Settings) -> EvaluationSummary:
    """Fine-tune, select a checkpoint, calibrate, test once, and write the folder `output_dir`.

    Resuming a finished run whose checkpoints were dropped changes nothing: its results are read.

    Args:
        settings (`Settings`): Settings of the command `finetune`.

    Returns:
        `EvaluationSummary`: The results on the test clips, or on the held-out clips if there are none.

    Raises:
        ValueError: If the data, the labels, the model or the output folder cannot be used.
    """
    data, arguments, family = settings.data, settings.training, settings.family
    output = Path(arguments.output_dir)
    check_output(arguments, [output], EVAL_RESULTS)
    checkpoint = checkpoint_to_resume(arguments, output)
    # The card is written last.
    if arguments.resume_from_checkpoint is not None and checkpoint is None and (output / CARD).is_file():
        summary = EvaluationSummary.load(output)
        if arguments.process_index == 0:
            print(f"{output} holds a finished run: there is nothing to resume.\n{summary.to_text()}")
        return summary
    extractor = family.examples.open_extractor(settings)
    splits = open_clip_splits(
        settings,
        extractor,
        hold_out=lambda multi_label, is_tested: needs_held_out(settings, multi_label, is_tested),
        check_labels=lambda labels, multi_label: check_task(settings, labels, multi_label),
    )
    if data.select_on_eval and splits.test is None:
        raise ValueError("`select_on_eval` needs test clips: give `eval_data`, `eval_split` or `eval_folds`.")
    if settings.model.multi_label is not None:
        splits = splits.as_multi_label(settings.model.multi_label)
    multi_label = splits.train.multi_label

    set_seed(arguments.seed)
    classifier = classifier_to_train(settings, splits.train.labels, multi_label, extractor)
    trainer_settings = replace(settings, training=in_training_folder(arguments, output))
    trainer = family.examples.trainer(trainer_settings, classifier, extractor, splits)
    trainer.add_callback(PlanCallback())
    trainer.train(resume_from_checkpoint=checkpoint)
    training = trainer.card_facts.collected
    notes = notes_on_record(training)
    selecting = splits.selecting
    if classifier.config.classification_loss == "lsep":
        calibrate(trainer, settings, selecting, extractor)
        notes.append("LSEP logits were calibrated on the clips that selected the checkpoint; no ranking changes.")
    selects = arguments.eval_strategy != "no"
    grouped = None
    if splits.test is None:
        if selects:
            notes.append("There are no test clips: these clips selected the checkpoint, so the metric is optimistic.")
        if splits.drawn is not None:
            grouped = splits.drawn.all_grouped
            notes += notes_on_groups(splits.drawn)
    if splits.shared_groups:
        notes.append(groups_in_words(splits.shared_groups))
    save_run(trainer, extractor, output)
    summary = summarize(
        trainer,
        settings,
        selecting if splits.test is None else splits.test,
        extractor,
        tested_on="held-out training clips" if splits.test is None else "test clips",
        selection=None if not selects else TEST_CLIPS if splits.selects_on_test else HELD_OUT,
        notes=notes,
        grouped=grouped,
        training=training,
    )
    if trainer.is_world_process_zero():
        summary.save(output)
        facts = card_facts(settings, classifier, extractor, summary, training)
        facts.save(output)
        render_model_card(facts).save(output / CARD)
        drop_checkpoints(arguments, output)
        print(summary.to_text())
    trainer.accelerator.wait_for_everyone()
    return summary


def needs_held_out(settings: Settings, multi_label: bool, is_tested: bool) -> bool:
    """Whether training clips are held out: to select the checkpoint, to calibrate, or to measure what nothing else
    would.

    Args:
        settings (`Settings`): Settings of the command `finetune`.
        multi_label (`bool`): Whether a clip of the data can have several labels.
        is_tested (`bool`): Whether there are test clips.
    """
    if settings.data.select_on_eval:
        return False
    chosen, loss = settings.model.multi_label, settings.model.classification_loss
    several = multi_label if chosen is None else chosen
    # With several labels, LSEP is what the configuration of a model or the defaults may ask for.
    calibrates = loss == "lsep" or (loss is None and several)
    return not is_tested or calibrates or settings.training.eval_strategy != "no"


def check_task(settings: Settings, labels: Sequence[str], multi_label: bool) -> None:
    """Check that head, loss and metric fit the labels, before any audio is read, and choose the metric.

    Args:
        settings (`Settings`): Settings of the command `finetune`.
        labels (sequence of `str`): Classes of the data.
        multi_label (`bool`): Whether a clip of the data can have several.

    Raises:
        ValueError: If one of them does not fit.
    """
    check_head(settings, labels)
    chosen = settings.model.multi_label
    if chosen is not None:
        check_multi_label(chosen, multi_label)
    several = multi_label if chosen is None else chosen
    if settings.model.classification_loss is not None:
        check_classification_loss(settings.model.classification_loss, several)
    select_by_metric(settings.training, several)


def calibrate(trainer: ClassificationTrainer, settings: Settings, clips: Clips, extractor: Any) -> None:
    """Fit a temperature and biases, kept in the configuration, that make sigmoids usable after a ranking loss."""
    calibration = fit_calibration(predict(trainer, settings, clips, extractor), clips.targets)
    config = trainer.model.config
    config.calibration_temperature = float(calibration.temperature)
    config.calibration_bias = [float(bias) for bias in calibration.bias]


def select_by_metric(arguments: AudioTrainingArguments, multi_label: bool) -> None:
    """Select the checkpoint by the metric of the task, unless the recipe says otherwise.

    Raises:
        ValueError: If another metric than that of the task or the loss is requested.
    """
    metric = metric_name(multi_label)
    wanted = arguments.metric_for_best_model
    if wanted in (None, "loss"):
        arguments.metric_for_best_model, arguments.greater_is_better = metric, True
    elif wanted.removeprefix("eval_") not in (metric, "loss"):
        raise ValueError(f"`metric_for_best_model` must be {metric!r} or 'loss' for these labels, got {wanted!r}.")


def card_facts(
    settings: Settings,
    classifier: PreTrainedModel,
    extractor: Any,
    summary: EvaluationSummary,
    training: dict[str, Any],
) -> CardFacts:
    """What the card of a run says; local paths are reduced to their names."""
    output, family = Path(settings.training.output_dir), settings.family
    describe = family.describe_input
    return CardFacts(
        name=output.resolve().name,
        title=family.card.title,
        paper=family.card.paper,
        citation=family.card.citation,
        method=settings.options.method.upper() if hasattr(settings.options, "method") else None,
        base_model=published_name(settings.model.model),
        sampling_rate=extractor.sampling_rate,
        labels=labels_of(classifier.config),
        num_parameters=classifier.num_parameters(),
        loss=classifier.config.classification_loss,
        recipe=describe_recipe(settings),
        results=summary.to_dict(),
        training=training,
        has_curves=(output / TRAINING_PICTURE).is_file(),
        training_picture=TRAINING_PICTURE,
        **({"reads": "the audio itself"} if describe is None else describe(classifier.config, extractor)),
    )
