"""The settings of a run: a recipe and flags, in dataclasses for data, model, model family and training."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from huggingface_hub.errors import StrictDataclassError

from audioformer.files import is_hub_id

from .arguments import (
    EVALUATE,
    FINETUNE,
    AudioTrainingArguments,
    DataArguments,
    FamilyArguments,
    ModelArguments,
    commands_of,
)
from .families import Family, Settings, choose_family, families, recipe_folders
from .recipes import RecipeError, convert, load_recipe, similar_names

Group = TypeVar("Group", DataArguments, ModelArguments, FamilyArguments, AudioTrainingArguments)


def create_settings(command: str, recipe: str | Path | None = None, **given: Any) -> Settings:
    """Build settings from a recipe and from keyword arguments, which take precedence.

    Args:
        command (`str`): `"pretrain"`, `"finetune"` or `"evaluate"`.
        recipe (`str` or `Path`, *optional*): Name of a packaged recipe, or path of a YAML file.
        given: Settings by name, including `output_dir`.

    Raises:
        RecipeError: For a name that does not exist or is not for this command, a value of another type, a path
            that does not exist, or a missing output folder.
        ValueError: If values do not fit together.
    """
    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in given.items()}
    loaded = None if recipe is None else load_recipe(recipe, recipe_folders())
    family = choose_family(
        model=given.get("model", loaded and loaded.values.get("model")),
        model_revision=given.get("model_revision"),
        recipe=loaded,
        name=given.get("family"),
    )
    values = {} if loaded is None else check_values(loaded.values, command, family, f"recipe {loaded.name}")
    values |= check_values(given, command, family, "setting")
    if not values.get("output_dir"):
        raise RecipeError("`output` must be given: the folder to write.")

    def build(group: type[Group]) -> Group:
        names = [entry.name for entry in dataclasses.fields(group) if entry.name in values]
        return group(**{name: values[name] for name in names})

    settings = Settings(
        command=command,
        family=family,
        data=build(DataArguments),
        model=build(ModelArguments),
        options=build(family.arguments),
        training=build(family.training_arguments),
        recipe=loaded,
        given=given,
    )
    check_paths(settings)
    check_together(settings)
    return settings


def check_together(settings: Settings) -> None:
    """Check what settings of different groups say together, before data are read or encoded.

    Raises:
        ValueError: If there is no fresh model of the requested sizes, the metric that selects a checkpoint is unknown,
            labels are to be smoothed for a loss without a smoothed form, mel bins are to move that cannot, or the
            family refuses the settings.
    """
    family, training = settings.family, settings.training
    if settings.command != EVALUATE and settings.model.model is None:
        try:
            family.config(**settings.options.config_values(fresh=True))
        except (StrictDataclassError, ValueError) as error:
            # The errors of configurations name the field in a first line of their own.
            raise ValueError(f"There is no fresh model of these sizes: {' '.join(str(error).split())}") from error
    training.check_early_stopping()
    if getattr(training, "mel_jitter", None) is not None and not hasattr(family.extractor, "mel_range"):
        raise ValueError(f"`mel_jitter` needs mel bins whose edges can move; those of {family.title} cannot.")
    if settings.data.streaming:
        check_streaming(settings)
    if settings.command == FINETUNE:
        check_metric(training.metric_for_best_model)
        if training.label_smoothing_factor and settings.model.classification_loss == "lsep":
            raise ValueError(
                f"`label_smoothing_factor` must be 0 with the classification loss 'lsep', which has no smoothed form; "
                f"got {training.label_smoothing_factor}."
            )
    if family.check_settings is not None:
        family.check_settings(settings)


def check_streaming(settings: Settings) -> None:
    """Check that a stream has a family that reads it, an end, and no settings that need all clips.

    Raises:
        ValueError: If it has not; the message names the setting.
    """
    data, training, family = settings.data, settings.training, settings.family
    if not family.streams:
        able = ", ".join(one.title for one in families() if one.streams)
        raise ValueError(f"`streaming` cannot feed {family.title}, which reads no audio in training, but {able} can.")
    if training.max_steps <= 0:
        raise ValueError(
            f"`streaming` needs `max_steps`, got {training.max_steps}: how many clips a stream holds is not known "
            "before it was read."
        )
    for name in ("eval_strategy", "save_strategy"):
        strategy = str(getattr(getattr(training, name), "value", getattr(training, name)))
        if strategy == "epoch":
            raise ValueError(f"`{name}` must be 'steps' or 'no' with `streaming`, got 'epoch': a stream has none.")
    for name in ("train_folds", "max_train_clips", "group_pattern"):
        value = getattr(data, name)
        if value is not None:
            raise ValueError(f"`{name}` {value!r} needs all clips to be listed, which `streaming` does not do.")


def check_metric(metric: str | None) -> None:
    """Check that a metric is one that fine-tuning reports, for data with one label per clip or with several.

    Raises:
        ValueError: If it is not.
    """
    # Here, because it loads scikit-learn.
    from audioformer.evaluation import metric_name

    known = ["loss", *(metric_name(multi_label) for multi_label in (False, True))]
    if metric is not None and metric.removeprefix("eval_") not in known:
        raise ValueError(f"`metric_for_best_model` must be one of {', '.join(map(repr, known))}, got {metric!r}.")


def check_paths(settings: Settings) -> None:
    """Check that every file and folder that a setting names exists.

    Raises:
        RecipeError: Naming the setting and the path.
    """
    for group in settings.groups:
        for entry in dataclasses.fields(group):
            kind, value = entry.metadata.get("path"), getattr(group, entry.name)
            if kind is None or value is None:
                continue
            for number, path in enumerate(value if isinstance(value, list) else [value]):
                name = f"{entry.name}[{number}]" if isinstance(value, list) else entry.name
                if not Path(path).exists() and (kind == "local" or not is_hub_id(path)):
                    raise RecipeError(f"`{name}` {path!r} does not exist.")


def groups_of(family: Family) -> tuple[type, type, type[FamilyArguments], type[AudioTrainingArguments]]:
    """The dataclasses of a family's settings."""
    return DataArguments, ModelArguments, family.arguments, family.training_arguments


