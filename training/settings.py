"""The settings of a run: a recipe and flags, in dataclasses for data, model, model family and training."""

import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from audioformer.files import is_hub_id

from .arguments import AudioTrainingArguments, DataArguments, FamilyArguments, ModelArguments, commands_of
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
    return settings


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
