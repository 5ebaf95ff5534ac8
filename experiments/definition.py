"""What an experiment compares: a YAML file with the folds, the seeds and the rows of its table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import yaml

from audioformer.feature_extraction.level import NORMALIZATIONS
from audioformer.training.families import recipe_folders
from audioformer.training.recipes import available_recipes

FOLDER = Path(__file__).parent
BASELINES = ("mfcc", "code_histogram", "code_vectors")
"""Features for logistic regression: statistics of MFCCs, counts of C1 codes, statistics of the codes' vectors."""

_REQUIRED = {"title": str, "rows": dict, "reference": str, "seeds": list, "folds": list}
_OPTIONAL = {"fold_pattern": str, "label_pattern": str, "shared": dict}
Probe: TypeAlias = Literal["knn", "mlp", "linear"]
PROBES = get_args(Probe)
"""Probes of the frozen vectors of a pre-trained model, see `audioformer probe`."""

_ROW_KEYS = {
    *("baseline", "normalize", "finetune", "settings", "pretrain", "pretrain_settings", "stages", "probe", "against"),
}
_STAGE_KEYS = {"recipe", "settings", "inputs"}


@dataclass(frozen=True)
class Stage:
    """A stage of pre-training whose folder later stages, or fine-tuning, start from.

    Args:
        recipe (`str`): Its recipe.
        settings (mapping): Settings that take precedence over it.
        inputs (mapping): Settings that name folders of earlier stages of the row, each by the recipe of that stage.
    """

    recipe: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """What determines it."""
        return {"recipe": self.recipe, "settings": dict(self.settings), "inputs": dict(self.inputs)}


@dataclass(frozen=True)
class Row:
    """A row of the table: a baseline, or recipes with what differs from them.

    Args:
        name (`str`): What the table calls it.
        baseline (`str`, *optional*): One of `BASELINES`.
        normalize (`str`, *optional*): `"rms"` for a baseline of codes that hears every clip at one level.
        finetune (`str`, *optional*): Recipe of fine-tuning.
        settings (mapping): Settings that take precedence over that recipe.
        pretrain (`str`, *optional*): Recipe of pre-training; without one, the model is fine-tuned from scratch.
        pretrain_settings (mapping): Settings that take precedence over it.
        stages (tuple of [`Stage`]): Stages of pre-training, in place of `pretrain`, for families that pre-train in
            several. Fine-tuning starts from the last.
        probe (`str`, *optional*): One of `PROBES`, in place of `finetune`: what the model of the last stage knows as
            it is.
        against (`str`, *optional*): Name of an earlier row from which it differs in one thing, to show what that is
            worth. It determines no result.
    """

    name: str
    baseline: str | None = None
    normalize: str | None = None
    finetune: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    pretrain: str | None = None
    pretrain_settings: Mapping[str, Any] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()
    probe: Probe | None = None
    against: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """What determines its results, without its name: recorded with each of them."""
        if self.baseline is not None:
            return {"baseline": self.baseline, **({"normalize": self.normalize} if self.normalize else {})}
        if self.probe is not None:
            return {"probe": self.probe, "stages": [stage.to_dict() for stage in self.stages]}
        own = {"finetune": self.finetune, "settings": dict(self.settings)}
        if self.stages:
            return {**own, "stages": [stage.to_dict() for stage in self.stages]}
        if self.pretrain is None:
            return own
        return {**own, "pretrain": self.pretrain, "pretrain_settings": dict(self.pretrain_settings)}


@dataclass(frozen=True)
class Experiment:
    """A comparison by cross-validation.

    Args:
        name (`str`): Name of its file.
        title (`str`): What is measured.
        rows (tuple of [`Row`]): Rows of the table.
        reference (`str`): Name of the row that the others are compared with.
        seeds (tuple of `int`): Seeds of each trained row; a baseline needs none.
        folds (tuple of `int`): Folds, each tested with what was fitted on all others.
        fold_pattern (`str`, *optional*): Regular expression with one group, searched in the path of each clip: what it
            finds tells the folds apart, in alphabetical order from 1. By default the data have folds.
        label_pattern (`str`, *optional*): The same for the label of each clip, where the data are any audio files.
        shared (mapping): Settings of all trained rows.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    reference: str
    seeds: tuple[int, ...]
    folds: tuple[int, ...]
    fold_pattern: str | None = None
    label_pattern: str | None = None
    shared: Mapping[str, Any] = field(default_factory=dict)


def available_experiments() -> list[str]:
    """Names of the experiments of this package."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_experiment(name_or_file: str) -> Experiment:
    """Read the definition of an experiment.

    Args:
        name_or_file (`str`): Name of one of [`available_experiments`], or a YAML file.

    Raises:
        ValueError: If there is none, or it is not as [`Experiment`] describes; the message names the file and the key.
    """
    file = Path(name_or_file) if Path(name_or_file).suffix in (".yaml", ".yml") else FOLDER / f"{name_or_file}.yaml"
    if not file.is_file():
        raise ValueError(
            f"`experiment` must be one of {', '.join(available_experiments())}, or a YAML file, got {name_or_file!r}."
        )
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error
    _check_keys(file, content)
    for key in ("seeds", "folds"):
        _check_numbers(file, key, content[key])
    for key in ("fold_pattern", "label_pattern"):
        _check_pattern(file, key, content.get(key))
    rows = tuple(_read_row(file, name, row) for name, row in content["rows"].items())
    for position, row in enumerate(rows):
        if row.against is not None and row.against not in [earlier.name for earlier in rows[:position]]:
            raise ValueError(f"{file}: `against` of row {row.name!r} must be an earlier row, got {row.against!r}.")
    if content["reference"] not in content["rows"]:
        raise ValueError(f"{file}: `reference` must be the name of a row, got {content['reference']!r}.")
    numbers = {key: tuple(content[key]) for key in ("seeds", "folds")}
    return Experiment(**{**content, **numbers, "name": file.stem, "rows": rows})


