"""Masked-LM pre-training of AudioFormer: one model per codebook (paper section 3.2), or one of several codebooks."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from audioformer.data.codes.encoded import EncodedClips
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.files import CARD, PRETRAIN_RESULTS, write_whole
from audioformer.model_cards.facts import PretrainedFacts, describe_level
from audioformer.model_cards.render import render_pretrained_card
from audioformer.modeling_audioformer import AudioFormerForMaskedLM

from ..classifiers import fresh_model
from ..clip_splits import ClipSplits, open_clip_splits
from ..codebooks import describe_codebooks, name_codebooks
from ..examples.code_source import open_extractor, with_copies
from ..examples.codes import CodeExamples
from ..examples.synthetic_codes import JoinedCodes, encode_beside_data, synthetic_clips
from ..families import Settings
from ..outputs import check_output, checkpoint_to_resume, drop_checkpoints, in_training_folder, save_run
from ..peak_memory import peak_memory_gb
from ..results import notes_on_record
from ..trainers import AudioFormerMLMTrainer
from ..trainers.progress import PlanCallback
from .held_out import describe_held_out, held_out_in_words


def pretrain_codebooks(settings: Settings) -> list[dict[str, Any]]:
    """Pre-train one model per codebook below `output_dir`; those already finished there are skipped.

    With `joint_codebooks`, pre-train one model that reads all of them together.

    Returns:
        `list[dict]`: For each model its losses in nats per masked code, seconds, and peak memory in GB; also
        written to `pretrain_results.json`.

    Raises:
        ValueError: If the data, the model or the output folder cannot be used.
    """
    arguments, options = settings.training, settings.options
    codebooks = list(range(options.num_codebooks)) if options.codebooks is None else options.codebooks
    models: list[int | list[int]] = [codebooks] if options.joint_codebooks else list(codebooks)
    output = Path(arguments.output_dir)
    check_output(arguments, [folder_of(output, reads) for reads in models], PRETRAIN_RESULTS)
    extractor = open_extractor(settings, codebooks if options.joint_codebooks else max(codebooks))
    splits = open_clip_splits(
        settings,
        extractor,
        hold_out=arguments.eval_strategy != "no",
        open_synthetic=lambda: encode_beside_data(settings, extractor),
    )
    splits = with_copies(settings, splits, extractor)
    finished = [reads for reads in models if (folder_of(output, reads) / PRETRAIN_RESULTS).is_file()]
    plan = PlanCallback() if options.joint_codebooks else PlanCallback(len(models) - len(finished), "codebooks")
    results = [pretrain_model(settings, reads, splits, extractor, plan) for reads in models]
    if arguments.process_index == 0:
        print(summary(results, output))
    return results


def folder_of(output: str | Path, reads: int | Sequence[int]) -> Path:
    """Where a model goes, by the paper's names: `OUTPUT/C1` for codebook 0, `OUTPUT/C1-C4` for one of 0 to 3."""
    return Path(output) / name_codebooks(reads)


def pretrain_model(
    settings: Settings,
    reads: int | list[int],
    splits: ClipSplits[EncodedClips],
    extractor: AudioFormerFeatureExtractor,
    plan: PlanCallback,
) -> dict[str, Any]:
    """Pre-train one model and write its folder; if the folder is finished, read its results.

    Args:
        settings (`Settings`): Settings of the command `pretrain`.
        reads (`int` or `list[int]`): Its codebook, or several that it reads together.
        splits (`ClipSplits`): Training clips, and held-out ones if there are evaluations.
        extractor (`AudioFormerFeatureExtractor`): Of any codebook.
        plan (`PlanCallback`): Says how much there is to do.
    """
    folder = folder_of(settings.training.output_dir, reads)
    results_file = folder / PRETRAIN_RESULTS
    if results_file.is_file():
        if settings.training.process_index == 0:
            # Those of a run that was killed between its end and their removal.
            drop_checkpoints(settings.training, folder)
        return json.loads(results_file.read_text())
    arguments = in_training_folder(settings.training, folder)
    # Each codebook starts from weights of its own, the same whether it is the first of a run or the only one.
    set_seed(arguments.seed + (reads if isinstance(reads, int) else reads[0]))
    extractor = extractor.with_codebooks(reads)
    model = open_model(settings, extractor)
    trainer = AudioFormerMLMTrainer(
        model=model,
        args=arguments,
        train_dataset=CodeExamples(
            codes_of(splits), crop_frames=arguments.crop_frames, codebook=reads, seed=arguments.seed
        ),
        eval_dataset=unlabelled_examples(splits.held_out, reads, arguments.seed),
    )
    trainer.add_callback(plan)
    trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments, folder))
    training = trainer.card_facts.collected
    results: dict[str, Any] = {
        **({"codebook": reads} if isinstance(reads, int) else {"codebooks": reads}),
        "train_clips": len(codes_of(splits)),
        "num_parameters": model.num_parameters(),
        "train_loss": training["train_loss"],
        "train_seconds": training["seconds"],
        "training": training,
    }
    synthetic = synthetic_clips(settings, extractor.sampling_rate)
    if synthetic is not None:
        results["synthetic"] = {
            "clips": len(synthetic),
            "hours": round(len(synthetic) * synthetic.duration_s / 3600, 3),
            "clip_s": synthetic.duration_s,
            "seed": synthetic.seed,
            "beside_data": splits.synthetic is not None,
        }
    copies = settings.data.describe_copies()
    if copies is not None:
        results["augmented_copies"] = {**copies, "text": settings.data.copies_in_words()}
    if splits.held_out is not None:
        results |= {**describe_held_out(splits), "held_out_loss": trainer.evaluate()["eval_loss"]}
    results["peak_memory_gb"] = max(peak_memory_gb(), training["peak_memory_gb"])
    save_run(trainer, extractor, folder)
    if trainer.is_world_process_zero():
        card = settings.family.card
        facts = PretrainedFacts(
            name=f"{folder.resolve().parent.name}-{folder.name}",
            title=card.title,
            paper=card.paper,
            citation=card.citation,
            known=_facts(results, extractor),
        )
        facts.save(folder)
        render_pretrained_card(facts).save(folder / CARD)
        text = json.dumps(results, indent=2) + "\n"
        write_whole(results_file, lambda path: path.write_text(text))
        drop_checkpoints(settings.training, folder)
    trainer.accelerator.wait_for_everyone()
    return results


