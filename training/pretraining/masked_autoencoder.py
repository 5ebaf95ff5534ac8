"""Pre-training of masked autoencoders: what every family does that predicts the patches it does not see."""

import json
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, set_seed

from audioformer.evaluation.reconstruction_figure import save_reconstruction_figure
from audioformer.files import CARD, PRETRAIN_RESULTS, RECONSTRUCTION_PICTURE, write_whole
from audioformer.model_cards.facts import PretrainedFacts
from audioformer.model_cards.render import render_pretrained_card

from ..classifiers import fresh_model
from ..examples.audio import DataCollatorForAudio
from ..families import Settings
from ..outputs import check_output, checkpoint_to_resume, drop_checkpoints, in_training_folder, save_run
from ..peak_memory import peak_memory_gb
from ..results import notes_on_record
from ..trainers.masked_autoencoder import MaskedAutoencoderTrainer
from ..trainers.progress import PlanCallback
from .examples import clips_in_words, open_examples
from .held_out import held_out_in_words

NUM_SHOWN = 3
"""Clips in the picture of reconstructions."""


def check_crops(settings: Settings, longest_s: float) -> None:
    """Check that clips are cut to what a model has positions for.

    Args:
        settings (`Settings`): Settings of the command `pretrain`.
        longest_s (`float`): Longest clip in seconds.

    Raises:
        ValueError: If `max_length_s` is longer.
    """
    length_s = settings.data.max_length_s
    if length_s is None or length_s > longest_s:
        title = settings.family.title
        raise ValueError(f"`max_length_s` must be at most {longest_s:g} s to pre-train {title}, got {length_s}.")


def pretrain_autoencoder(
    settings: Settings, model_class: type[PreTrainedModel], to_image: Callable[[torch.Tensor, Any], torch.Tensor]
) -> dict[str, Any]:
    """Pre-train a model, from scratch or from a folder, and write its folder; a finished one is left as it is.

    Args:
        settings (`Settings`): Settings of the command `pretrain`.
        model_class (type): The autoencoder of the family. It returns `loss`, `logits` and `mask`, and the embeddings
            of its encoder have `patches(input_features)`.
        to_image (function): Patches of a clip, `(num_patches, patch_values)`, and the configuration to a spectrogram,
            `(num_bins, num_frames)`.

    Returns:
        `dict`: Losses per masked patch, seconds, and peak memory in GB; also written to `pretrain_results.json`.

    Raises:
        ValueError: If the data, the model or the output folder cannot be used.
    """
    arguments, data = settings.training, settings.data
    folder = Path(arguments.output_dir)
    check_output(arguments, [folder], PRETRAIN_RESULTS)
    results_file = folder / PRETRAIN_RESULTS
    if results_file.is_file():
        return json.loads(results_file.read_text())
    extractor = settings.family.examples.open_extractor(settings)
    examples = open_examples(settings, extractor, is_drawn=False)
    set_seed(arguments.seed)
    model = open_model(settings, extractor, model_class)
    trainer = MaskedAutoencoderTrainer(
        model=model,
        args=in_training_folder(arguments, folder),
        data_collator=DataCollatorForAudio(extractor),
        train_dataset=examples.train,
        eval_dataset=examples.held_out,
    )
    trainer.add_callback(PlanCallback())
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments, folder))
    training = trainer.card_facts.collected
    results: dict[str, Any] = {
        **examples.facts,
        "num_parameters": model.num_parameters(),
        "encoder_parameters": model.base_model.num_parameters(),
        "standardized_target": predicts_standardized(model),
        "train_loss": training["train_loss"],
        "train_seconds": training["seconds"],
        "training": training,
    }
    copies = data.describe_copies()
    if copies is not None:
        results["augmented_copies"] = {**copies, "text": data.copies_in_words()}
    if examples.held_out is not None:
        results["held_out_loss"] = trainer.evaluate()["eval_loss"]
    results["peak_memory_gb"] = max(peak_memory_gb(), training["peak_memory_gb"])
    save_run(trainer, extractor, folder)
    if trainer.is_world_process_zero():
        # A model that is divided among processes runs on all of them or not at all.
        if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
            shown = trainer.train_dataset if trainer.eval_dataset is None else trainer.eval_dataset
            draw_reconstructions(trainer, shown, folder / RECONSTRUCTION_PICTURE, to_image)
        write_results(settings, results, folder)
        print(summary(results, folder))
    trainer.accelerator.wait_for_everyone()
    return results


def open_model(settings: Settings, extractor: Any, model_class: type[PreTrainedModel]) -> Any:
    """The checkpoint to start from, or a fresh model of the requested sizes.

    An encoder without a decoder gets a fresh one, of the sizes that its configuration has.

    Raises:
        ValueError: If the checkpoint reads other spectrograms than the extractor makes.
    """
    model = settings.model
    if model.model is None:
        return fresh_model(settings, extractor, model_class)
    changes = settings.options.config_values(fresh=False)
    loaded = model_class.from_pretrained(model.model, **model.loading_options, **changes)
    if settings.family.check_extractor is not None:
        settings.family.check_extractor(loaded.config, extractor)
    return loaded


