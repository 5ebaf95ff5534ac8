"""Pre-training of BEATs, one stage a run: an encoder, or the tokenizer for the next (arXiv 2212.09058, section 3)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, set_seed

from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.files import CARD, PRETRAIN_RESULTS, write_whole
from audioformer.model_cards.facts import PretrainedFacts
from audioformer.model_cards.render import render_pretrained_card
from audioformer.modeling_beats import (
    BeatsForAudioClassification,
    BeatsForMaskedAudioModeling,
    BeatsForTokenizerDistillation,
    BeatsModel,
    BeatsRandomProjectionTokenizer,
    BeatsTokenizer,
)

from ..classifiers import fresh_model, read_classifier_config, read_config
from ..examples.audio import DataCollatorForAudio
from ..examples.masked_patches import DataCollatorForMaskedPatches
from ..families import Settings
from ..outputs import check_output, checkpoint_to_resume, drop_checkpoints, in_training_folder, save_run
from ..peak_memory import peak_memory_gb
from ..results import notes_on_record, published_name
from ..trainers.beats_pretraining import BeatsMaskedTrainer, BeatsTokenizerTrainer, CodesOfPatchesTrainer
from ..trainers.progress import PlanCallback
from .examples import PretrainingExamples, clips_in_words, open_examples
from .held_out import held_out_in_words

LOGGED = {
    "masked_accuracy": "accuracy on hidden patches",
    "estimation_loss": "one minus the cosine of estimate and target",
    "codebook_loss": "squared distance to the code",
    "codes_used": "share of the codes that occur",
    "code_perplexity": "perplexity of the codes",
}
"""What the last log record and the evaluation say beside the loss, in words for cards."""


def pretrain_beats(settings: Settings) -> dict[str, Any]:
    """Pre-train an encoder or a tokenizer, and write the folder `output_dir`; if it is finished, read its results.

    Args:
        settings (`Settings`): Settings of the command `pretrain`; `stage` says which.

    Returns:
        `dict`: Losses, accuracy on hidden patches, use of the codes, seconds and memory; also written to
        `pretrain_results.json`.

    Raises:
        ValueError: If the data, a model, the output folder or the settings of the stage cannot be used, or the codes
            collapse.
    """
    arguments = settings.training
    output = Path(arguments.output_dir)
    check_output(arguments, [output], PRETRAIN_RESULTS)
    results_file = output / PRETRAIN_RESULTS
    if results_file.is_file():
        if arguments.process_index == 0:
            # Those of a run that was killed between its end and their removal.
            drop_checkpoints(arguments, output)
            print(f"{output} holds a finished run: there is nothing to resume.")
        return json.loads(results_file.read_text())
    extractor = open_extractor(settings)
    set_seed(arguments.seed)
    # Before the clips: what does not fit is said before audio is read.
    trainer_class, stage = open_stage(settings, extractor)
    examples = open_examples(settings, extractor, is_drawn=True)
    trainer = trainer_class(
        args=in_training_folder(arguments, output),
        min_perplexity=settings.options.min_perplexity,
        train_dataset=examples.train,
        eval_dataset=examples.held_out,
        **stage,
    )
    trainer.add_callback(PlanCallback())
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments, output))
    results = _results(trainer, settings, examples)
    if isinstance(trainer.model, BeatsForTokenizerDistillation):
        # The estimator is of no more use.
        trainer.model = trainer.model.tokenizer()
    save_run(trainer, extractor, output)
    if trainer.is_world_process_zero():
        _write_results(settings, results, extractor, output)
        print(summary(results, output))
    trainer.accelerator.wait_for_everyone()
    return results


def open_extractor(settings: Settings) -> BeatsFeatureExtractor:
    """The extractor of the model that the run starts from, else of its tokenizer or teacher, else a fresh one.

    Raises:
        ValueError: If tokenizer or teacher read other spectrograms.
    """
    options = settings.options
    named = {"model": settings.model.model, "tokenizer": options.tokenizer, "teacher": options.teacher}
    opened = {name: _read_extractor(name, place) for name, place in named.items() if place is not None}
    extractor = next(iter(opened.values()), BeatsFeatureExtractor()).with_scale(mean=options.mean, std=options.std)
    for name in ("tokenizer", "teacher"):
        if name not in opened:
            continue
        own, others = extractor.to_dict(), opened[name].to_dict()
        different = [key for key, value in own.items() if others.get(key) != value]
        if different:
            listing = ", ".join(f"{key} {others.get(key)!r} and not {own[key]!r}" for key in sorted(different))
            raise ValueError(f"`{name}` {named[name]!r} reads other spectrograms than this run: {listing}.")
    return extractor


def _read_extractor(name: str, place: str) -> BeatsFeatureExtractor:
    try:
        return BeatsFeatureExtractor.from_pretrained(place)
    except OSError as error:
        raise ValueError(f"`{name}` {place!r} has no feature extractor: {error}") from error


def open_stage(
    settings: Settings, extractor: BeatsFeatureExtractor
) -> tuple[type[CodesOfPatchesTrainer], dict[str, Any]]:
    """The trainer of a stage, and its arguments that depend on the stage: model, collator, tokenizer or teacher.

    Raises:
        ValueError: If a folder holds another kind of model, or does not fit the spectrograms.
    """
    options = settings.options
    if options.stage == "tokenizer":
        teacher, target_size = open_teacher(settings)
        model = _open_model(settings, extractor, BeatsForTokenizerDistillation, estimator_target_size=target_size)
        targets_of = logits_of_patches if options.teacher_target == "logits" else last_hidden_states
        return BeatsTokenizerTrainer, {
            "model": model,
            "teacher": teacher,
            "targets_of": targets_of,
            "data_collator": DataCollatorForAudio(extractor),
        }
    loading: dict[str, Any] = {"attn_implementation": settings.model.attn_implementation}
    if options.labels_from == "tokenizer":
        config = read_config(settings.family, options.tokenizer)
        if BeatsTokenizer.__name__ not in (config.architectures or []):
            architectures = ", ".join(config.architectures or ["unknown"])
            raise ValueError(f"`tokenizer` {options.tokenizer!r} must hold a BeatsTokenizer, not {architectures}.")
        _check_fit(settings, config, extractor)
        tokenizer: PreTrainedModel = BeatsTokenizer.from_pretrained(options.tokenizer, **loading)
        model = _open_model(settings, extractor, BeatsForMaskedAudioModeling, codebook_size=config.codebook_size)
    else:
        model = _open_model(settings, extractor, BeatsForMaskedAudioModeling)
        tokenizer = BeatsRandomProjectionTokenizer(model.config)
    return BeatsMaskedTrainer, {
        "model": model,
        "tokenizer": tokenizer,
        "data_collator": DataCollatorForMaskedPatches(extractor),
    }


def open_teacher(settings: Settings) -> tuple[PreTrainedModel, int | None]:
    """The teacher of a tokenizer, and how many values it gives for a patch.

    Raises:
        ValueError: If logits are asked of a model that is no classifier.
    """
    options, family = settings.options, settings.family
    loading: dict[str, Any] = {"attn_implementation": settings.model.attn_implementation}
    if options.teacher_target == "logits":
        config = read_classifier_config(family, options.teacher)
        return BeatsForAudioClassification.from_pretrained(options.teacher, **loading), config.num_labels
    config = read_config(family, options.teacher)
    return BeatsModel.from_pretrained(options.teacher, **loading), config.hidden_size


def last_hidden_states(teacher: BeatsModel, features: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """What an encoder makes of each patch, `(batch_size, num_patches, hidden_size)`."""
    return teacher(features, mask).last_hidden_state


def logits_of_patches(
    teacher: BeatsForAudioClassification, features: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """What a classifier says of each patch, `(batch_size, num_patches, num_labels)`; their mean is what it says of the
    clip. The paper does not say whether its targets are those of patches."""
    return teacher.classifier(teacher.beats(features, mask).last_hidden_state)


def _open_model(
    settings: Settings, extractor: BeatsFeatureExtractor, model_class: type[PreTrainedModel], **changes: Any
) -> Any:
    """A fresh model, or one with the weights of the checkpoint to start from as far as it has them."""
    start = settings.model
    if start.model is None:
        return fresh_model(settings, extractor, model_class, **changes)
    config = read_config(settings.family, start.model, start.model_revision)
    _check_fit(settings, config, extractor)
    changes |= settings.options.config_values(fresh=False)
    return model_class.from_pretrained(start.model, **start.loading_options, **changes)


def _check_fit(settings: Settings, config: Any, extractor: BeatsFeatureExtractor) -> None:
    if settings.family.check_extractor is not None:
        settings.family.check_extractor(config, extractor)


def _results(trainer: CodesOfPatchesTrainer, settings: Settings, examples: PretrainingExamples) -> dict[str, Any]:
    training, options = trainer.card_facts.collected, settings.options
    logged = next((record for record in reversed(trainer.state.log_history) if "loss" in record), {})
    results: dict[str, Any] = {
        "stage": options.stage,
        **{
            name: published_name(getattr(options, name)) for name in ("tokenizer", "teacher") if getattr(options, name)
        },
        **examples.facts,
        "num_parameters": trainer.model.num_parameters(),
        "train_loss": training["train_loss"],
        **{name: logged[name] for name in LOGGED if name in logged},
        "train_seconds": training["seconds"],
        "training": training,
    }
    if settings.data.augmentation is not None:
        copies = settings.data.describe_copies() or {}
        results["augmented_copies"] = {**copies, "text": settings.data.copies_in_words()}
    if examples.held_out is not None:
        metrics = trainer.evaluate()
        names = ("loss", *LOGGED)
        results["held_out"] = {name: metrics[f"eval_{name}"] for name in names if f"eval_{name}" in metrics}
    results["peak_memory_gb"] = max(peak_memory_gb(), training["peak_memory_gb"])
    return results


def _write_results(
    settings: Settings, results: Mapping[str, Any], extractor: BeatsFeatureExtractor, folder: Path
) -> None:
    card = settings.family.card
    facts = PretrainedFacts(
        name=folder.resolve().name,
        title=card.title,
        paper=card.paper,
        citation=card.citation,
        known=_facts(settings, results, extractor),
    )
    facts.save(folder)
    render_pretrained_card(facts).save(folder / CARD)
    text = json.dumps(results, indent=2) + "\n"
    write_whole(folder / PRETRAIN_RESULTS, lambda path: path.write_text(text))
    drop_checkpoints(settings.training, folder)


def _facts(settings: Settings, results: Mapping[str, Any], extractor: BeatsFeatureExtractor) -> dict[str, str]:
    """What the card of a pre-trained model says."""
    options, training = settings.options, results["training"]
    objective = {
        "encoder": "labels of hidden patches, by "
        + (f"the tokenizer `{results['tokenizer']}`" if "tokenizer" in results else "a random projection"),
        "tokenizer": f"{options.teacher_target.replace('_', ' ')} of `{results.get('teacher')}`, through codes",
    }[options.stage]
    facts = {
        "reads": f"log-mel spectrograms of {extractor.feature_size} bins, mean {extractor.mean:g}, standard deviation "
        f"{extractor.std:g}",
        "parameters": f"{results['num_parameters']:,}"
        + (" with the estimator" if options.stage == "tokenizer" else ""),
        "predicts": objective,
        "pre-trained on": clips_in_words(results),
        "mean training loss": f"{results['train_loss']:.3f}",
        **{title: f"{results[name]:.3g}" for name, title in LOGGED.items() if name in results},
    }
    if "augmented_copies" in results:
        facts["augmented copies"] = results["augmented_copies"]["text"]
    for name, value in results.get("held_out", {}).items():
        facts[f"held out: {LOGGED.get(name, name)}"] = f"{value:.3g}, {held_out_in_words(results)}"
    facts |= {
        "trained on": f"{training['num_processes']} x {training['hardware']}, {training['precision']}",
        "duration": f"{training['steps']:,} steps with batches of {training['batch_size']}; "
        f"{training['seconds'] / 60:.1f} minutes; peak memory {results['peak_memory_gb']:.2f} GB",
    }
    notes = notes_on_record(training)
    return facts | ({"note": " ".join(notes)} if notes else {})


def summary(results: Mapping[str, Any], output: Path) -> str:
    """The results as lines for the terminal: of the last steps of training, and of the held-out clips."""
    held_out = results.get("held_out", {})
    lines = [f"{output}: {results['stage']}, {results['train_seconds'] / 60:.1f} minutes"]
    lines.append(f"{'':<46}{'training':>10}{'held out':>10}")
    for name, title in {"loss": "loss", **LOGGED}.items():
        values = [results["train_loss"] if name == "loss" else results.get(name), held_out.get(name)]
        if any(value is not None for value in values):
            shown = "".join(f"{'-' if value is None else format(value, '.3f'):>10}" for value in values)
            lines.append(f"{title:<46}{shown}")
    return "\n".join(lines)