def open_model(settings: Settings, extractor: AudioFormerFeatureExtractor) -> AudioFormerForMaskedLM:
    """The checkpoint to start from, or a fresh model of the requested sizes, with the vocabulary of the extractor.

    Raises:
        ValueError: If the vocabulary of the checkpoint is not that of the codec.
    """
    model = settings.model
    if model.model is None:
        return fresh_model(settings, extractor, AudioFormerForMaskedLM)
    # Several are those of the checkpoint; a single one may be another.
    reads = {"codebook": extractor.codebooks} if isinstance(extractor.codebooks, int) else {}
    changes = settings.options.config_values(fresh=False) | reads
    loaded = AudioFormerForMaskedLM.from_pretrained(model.model, **model.loading_options, **changes)
    if settings.family.check_extractor is not None:
        settings.family.check_extractor(loaded.config, extractor)
    return loaded


def unlabelled_examples(clips: EncodedClips | None, reads: int | list[int], seed: int) -> CodeExamples | None:
    """The codes of one codebook or several, without labels."""
    return None if clips is None else CodeExamples(clips.versions, codebook=reads, seed=seed)


def codes_of(splits: ClipSplits[EncodedClips]) -> Sequence[Any]:
    """The codes to train on: those of the data with their copies, and of the synthetic clips beside them."""
    own = splits.train.versions
    return own if splits.synthetic is None else JoinedCodes([own, splits.synthetic.codes])


def reads_of(results: Mapping[str, Any]) -> int | list[int]:
    """The codebook of a model, or the several that it reads together, from its results."""
    return results["codebook"] if "codebook" in results else results["codebooks"]


def summary(results: Sequence[Mapping[str, Any]], output: Path) -> str:
    """The results as a table for the terminal."""
    lines = [f"{'codebook':<10}{'train loss':>12}{'held-out loss':>15}{'minutes':>9}{'peak GB':>9}  folder"]
    for row in results:
        held_out = f"{row['held_out_loss']:.3f}" if "held_out_loss" in row else "-"
        reads = reads_of(row)
        name = f"{reads} (C{reads + 1})" if isinstance(reads, int) else name_codebooks(reads)
        lines.append(
            f"{name:<10}{row['train_loss']:>12.3f}{held_out:>15}"
            f"{row['train_seconds'] / 60:>9.1f}{row['peak_memory_gb']:>9.2f}  {folder_of(output, reads)}"
        )
    lines.append("losses: cross-entropy in nats per masked code")
    return "\n".join(lines)


def _synthetic_facts(results: Mapping[str, Any]) -> dict[str, str]:
    if "synthetic" not in results:
        return {}
    synthetic = results["synthetic"]
    share = f"{synthetic['clips']:,} of the clips" if synthetic["beside_data"] else "all clips"
    return {
        "synthetic sound": f"{share}, {synthetic['hours']:g} hours in clips of {synthetic['clip_s']:g} s, which "
        f"`audioformer.data.SyntheticClips` generated from seed {synthetic['seed']}"
    }


def _facts(results: Mapping[str, Any], extractor: AudioFormerFeatureExtractor) -> dict[str, str]:
    """What the card of a pre-trained model says."""
    reads, level = describe_codebooks(reads_of(results)), describe_level(extractor.normalization)
    facts = {
        "reads": f"{reads} of the codes, {extractor.frame_rate:g} frames per second",
        "SHA-256 of the codec": f"`{codec_fingerprint(extractor.codec)}`",
        **({} if level is None else {"level": level}),
        "parameters": f"{results['num_parameters']:,}",
        "pre-trained on": f"{results['train_clips']:,} clips, masked-language modelling",
        **_synthetic_facts(results),
        "mean training loss": f"{results['train_loss']:.3f} nats per masked code",
    }
    if "augmented_copies" in results:
        facts["augmented copies"] = results["augmented_copies"]["text"]
    if "held_out_loss" in results:
        clips = held_out_in_words(results)
        facts["held-out loss"] = f"{results['held_out_loss']:.3f} nats per masked code, {clips}"
    training = results["training"]
    facts |= {
        "trained on": f"{training['num_processes']} x {training['hardware']}, {training['precision']}",
        "duration": f"{training['steps']:,} steps with batches of {training['batch_size']}; "
        f"{training['seconds'] / 60:.1f} minutes; peak memory {results['peak_memory_gb']:.2f} GB",
    }
    notes = notes_on_record(training)
    return facts | ({"note": " ".join(notes)} if notes else {})
