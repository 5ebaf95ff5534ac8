"""Train the bundled ESC-10 classifier: cross-validate the recipes, train on all folds, and write the folder.

    python -m audioformer.experiments.tiny_esc10 --data path/to/esc10 --output model_cards/audioformer-tiny-esc10

Every finished part (codes, the models of each fold) is kept in `--work` and not repeated. A run that was
killed resumes from its last checkpoint.
"""

import argparse
import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.data.audio import list_audio_clips
from audioformer.data.audio.folder import copy_attribution, names_with_license
from audioformer.data.audio.windows import clip_id_of
from audioformer.data.codes.cache import encode_listing
from audioformer.data.readers import read_listing
from audioformer.evaluation import EvaluationSummary
from audioformer.evaluation.baselines import code_histogram_accuracy
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.files import ATTRIBUTION, CARD, EVAL_RESULTS, PREDICTIONS, PRETRAIN_RESULTS
from audioformer.model_cards import TINY_CODEC
from audioformer.model_cards.facts import CardFacts, read_facts
from audioformer.model_cards.render import render_model_card
from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.training.codebooks import name_codebooks
from audioformer.training.families import recipe_folders
from audioformer.training.outputs import quiet_loading
from audioformer.training.recipes import load_recipe

from .card_sections import card_sections
from .licensed_clips import LicensedClips, list_licensed_clips
from .runs import finetune_once, pretrain_once

LICENSES = ("CC0", "CC-BY")
"""Licences under which the weights may be passed on. Clips under CC-Sampling+ are left out."""