def fields_of(command: str, family: Family) -> dict[str, Any]:
    """Type hints of the settings that a command takes for a model family, by name."""
    return {entry.name: hint for group in groups_of(family) for entry, hint in typed_fields(group, command)}


def typed_fields(group: type, command: str) -> Iterator[tuple[dataclasses.Field, Any]]:
    """The fields of one dataclass that a command takes, each with its type hint."""
    hints = get_type_hints(group)
    for entry in dataclasses.fields(group):
        if entry.init and command in commands_of(entry):
            yield entry, hints[entry.name]


def check_values(values: Mapping[str, Any], command: str, family: Family, origin: str) -> dict[str, Any]:
    """Check each name and convert each value to the type of its setting.

    Args:
        values (mapping): Settings by name.
        command (`str`): The command they are for.
        family (`Family`): The model family.
        origin (`str`): Where they come from, for messages.

    Raises:
        RecipeError: For a name that does not exist or is not for this command, or a value of another type.
    """
    known = fields_of(command, family)
    checked = {}
    for name, value in values.items():
        if name not in known:
            everywhere = {e.name for one in families() for group in groups_of(one) for e in dataclasses.fields(group)}
            reason = f"does not apply to `{command}` of {family.title}" if name in everywhere else "is unknown"
            raise RecipeError(
                f"{origin}: `{name}` {reason}{similar_names(str(name), known)}. `audioformer {command} --help-all` "
                "lists all settings."
            )
        try:
            checked[name] = convert(value, known[name])
        except ValueError as error:
            raise RecipeError(f"{origin}: `{name}` {error}.") from error
    return checked
