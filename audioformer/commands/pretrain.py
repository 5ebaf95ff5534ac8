"""`audioformer pretrain`: masked-LM pre-training, one model for each row of codes (paper section 3.2)."""

import copy
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import set_seed

from audioformer.data.codes.encoded import EncodedData
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.files import CARD, PRETRAIN_RESULTS
from audioformer.model_cards.facts import PretrainedFacts
from audioformer.model_cards.render import render_pretrained_card
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training.arguments import AudioFormerTrainingArguments, DataArguments, ModelArguments
from audioformer.training.classifiers import check_vocabulary, dropout_changes
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.outputs import (
    check_output,
    checkpoint_to_resume,
    leave_processes,
    peak_memory_gb,
    quiet_loading,
    save_run,
)
from audioformer.training.parts import Parts, extractor_of_row, open_extractor, open_parts
from audioformer.training.recipe import parse_arguments
from audioformer.training.trainers import AudioFormerMLMTrainer

DESCRIPTION = "Pre-train AudioFormer on the codes of your audio: one masked language model for each row of codes."


def row_folder(output: str | Path, codebook: int) -> Path:
    """Where the model of a row goes: `OUTPUT/C1` for row 0."""
    return Path(output) / f"C{codebook + 1}"


def fresh_model(model: ModelArguments, extractor: AudioFormerFeatureExtractor) -> AudioFormerForMaskedLM:
    """The checkpoint to start from, or a fresh model of the sizes that were asked for, for the extractor's ids.

    Raises:
        ValueError: If the checkpoint has another vocabulary than the codec.
    """
    ids = extractor.model_config()
    if model.model is not None:
        changes = {"codebook": ids["codebook"], **dropout_changes(model)}
        loaded = AudioFormerForMaskedLM.from_pretrained(
            model.model, revision=model.model_revision, attn_implementation=model.attn_implementation, **changes
        )
        check_vocabulary(model.model, loaded.config, extractor)
        return loaded
    config = AudioFormerConfig(
        hidden_size=model.hidden_size,
        num_hidden_layers=model.num_hidden_layers,
        num_attention_heads=model.num_attention_heads,
        intermediate_size=model.intermediate_size,
        **ids,
        **dropout_changes(model),
    )
    return AudioFormerForMaskedLM._from_config(config, attn_implementation=model.attn_implementation)


def examples_of_row(
    part: EncodedData | None, codebook: int, seed: int, crop_frames: int | None = None
) -> CodeExamples | None:
    """The codes of one row of a part, without labels."""
    if part is None:
        return None
    return CodeExamples(part.codes, crop_frames=crop_frames, codebook=codebook, seed=seed)


def pretrain_row(
    codebook: int,
    parts: Parts,
    extractor: AudioFormerFeatureExtractor,
    model_arguments: ModelArguments,
    training_arguments: AudioFormerTrainingArguments,
) -> dict[str, object]:
    """Pre-train the model of one row and write its folder; a folder that is finished is read instead.

    Returns:
        `dict`: Losses in nats a hidden code, seconds, peak memory in GB; also written to `pretrain_results.json`.
    """
    folder = row_folder(training_arguments.output_dir, codebook)
    results_file = folder / PRETRAIN_RESULTS
    if results_file.is_file():
        return json.loads(results_file.read_text())
    arguments = copy.copy(training_arguments)
    arguments.output_dir = str(folder)
    # Each row starts from weights of its own, the same whether it is the first of a run or the only one.
    set_seed(arguments.seed + codebook)
    extractor = extractor_of_row(extractor, codebook)
    model = fresh_model(model_arguments, extractor)
    trainer = AudioFormerMLMTrainer(
        model=model,
        args=arguments,
        train_dataset=examples_of_row(parts.train, codebook, arguments.seed, arguments.crop_frames),
        eval_dataset=examples_of_row(parts.held_out, codebook, arguments.seed),
    )
    started = time.perf_counter()
    output = trainer.train(resume_from_checkpoint=checkpoint_to_resume(arguments))
    results: dict[str, object] = {
        "codebook": codebook,
        "train_clips": len(trainer.train_dataset),
        "num_parameters": model.num_parameters(),
        "train_loss": output.training_loss,
        "train_seconds": time.perf_counter() - started,
    }
    if parts.held_out is not None:
        results |= {"held_out_clips": len(trainer.eval_dataset), "held_out_loss": trainer.evaluate()["eval_loss"]}
    results["peak_memory_gb"] = peak_memory_gb()
    save_run(trainer, extractor, folder)
    if trainer.is_world_process_zero():
        facts = PretrainedFacts(name=f"{folder.resolve().parent.name}-{folder.name}", known=_facts(results, extractor))
        facts.save(folder)
        render_pretrained_card(facts).save(folder / CARD)
        results_file.write_text(json.dumps(results, indent=2) + "\n")
    trainer.accelerator.wait_for_everyone()
    return results


def _facts(results: Mapping[str, Any], extractor: AudioFormerFeatureExtractor) -> dict[str, Any]:
    """What the card of a pre-trained model says."""
    facts = {
        "reads": f"row C{results['codebook'] + 1} of the codes, {extractor.frame_rate:g} frames a second",
        "SHA-256 of the codec": f"`{codec_fingerprint(extractor.codec)}`",
        "parameters": f"{results['num_parameters']:,}",
        "pre-trained on": f"{results['train_clips']:,} clips, masked-language modelling",
        "mean training loss": f"{results['train_loss']:.3f} nats a hidden code",
    }
    if "held_out_loss" in results:
        facts["held-out loss"] = (
            f"{results['held_out_loss']:.3f} nats a hidden code, {results['held_out_clips']:,} clips"
        )
    return facts


def pretrain(
    data: DataArguments, model: ModelArguments, arguments: AudioFormerTrainingArguments
) -> list[dict[str, object]]:
    """Pre-train one model a row under `arguments.output_dir`; rows that are finished there are skipped.

    Raises:
        ValueError: If the data, the model or the output folder cannot be used.
    """
    rows = list(range(data.num_codebooks)) if model.codebooks is None else model.codebooks
    check_output(arguments, [row_folder(arguments.output_dir, row) for row in rows], PRETRAIN_RESULTS)
    extractor = open_extractor(data, model.model, max(rows))
    parts = open_parts(data, extractor, arguments.seed, hold_out=arguments.eval_strategy != "no")
    results = [pretrain_row(row, parts, extractor, model, arguments) for row in rows]
    if arguments.process_index == 0:
        print(summary(results, Path(arguments.output_dir)))
    return results


def summary(results: Sequence[dict[str, object]], output: Path) -> str:
    """What came of it, as a table for the terminal."""
    lines = [f"{'row':<5}{'train loss':>12}{'held-out loss':>15}{'minutes':>9}{'peak GB':>9}  folder"]
    for row in results:
        held_out = f"{row['held_out_loss']:.3f}" if "held_out_loss" in row else "-"
        codebook = int(row["codebook"])
        lines.append(
            f"C{codebook + 1:<4}{row['train_loss']:>12.3f}{held_out:>15}{row['train_seconds'] / 60:>9.1f}"
            f"{row['peak_memory_gb']:>9.2f}  {row_folder(output, codebook)}"
        )
    lines.append("losses: cross-entropy in nats on the hidden codes")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `audioformer pretrain`."""
    settings = parse_arguments(argv, "pretrain", DESCRIPTION)
    quiet_loading()
    pretrain(*settings)
    leave_processes()
    return 0
