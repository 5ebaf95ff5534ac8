"""One model of an experiment: what it is trained from, and its test."""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.files import PREDICTIONS
from audioformer.model_cards import TINY_CODEC
from audioformer.training.codebooks import name_codebooks
from audioformer.training.families import choose_family, recipe_folders
from audioformer.training.recipes import load_recipe
from audioformer.training.settings import fields_of

from .definition import Experiment, Row
from .records import Record, record_of, recorded_settings
from .runs import finetune_once, pretrain_once, pretrain_stage_once, probe_once

NUM_CODEBOOKS = 4


@dataclass(frozen=True)
class Task:
    """One model to train and test.

    Args:
        experiment ([`Experiment`]): What it belongs to.
        row ([`Row`]): Its recipes.
        seed (`int`): Its seed.
        fold (`int`): The fold to test on.
        manifest (`Path`): The clips with their folds.
        work (`Path`): Folder for models and codes.
    """

    experiment: Experiment
    row: Row
    seed: int
    fold: int
    manifest: Path
    work: Path

    @property
    def shared(self) -> dict[str, Any]:
        """Settings of pre-training and fine-tuning."""
        codes = {"cache_dir": self.work / "codes", "codec": codec_of(self.experiment)} if self.reads_codes else {}
        return {
            "data": self.manifest,
            "train_folds": [fold for fold in self.experiment.folds if fold != self.fold],
            **codes,
            "seed": self.seed,
            "progress": False,
        }

    @property
    def reads_codes(self) -> bool:
        """Whether the model family reads codes, which are kept for all rows."""
        if self.row.probe is not None:
            return False
        family = choose_family(recipe=load_recipe(str(self.row.finetune), recipe_folders()))
        return {"cache_dir", "codec"} <= fields_of("finetune", family).keys()

    @property
    def reads_all_codebooks(self) -> bool:
        """Whether fine-tuning needs models of all codebooks (FT2)."""
        return self.row.probe is None and self.finetune_settings.get("method") == "ft2"

    @property
    def pretrain_settings(self) -> dict[str, Any]:
        """Settings of pre-training, as of fine-tuning; those of fine-tuning if there is no pre-training."""
        if self.row.pretrain is None:
            return self.finetune_settings
        recipe = load_recipe(self.row.pretrain, recipe_folders()).values
        return {**recipe, **self.experiment.shared, **self.row.pretrain_settings}

    @property
    def is_joint(self) -> bool:
        """Whether the pre-trained model reads all codebooks together."""
        return self.row.probe is None and bool(self.pretrain_settings.get("joint_codebooks"))

    @property
    def finetune_settings(self) -> dict[str, Any]:
        """Settings of fine-tuning: those of the recipe, of all rows, and of its own."""
        recipe = load_recipe(str(self.row.finetune), recipe_folders()).values
        return {**recipe, **self.experiment.shared, **self.row.settings}

    @property
    def pretrained(self) -> Path:
        """Folder of its pre-trained models, which rows with the same pre-training share; of several stages, the
        last."""
        if self.row.stages:
            return self.stage_folder(len(self.row.stages) - 1)
        deciding = (self.row.pretrain, dict(self.row.pretrain_settings), dict(self.experiment.shared))
        return self.work / "pretrained" / short_digest(deciding) / f"seed-{self.seed}-fold-{self.fold}"

    def stage_folder(self, number: int) -> Path:
        """Folder of a stage of pre-training, which rows share that begin with the same stages."""
        deciding = ([stage.to_dict() for stage in self.row.stages[: number + 1]], dict(self.experiment.shared))
        return self.work / "pretrained" / short_digest(deciding) / f"seed-{self.seed}-fold-{self.fold}"

    @property
    def begins_with(self) -> Path:
        """Folder of its first pre-training: tasks that share it are pre-trained one after the other."""
        return self.stage_folder(0) if self.row.stages else self.pretrained

    @property
    def output(self) -> Path:
        """Folder of its classifier."""
        deciding = recorded_settings(self.experiment, self.row)
        return self.work / "finetuned" / short_digest(deciding) / f"seed-{self.seed}-fold-{self.fold}"

    def pretrain(self) -> None:
        """Pre-train on all folds but its own, unless that is done.

        Raises:
            ValueError: If FT2 needs a model of each codebook, but there is to be one of all.
        """
        if self.is_joint and self.reads_all_codebooks:
            raise ValueError(f"Row {self.row.name!r}: FT2 needs a model of each codebook, not `joint_codebooks`.")
        folders: dict[str, Path] = {}
        for number, stage in enumerate(self.row.stages):
            inputs = {name: folders[recipe] for name, recipe in stage.inputs.items()}
            folders[stage.recipe] = self.stage_folder(number)
            settings = {**self.shared, **self.experiment.shared, **stage.settings, **inputs}
            pretrain_stage_once(stage.recipe, self.stage_folder(number), **settings)
        if self.row.pretrain is not None:
            settings = {**self.shared, **self.experiment.shared, **self.row.pretrain_settings}
            num_codebooks = NUM_CODEBOOKS if self.reads_all_codebooks or self.is_joint else 1
            pretrain_once(self.row.pretrain, self.pretrained, num_codebooks, **settings)

    def test(self) -> Record:
        """Fine-tune, or fit a probe, on all folds but its own, and test on it."""
        start = time.perf_counter()
        predictions = self.finetune() if self.row.probe is None else self.probe()
        with np.load(predictions) as saved:
            if saved["targets"].ndim != 1:
                raise ValueError(f"{self.manifest}: experiments need one label per clip.")
            correct = saved["scores"].argmax(axis=1) == saved["targets"]
            ids = saved["ids"].tolist()
        return record_of(self.experiment, self.row, self.fold, self.seed, ids, correct, time.perf_counter() - start)

    def probe(self) -> Path:
        """Fit a probe to the vectors of the pre-trained model; gives the file of its predictions."""
        given = {**self.shared, "eval_folds": [self.fold]}
        assert self.row.probe is not None
        vectors = self.work / "vectors"
        return probe_once(self.row.probe, self.pretrained, self.output, vectors_dir=vectors, **given)

    def finetune(self) -> Path:
        """Fine-tune a model; gives the file of its predictions."""
        given = {**self.shared, **self.experiment.shared, **self.row.settings, "eval_folds": [self.fold]}
        if self.row.stages:
            given["model"] = self.pretrained
        elif self.row.pretrain is not None:
            reads = list(range(NUM_CODEBOOKS)) if self.is_joint else 0
            given["model"] = self.pretrained / name_codebooks(reads)
            if self.reads_all_codebooks:
                given["teachers"] = [str(self.pretrained / f"C{n + 1}") for n in range(1, NUM_CODEBOOKS)]
        finetune_once(str(self.row.finetune), self.output, **given)
        return self.output / PREDICTIONS


def codec_of(experiment: Experiment) -> Path:
    """Folder or Hub id of the codec: that of the shared settings, else the bundled one."""
    return Path(experiment.shared.get("codec", TINY_CODEC))


def short_digest(value: Any) -> str:
    """Name of a folder for some settings."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:12]
