"""Finding recipes and merging each with its bases."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SUFFIXES = (".yaml", ".yml")
ALIASES = {"output": "output_dir"}
"""Keys with a second name, which the flags have as well."""


class RecipeError(ValueError):
    """Something is wrong with a recipe or a flag; the message names the key, the value and what is allowed."""


@dataclass(frozen=True)
class Recipe:
    """A recipe, merged with its bases.

    Args:
        name (`str`): Name, without folder and suffix.
        values (mapping): Settings by name; what a recipe says takes precedence over what its base says.
        own (mapping): What the recipe itself says, its `base` included, for cards.
        family (`str`, *optional*): Model family it is written for: the one whose folder it, or one of its bases,
            belongs to, or that its key `family` names.
    """

    name: str
    values: Mapping[str, Any]
    own: Mapping[str, Any]
    family: str | None


def available_recipes(folders: Mapping[str, Path]) -> list[str]:
    """Names of the packaged recipes.

    Args:
        folders (mapping): Folder of recipes of each model family.
    """
    return sorted(path.stem for folder in folders.values() for path in folder.glob("*.yaml"))


def load_recipe(name: str | Path, folders: Mapping[str, Path]) -> Recipe:
    """Read a recipe and those it is based on.

    Args:
        name (`str` or `Path`): A packaged recipe such as `"esc50_ft1"`, or the path of a YAML file. Its key `base`
            names another recipe: a packaged one, or a file, relative to this one.
        folders (mapping): Folder of recipes of each model family.

    Raises:
        RecipeError: If there is no such recipe, it is not a mapping, or bases form a circle.
    """
    values: dict[str, Any] = {}
    own: dict[str, Any] | None = None
    family: str | None = None
    seen: list[Path] = []
    path: Path | None = _find(name, Path.cwd(), folders)
    while path is not None:
        if path in seen:
            raise RecipeError(f"`base` forms a circle: {' -> '.join(p.name for p in [*seen, path])}.")
        seen.append(path)
        content = _read(path)
        own = dict(content) if own is None else own
        base = content.pop("base", None)
        family = family or content.pop("family", None) or _family_of(path, folders)
        content.pop("family", None)
        values = {**{ALIASES.get(key, key): value for key, value in content.items()}, **values}
        path = None if base is None else _find(base, path.parent, folders)
    return Recipe(Path(name).stem, values, own or {}, family)


def similar_names(name: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)`, or nothing if no known name is close."""
    close = difflib.get_close_matches(name, list(known), n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from error
    except RecursionError as error:
        raise RecipeError(f"{path} is nested too deeply for a recipe, which has `key: value` lines.") from error
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must consist of `key: value` lines, got {type(content).__name__}.")
    return content


def _family_of(path: Path, folders: Mapping[str, Path]) -> str | None:
    return next((family for family, folder in folders.items() if path.parent == folder.resolve()), None)


def _find(name: str | Path, folder: Path, folders: Mapping[str, Path]) -> Path:
    """Path of a recipe by its packaged name, or relative to `folder`."""
    text = str(name)
    if not text.endswith(SUFFIXES):
        packaged = _packaged(f"{text}.yaml", folders.values())
        if packaged is None:
            known = available_recipes(folders)
            raise RecipeError(f"`recipe` {text!r} is unknown{similar_names(text, known)}. {_listing(known)}")
        return packaged
    path = Path(text) if Path(text).is_absolute() else folder / text
    if not path.is_file():
        packaged = _packaged(text, folders.values())
        if packaged is None:
            raise RecipeError(f"`recipe` {text!r} does not exist. {_listing(available_recipes(folders))}")
        return packaged
    return path.resolve()


def _packaged(file: str, folders: Iterable[Path]) -> Path | None:
    return next(((folder / file).resolve() for folder in folders if (folder / file).is_file()), None)


def _listing(known: Sequence[str]) -> str:
    return f"Packaged recipes are: {', '.join(known)}; any other is the path of a .yaml file."