def _check_keys(file: Path, content: Any) -> None:
    if not isinstance(content, dict):
        raise ValueError(f"{file} must be a mapping with the keys {', '.join(_REQUIRED)}.")
    for key in [*_REQUIRED, *content]:
        kind = {**_REQUIRED, **_OPTIONAL}.get(key)
        if kind is None:
            raise ValueError(f"{file}: the keys are {', '.join([*_REQUIRED, *_OPTIONAL])}, got {key!r}.")
        if not isinstance(content.get(key), kind) or not content[key]:
            raise ValueError(f"{file}: `{key}` must be a {kind.__name__} that is not empty, got {content.get(key)!r}.")


def _check_numbers(file: Path, key: str, numbers: list[Any]) -> None:
    at_least = 2 if key == "folds" else 1
    if not all(type(number) is int for number in numbers) or not len(set(numbers)) == len(numbers) >= at_least:
        raise ValueError(f"{file}: `{key}` must be at least {at_least} different whole numbers, got {numbers}.")


def _read_row(file: Path, name: str, row: Any) -> Row:
    kinds = {"baseline", "finetune", "probe"}
    if not isinstance(row, dict) or not set(row) <= _ROW_KEYS or len(kinds & set(row)) != 1:
        raise ValueError(
            f"{file}: row {name!r} must have `baseline`, or `finetune` with `settings`, `pretrain` and "
            f"`pretrain_settings`, or `stages`, or `probe` with `stages`, got {row!r}."
        )
    if "probe" in row and (set(row) - {"against"} != {"probe", "stages"} or row["probe"] not in PROBES):
        raise ValueError(
            f"{file}: `probe` of row {name!r} must be one of {', '.join(PROBES)}, with `stages`, got {row!r}."
        )
    if "stages" in row and ("pretrain" in row or not isinstance(row["stages"], list) or not row["stages"]):
        raise ValueError(
            f"{file}: `stages` of row {name!r} must be a list, without `pretrain` beside it, got {row!r}."
        )
    if "baseline" in row and (
        not set(row) <= {"baseline", "normalize", "against"} or row["baseline"] not in BASELINES
    ):
        raise ValueError(
            f"{file}: `baseline` of row {name!r} must be one of {', '.join(BASELINES)}, with `normalize` at most, got "
            f"{row}."
        )
    if "normalize" in row and (row.get("baseline") in (None, "mfcc") or row["normalize"] not in NORMALIZATIONS):
        known = " or ".join(map(repr, NORMALIZATIONS))
        raise ValueError(
            f"{file}: `normalize` of row {name!r} must be {known}, and is for baselines of codes (recipes have it in "
            f"their settings), got {row}."
        )
    recipes = available_recipes(recipe_folders())
    for key in ("finetune", "pretrain"):
        if key in row and row[key] not in recipes:
            raise ValueError(f"{file}: `{key}` of row {name!r} must be a recipe, got {row[key]!r}.")
    stages: list[Stage] = []
    for stage in row.get("stages", ()):
        stages.append(_read_stage(file, name, stage, recipes, [earlier.recipe for earlier in stages]))
    return Row(name, **{**row, "stages": tuple(stages)})


def _read_stage(file: Path, row: str, stage: Any, recipes: list[str], earlier: list[str]) -> Stage:
    if not isinstance(stage, dict) or not {"recipe"} <= set(stage) <= _STAGE_KEYS:
        keys = ", ".join(sorted(_STAGE_KEYS))
        raise ValueError(f"{file}: a stage of row {row!r} has `recipe`, of the keys {keys}; got {stage!r}.")
    if stage["recipe"] not in recipes:
        raise ValueError(f"{file}: `recipe` of a stage of row {row!r} must be a recipe, got {stage['recipe']!r}.")
    for key, source in dict(stage.get("inputs", {})).items():
        if source not in earlier:
            known = ", ".join(earlier) or "none"
            raise ValueError(
                f"{file}: `inputs` of a stage of row {row!r} must name recipes of earlier stages ({known}), got "
                f"{key} {source!r}."
            )
    return Stage(**stage)


def _check_pattern(file: Path, key: str, pattern: str | None) -> None:
    if pattern is None:
        return
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{file}: `{key}` {pattern!r} is no regular expression: {error}.") from error
    if groups != 1:
        raise ValueError(f"{file}: `{key}` must have one group, {pattern!r} has {groups}.")