PRETRAIN_RECIPE, FINETUNE_RECIPE = "tiny_c1_c4_pretrain", "tiny_esc10_ft1"
NUM_CODEBOOKS = 4
MODEL = name_codebooks(range(NUM_CODEBOOKS))
"""Folder of the pre-trained model, which reads all codebooks."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """What determines the results of a run.

    Args:
        data (`Path`): ESC-10 in the layout of ESC-50, with `meta/attribution.csv`.
        work (`Path`): Folder of the finished parts.
        codec (`Path`, *optional*): Folder of the codec; by default the bundled one.
        seed (`int`, defaults to 0): Seed of everything.
        pretrain (mapping): Settings that take precedence over the recipe of pre-training.
        finetune (mapping): Settings that take precedence over the recipe of fine-tuning.
    """

    data: Path
    work: Path
    codec: Path = TINY_CODEC
    seed: int = 0
    pretrain: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    finetune: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def attribution(self) -> Path:
        """Authors and licences of the clips."""
        return self.data / "meta" / ATTRIBUTION

    def prepare(self) -> LicensedClips:
        """List the clips whose licences allow to pass on the weights.

        Raises:
            ValueError: If `work` holds parts that were made with other settings, or the data cannot be used.
        """
        recipes = [load_recipe(name, recipe_folders()).values for name in (PRETRAIN_RECIPE, FINETUNE_RECIPE)]
        names = names_with_license(self.attribution, LICENSES)
        deciding = {
            "names": sorted(names),
            "codec": codec_fingerprint(AudioFormerFeatureExtractor(codec=str(self.codec), codebooks=0).codec),
            "seed": self.seed,
            "pretrain": {**recipes[0], **self.pretrain},
            "finetune": {**recipes[1], **self.finetune},
        }
        self.work.mkdir(parents=True, exist_ok=True)
        file, text = self.work / "experiment.json", json.dumps(deciding, indent=2, sort_keys=True)
        if not file.is_file():
            file.write_text(text + "\n", encoding="utf-8")
        began = json.loads(file.read_text(encoding="utf-8"))
        differing = [name for name, value in json.loads(text).items() if value != began.get(name)]
        if differing:
            raise ValueError(
                f"`work` {self.work} holds parts that were made with other settings ({', '.join(differing)}): give "
                "another --work, or remove it."
            )
        return list_licensed_clips(self.data, self.work, names)

    def train(self, folder: Path, clips: LicensedClips, train_folds: Sequence[int], test_fold: int | None) -> None:
        """Pre-train and fine-tune on some folds, unless it was done before.

        Args:
            folder (`Path`): Folder for `pretrained/` and `finetuned/`.
            clips ([`LicensedClips`]): The clips.
            train_folds (sequence of `int`): The folds to train on.
            test_fold (`int`, *optional*): The fold to test on.
        """
        shared: dict[str, Any] = {
            "data": clips.manifest,
            "train_folds": list(train_folds),
            "cache_dir": self.work / "codes",
            "seed": self.seed,
        }
        pretrained, finetuned = folder / "pretrained", folder / "finetuned"
        pretrain_once(PRETRAIN_RECIPE, pretrained, NUM_CODEBOOKS, codec=self.codec, **shared, **self.pretrain)
        if test_fold is not None:
            shared["eval_folds"] = [test_fold]
        finetune_once(FINETUNE_RECIPE, finetuned, model=pretrained / MODEL, **shared, **self.finetune)


def run(experiment: Experiment, output: Path) -> EvaluationSummary:
    """Cross-validate the recipes, train on all folds, and write the folder as it is pushed.

    Args:
        experiment ([`Experiment`]): The data and settings.
        output (`Path`): Folder to write.

    Returns:
        [`EvaluationSummary`]: The cross-validated result, from the predictions of all folds.

    Raises:
        ValueError: If the data cannot be used, or the folder of parts belongs to another experiment.
    """
    clips = experiment.prepare()
    if len(clips.folds) < 2:
        raise ValueError(f"{experiment.data}: cross-validation needs at least two folds, got {clips.folds}.")
    for fold in clips.folds:
        others = [other for other in clips.folds if other != fold]
        experiment.train(experiment.work / f"fold-{fold}", clips, others, fold)
    experiment.train(experiment.work / "all", clips, clips.folds, None)
    summary = pool_folds(experiment.work, clips)
    publish(experiment, clips, summary, output)
    print(f"{summary.headline()}; wrote {output}")
    return summary


def pool_folds(work: Path, clips: LicensedClips) -> EvaluationSummary:
    """One result from the predictions of the models of all folds, each for the clips that it did not see.

    Args:
        work (`Path`): Folder with `fold-*/finetuned/`.
        clips ([`LicensedClips`]): The clips.

    Raises:
        ValueError: If the models have different labels.
    """
    parts = []
    for fold in clips.folds:
        with np.load(work / f"fold-{fold}" / "finetuned" / PREDICTIONS) as arrays:
            parts.append({name: arrays[name] for name in arrays.files})
    labels = parts[0]["labels"].tolist()
    if any(part["labels"].tolist() != labels for part in parts):
        raise ValueError(f"{work}: the models of the folds have different labels.")
    ids = [clip_id_of(name) for part in parts for name in part["ids"].tolist()]
    group_of = {clip.id: clip.group or clip.id for clip in clips.clips}
    results = {name: _read_json(work / name / "finetuned" / EVAL_RESULTS) for name in _folders(clips)}
    report = list_audio_clips(read_listing(clips.manifest), progress=False).report
    return EvaluationSummary(
        ids=ids,
        scores=np.concatenate([part["scores"] for part in parts]),
        targets=np.concatenate([part["targets"] for part in parts]),
        labels=labels,
        multi_label=False,
        tested_on=f"clips of {clips.name} (folds {clips.listed_folds()}) by {len(clips.folds)}-fold cross-validation",
        selection=None,
        groups=[group_of[name] for name in ids],
        settings=results["all"]["settings"],
        data=dataclasses.asdict(report),
        data_text=report.to_text(),
        notes=["Each clip was classified by a model that was trained on the other folds."],
        seconds={
            "pre-training": sum(
                _read_json(work / name / "pretrained" / MODEL / PRETRAIN_RESULTS)["train_seconds"] for name in results
            ),
            **{part: sum(entry["seconds"][part] for entry in results.values()) for part in ("training", "testing")},
        },
    )


def fold_table(summary: EvaluationSummary, clips: LicensedClips) -> list[dict[str, Any]]:
    """Clips and accuracy of each fold."""
    fold_of = {clip.id: clip.fold for clip in clips.clips}
    folds = np.array([fold_of[name] for name in summary.ids])
    is_correct = summary.scores.argmax(axis=1) == summary.targets
    return [
        {"fold": fold, "clips": int((folds == fold).sum()), "accuracy": float(is_correct[folds == fold].mean())}
        for fold in clips.folds
    ]


def histogram_accuracy(clips: LicensedClips, extractor: AudioFormerFeatureExtractor, cache_dir: Path) -> float:
    """Cross-validated accuracy of a linear classifier on counts of codes, on the same clips and folds."""
    encoded = encode_listing(read_listing(clips.manifest), extractor, cache_dir, num_codebooks=1)
    codes = [rows[0] for rows in encoded.codes]
    labels, folds = encoded.targets.tolist(), encoded.dataset["fold"][:]
    return code_histogram_accuracy(codes, labels, folds, extractor.codebook_size)


def publish(experiment: Experiment, clips: LicensedClips, summary: EvaluationSummary, output: Path) -> None:
    """Write the model of all folds with the cross-validated result, its card, and the attribution of the clips."""
    finetuned = experiment.work / "all" / "finetuned"
    extractor = AudioFormerFeatureExtractor.from_pretrained(finetuned)
    AudioFormerForAudioClassification.from_pretrained(finetuned).save_pretrained(output)
    extractor.save_pretrained(output)
    copy_attribution(experiment.attribution, [Path(str(clip.audio)) for clip in clips.clips], output / ATTRIBUTION)

    summary.save(output)
    results = summary.to_dict() | {
        "per_fold": fold_table(summary, clips),
        "histogram_accuracy": histogram_accuracy(clips, extractor, experiment.work / "codes"),
        "audioformer_version": version("audioformer"),
    }
    (output / EVAL_RESULTS).write_text(json.dumps(results, indent=2, default=str) + "\n", encoding="utf-8")
    facts = read_facts(finetuned)
    if not isinstance(facts, CardFacts):
        raise ValueError(f"{finetuned} must hold the facts of a classifier, not of a pre-trained model.")
    facts = dataclasses.replace(
        facts,
        name=output.resolve().name,
        base_model="a masked language model of the codes of the same clips",
        results=results,
        sections=card_sections(
            clips,
            results,
            num_labels=len(facts.labels),
            lengths_s=results["data"]["duration_quantiles_s"],
            recipes={PRETRAIN_RECIPE: experiment.pretrain, FINETUNE_RECIPE: experiment.finetune},
            licenses=LICENSES,
        ),
        has_curves=False,
        has_classes_picture=False,
    )
    facts.save(output)
    render_model_card(facts, license="cc-by-4.0").save(output / CARD)


def _folders(clips: LicensedClips) -> list[str]:
    return [*(f"fold-{fold}" for fold in clips.folds), "all"]


def _read_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, required=True, help="ESC-10 in the layout of ESC-50, with meta/attribution.csv"
    )
    parser.add_argument("--codec", type=Path, default=TINY_CODEC, help="codec folder (default: the bundled one)")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--work", type=Path, default=Path("runs/tiny-esc10"), help="folder for finished parts")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything (default: 0)")
    arguments = parser.parse_args(argv)
    quiet_loading()
    experiment = Experiment(arguments.data, arguments.work, arguments.codec, seed=arguments.seed)
    run(experiment, arguments.output)


if __name__ == "__main__":
    main()