@torch.no_grad()
def draw_reconstructions(
    trainer: MaskedAutoencoderTrainer, clips: Any, file: Path, to_image: Callable[[torch.Tensor, Any], torch.Tensor]
) -> None:
    """Draw what a model makes of some clips: the spectrograms, what it saw of them, and its predictions.

    Predictions of standardized patches get the mean and the deviation of the patches that they stand for.

    Args:
        trainer ([`MaskedAutoencoderTrainer`]): Holds the model, and the collator of its clips.
        clips (`AudioExamples` or `StreamedExamples`): The first `NUM_SHOWN` are drawn.
        file (`Path`): The image to write.
        to_image (function): See [`pretrain_autoencoder`].
    """
    model: Any = trainer.model.eval()
    has_length = hasattr(clips, "__len__")
    first = (clips[index] for index in range(len(clips))) if has_length else iter(clips)
    batch = trainer.data_collator(list(islice(first, NUM_SHOWN)))
    batch = {name: value.to(model.device) for name, value in batch.items()}
    with torch.random.fork_rng():
        torch.manual_seed(trainer.args.seed)
        outputs = model(**batch)
    patches = model.base_model.embeddings.patches(batch["input_features"])
    predicted = outputs.logits.float()
    if predicts_standardized(model):
        deviation, mean = torch.std_mean(patches, dim=-1, keepdim=True)
        predicted = predicted * deviation + mean
    predicted = torch.where(outputs.mask[..., None], predicted, patches)
    seen = patches.masked_fill(outputs.mask[..., None], torch.nan)
    rows = [
        [to_image(kind[index, :length], model.config).cpu().numpy() for kind in (patches, seen, predicted)]
        for index, length in enumerate(batch["attention_mask"].sum(dim=1).tolist())
    ]
    save_reconstruction_figure(file, rows, model.config.sampling_rate / model.config.hop_length)


def predicts_standardized(model: PreTrainedModel) -> bool:
    """Whether a model predicts patches with mean 0 and variance 1 each, as all do that have no setting for it."""
    return getattr(model.config, "standardize_target", True)


def write_results(settings: Settings, results: Mapping[str, Any], folder: Path) -> None:
    """Write the card and the results of a finished run, and drop its checkpoints. Only for one process."""
    card = settings.family.card
    facts = PretrainedFacts(
        name=folder.resolve().name,
        title=card.title,
        paper=card.paper,
        citation=card.citation,
        known=_facts(results),
    )
    facts.save(folder)
    render_pretrained_card(facts).save(folder / CARD)
    text = json.dumps(results, indent=2) + "\n"
    write_whole(folder / PRETRAIN_RESULTS, lambda path: path.write_text(text))
    drop_checkpoints(settings.training, folder)


def summary(results: Mapping[str, Any], folder: Path) -> str:
    """The results for the terminal."""
    lines = [f"{folder}: {results['num_parameters']:,} weights, {results['encoder_parameters']:,} in the encoder"]
    losses = f"train loss {results['train_loss']:.4f}"
    if "held_out_loss" in results:
        losses += f", held-out loss {results['held_out_loss']:.4f}"
    kind = "standardized masked patches; 1 is what their mean gives"
    lines.append(f"{losses} (mean squared error of {kind if results['standardized_target'] else 'masked patches'})")
    lines.append(f"{results['train_seconds'] / 60:.1f} minutes, peak memory {results['peak_memory_gb']:.2f} GB")
    return "\n".join(lines)


def _facts(results: Mapping[str, Any]) -> dict[str, str]:
    """What the card of a pre-trained model says."""
    training = results["training"]
    facts = {
        "parameters": f"{results['num_parameters']:,}, {results['encoder_parameters']:,} of them in the encoder",
        "pre-trained on": f"{clips_in_words(results)}, masked autoencoding",
        "mean training loss": f"{results['train_loss']:.4f}, squared error per value of masked patches",
    }
    if "augmented_copies" in results:
        facts["augmented copies"] = results["augmented_copies"]["text"]
    if "held_out_loss" in results:
        clips = held_out_in_words(results)
        facts["held-out loss"] = f"{results['held_out_loss']:.4f}, squared error, {clips}"
    facts |= {
        "trained on": f"{training['num_processes']} x {training['hardware']}, {training['precision']}",
        "duration": f"{training['steps']:,} steps with batches of {training['batch_size']}; "
        f"{training['seconds'] / 60:.1f} minutes; peak memory {results['peak_memory_gb']:.2f} GB",
    }
    notes = notes_on_record(training)
    return facts | ({"note": " ".join(notes)} if notes else {})
