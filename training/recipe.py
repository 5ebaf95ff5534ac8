"""Settings of a run: a recipe (YAML, a base and differences), and flags on the command line above it."""

import argparse
import dataclasses
import difflib
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

import yaml
from transformers import HfArgumentParser

from .arguments import AudioFormerTrainingArguments, AudioTrainingArguments, DataArguments, ModelArguments

RECIPES = Path(__file__).parent / "recipes"
"""The recipes that come with the package."""

ALIASES = {"output": "output_dir"}

SHOWN_TRAINING = (
    "output_dir",
    "num_train_epochs",
    "max_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "bf16",
    "fp16",
    "torch_compile",
    "seed",
    "dataloader_num_workers",
    "eval_strategy",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "logging_strategy",
    "logging_steps",
    "label_smoothing_factor",
    "metric_for_best_model",
    "load_best_model_at_end",
    "resume_from_checkpoint",
    "fsdp",
    "deepspeed",
)
"""Fields of `TrainingArguments` in the short help; `--help-all` has the other hundred."""

LEAVE_ALONE = {"remove_unused_columns", "ddp_find_unused_parameters", "report_to"}
"""Fields of `TrainingArguments` that have another default here, and need no flag in the short help."""

NOT_FOR = {
    "pretrain": {
        "method",
        "teachers",
        "classification_loss",
        "new_head",
        "multi_label",
        "select_on_eval",
        "eval_data",
        "eval_codes",
        "eval_split",
        "eval_folds",
        "classification_weight",
        "mpc_temperature",
        "gather_across_devices",
        "online_teachers",
        "teacher_cache_dir",
        "mixup_alpha",
        "class_balanced_sampling",
        "label_smoothing_factor",
    },
    "finetune": {
        "mask_probability",
        "replace_probability",
        "random_probability",
        "mask_span_length",
    },
}
"""Fields that a command has no use for: left out of its help, and refused."""

FOR_EVALUATE = {
    *("codec_type", "codec_backend"),
    *("data", "codes", "eval_data", "eval_codes", "layout", "eval_split", "eval_folds", "audio_column"),
    *(
        "label_column",
        "label_delimiter",
        "codec",
        "codec_revision",
        "codec_type",
        "codec_backend",
        "num_codebooks",
        "max_length_s",
        "cache_dir",
    ),
    *(
        "max_rejected_share",
        "model",
        "model_revision",
        "attn_implementation",
        "output_dir",
        "per_device_eval_batch_size",
    ),
    *("dataloader_num_workers", "bf16_full_eval", "fp16_full_eval", "use_cpu", "seed"),
}

EXAMPLES = {
    "pretrain": "audioformer pretrain --recipe tiny_pretrain --data sounds/ --output runs/pretrained",
    "finetune": "audioformer finetune --recipe tiny_ft1 --model runs/pretrained/C1 --data sounds/ --output runs/ft1",
    "evaluate": "audioformer evaluate --model runs/ft1 --data other_sounds/ --output runs/evaluation",
}


class RecipeError(ValueError):
    """Something is wrong with a recipe or a flag; the message names the key, the value and what is allowed."""


def available_recipes() -> list[str]:
    """Names of the recipes that come with the package."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load_recipe(name: str | Path) -> dict[str, Any]:
    """Read a recipe and those it is based on; what it says goes before what they say.

    Args:
        name (`str` or `Path`): A packaged recipe such as `"esc50_ft1"`, or the path of a YAML file. Its key `base`
            names another recipe: a packaged one, or a file, relative to this one.

    Raises:
        RecipeError: If there is no such recipe, it is not a mapping, or bases run in a circle.
    """
    merged: dict[str, Any] = {}
    seen: list[Path] = []
    path: Path | None = find_recipe(name, Path.cwd())
    while path is not None:
        if path in seen:
            raise RecipeError(f"`base` runs in a circle: {' -> '.join(p.name for p in [*seen, path])}.")
        seen.append(path)
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except yaml.YAMLError as error:
            raise RecipeError(f"{path} is not YAML: {error}") from error
        if not isinstance(content, dict):
            raise RecipeError(f"{path} must be a list of `key: value`, got {type(content).__name__}.")
        base = content.pop("base", None)
        merged = {**{ALIASES.get(key, key): value for key, value in content.items()}, **merged}
        path = None if base is None else find_recipe(base, path.parent)
    return merged


def find_recipe(name: str | Path, folder: Path) -> Path:
    """Path of a recipe by its packaged name, or relative to `folder`."""
    text = str(name)
    if not text.endswith((".yaml", ".yml")):
        packaged = RECIPES / f"{text}.yaml"
        if packaged.is_file():
            return packaged
        raise RecipeError(f"`recipe` {text!r} is unknown{_similar(text, available_recipes())}. " + _recipes_text())
    path = Path(text) if Path(text).is_absolute() else folder / text
    if not path.is_file() and (RECIPES / text).is_file():
        path = RECIPES / text
    if not path.is_file():
        raise RecipeError(f"`recipe` {text!r} does not exist. {_recipes_text()}")
    return path.resolve()


def _recipes_text() -> str:
    return f"Those of the package are: {', '.join(available_recipes())}; any other is the path of a .yaml file."


def _similar(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def check_recipe(recipe: Mapping[str, Any], command: str, name: str) -> dict[str, Any]:
    """Check each key and convert each value to its field's type.

    Raises:
        RecipeError: For a key that does not exist or is not for this command, or a value of another type.
    """
    known = fields_of(command)
    checked = {}
    for key, value in recipe.items():
        if key not in known:
            everywhere = {field.name for group in GROUPS for field in dataclasses.fields(group)}
            reason = f"is not for `audioformer {command}`" if key in everywhere else "is unknown"
            raise RecipeError(
                f"recipe {name}: `{key}` {reason}{_similar(str(key), list(known))}. "
                f"`audioformer {command} --help-all` lists all keys."
            )
        checked[key] = convert(key, value, known[key], name)
    return checked


def convert(key: str, value: Any, wanted: Any, name: str) -> Any:
    """A value of a recipe in the type of its field; YAML reads `1e-4` as text, for instance."""
    for option in get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,):
        fits, converted = _try(value, option)
        if fits:
            return converted
    raise RecipeError(f"recipe {name}: `{key}` must be {_type_text(wanted)}, got {value!r}.")


def _try(value: Any, wanted: Any) -> tuple[bool, Any]:
    """Whether a value fits one type, and the value in it."""
    origin = get_origin(wanted)
    if origin is Literal:
        return value in get_args(wanted), value
    if origin is list:
        entries = [_try(entry, get_args(wanted)[0]) for entry in value] if isinstance(value, list) else [(False, None)]
        return all(fits for fits, _ in entries), [entry for _, entry in entries]
    if wanted in (int, float):
        return _try_number(value, wanted)
    if wanted in (str, bool, type(None)):
        return isinstance(value, wanted), value
    # Enumerations and dictionaries are `TrainingArguments`' own, which checks them itself.
    return isinstance(value, (str, dict)), value


def _try_number(value: Any, wanted: type) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False, None
    try:
        number = float(value)
    except ValueError:
        return False, None
    return (True, number) if wanted is float else (number.is_integer(), int(number) if number.is_integer() else None)


def _type_text(wanted: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if wanted in names:
        return names[wanted]
    if get_origin(wanted) is list:
        return f"a list, each entry {_type_text(get_args(wanted)[0])}"
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(repr, get_args(wanted)))
    return " or ".join(_type_text(option) for option in get_args(wanted)) if get_args(wanted) else str(wanted)


GROUPS = (DataArguments, ModelArguments, AudioFormerTrainingArguments)


def fields_of(command: str) -> dict[str, Any]:
    """Fields that a command takes, with their types."""
    # Not `Field.type`: `HfArgumentParser` strips that of its `None` and `dict`, in place.
    hints = {name: hint for group in GROUPS for name, hint in get_type_hints(group).items()}
    names = [field.name for group in GROUPS for field in dataclasses.fields(group) if field.init]
    if command == "evaluate":
        return {name: hints[name] for name in names if name in FOR_EVALUATE}
    return {name: hints[name] for name in names if name not in NOT_FOR[command]}


class CommandParser(HfArgumentParser):
    """The flags of a command: one for each field that it takes, in groups, with a short help and a long one.

    Args:
        command (`str`): `"pretrain"`, `"finetune"` or `"evaluate"`.
        description (`str`): What it does.
    """

    def __init__(self, command: str, description: str) -> None:
        self.command = command
        super().__init__(
            GROUPS,
            prog=f"audioformer {command}",
            description=description,
            usage=f"audioformer {command} [--recipe NAME_OR_FILE] [--data SOURCE] [--output FOLDER] [options]",
            epilog=f"Example: {EXAMPLES[command]}\nRecipes of the package: {', '.join(available_recipes())}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        start = self.add_argument_group("start")
        start.add_argument("--recipe", metavar="NAME_OR_FILE", help="settings to begin from; flags go before them")
        start.add_argument("-h", "--help", action="store_true", help="this text")
        start.add_argument("--help-all", action="store_true", help="every setting, the Trainer's included")
        for action in self._actions:
            if action.dest == "output_dir":
                action.option_strings.insert(0, "--output")
                self._option_string_actions["--output"] = action
                action.help, action.metavar = "Folder to write.", "FOLDER"
            if action.dest == "resume_from_checkpoint":
                action.nargs, action.const, action.metavar = "?", "last", "FOLDER"
                action.help = "Go on with the run in --output: from its last checkpoint, or from the one named."

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"audioformer {self.command}: error: {message}\nTry `audioformer {self.command} --help`.\n")

    def help_text(self, everything: bool = False) -> str:
        """The help, short or with every setting."""
        own = {field.name for group in GROUPS[:2] for field in dataclasses.fields(group)}
        own |= {*AudioTrainingArguments.__annotations__, *AudioFormerTrainingArguments.__annotations__} - {
            "remove_unused_columns",
            "ddp_find_unused_parameters",
            "report_to",
        }
        shown = set(fields_of(self.command))
        if not everything:
            shown &= own | set(SHOWN_TRAINING)
        sections = {
            title: (self.add_argument_group(title), {field.name for field in dataclasses.fields(group)})
            for title, group in zip(("data", "model", "training"), GROUPS, strict=True)
        }
        for action in self._optionals._group_actions:
            is_negation = any(option.startswith(("--no_", "--no-")) for option in action.option_strings)
            for section, names in sections.values():
                if action.dest in names & shown and not is_negation:
                    section._group_actions.append(_tidy(action))
        self._optionals._group_actions.clear()
        return self.format_help()


def _tidy(action: argparse.Action) -> argparse.Action:
    """One spelling of a flag, a short name for its value, and no template signs in its text."""
    action.option_strings = [option for option in action.option_strings if "_" not in option] or action.option_strings
    action.help = " ".join((action.help or "").split()).replace("%(default)s", "").replace("%", "%%")
    if action.choices is None or len(list(action.choices)) > 5:
        numbers = {int: "N", float: "X"}
        action.choices, action.metavar = None, action.metavar or numbers.get(action.type, "VALUE")  # type: ignore
    return action


def parse_arguments(
    argv: Sequence[str] | None, command: str, description: str
) -> tuple[DataArguments, ModelArguments, AudioFormerTrainingArguments]:
    """Settings of a command: defaults, then the recipe, then the flags.

    Flags are the fields' names, with `_` or `-`. Anything wrong ends the program with status 2 and one line that names
    it, before a model or any audio is touched.

    Args:
        argv (sequence of `str`, *optional*): The command line, by default the program's own.
        command (`str`): `"pretrain"`, `"finetune"` or `"evaluate"`.
        description (`str`): What it does, for its help.
    """
    arguments = [_with_underscores(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    parser = CommandParser(command, description)
    everything = "--help_all" in arguments
    if everything or "--help" in arguments or "-h" in arguments:
        parser.exit(0, parser.help_text(everything))
    try:
        recipe_name, given = _recipe_and_flags(parser, arguments)
        values: dict[str, Any] = {}
        if recipe_name is not None:
            values = check_recipe(load_recipe(recipe_name), command, recipe_name)
        values |= given
        if not values.get("output_dir"):
            raise RecipeError("`output` must be given: the folder to write.")
        groups = tuple(
            group(**{field.name: values[field.name] for field in dataclasses.fields(group) if field.name in values})
            for group in GROUPS
        )
        check_paths(groups[0], groups[1])
    except (ValueError, TypeError, ImportError) as error:
        parser.error(str(error))
    return groups


def describe_recipe(argv: Sequence[str] | None, command: str) -> dict[str, Any]:
    """What a command line asks for: the recipe's name, what it changes of its base, and the flags above it."""
    arguments = [_with_underscores(argument) for argument in (sys.argv[1:] if argv is None else argv)]
    name, given = _recipe_and_flags(CommandParser(command, ""), arguments)
    own: dict[str, Any] = {}
    if name is not None:
        own = yaml.safe_load(find_recipe(name, Path.cwd()).read_text(encoding="utf-8")) or {}
    return {"recipe": None if name is None else Path(name).stem, "own": own, "flags": given}


def _with_underscores(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    name, separator, value = argument.partition("=")
    return "--" + name[2:].replace("-", "_") + separator + value


def _recipe_and_flags(parser: CommandParser, arguments: list[str]) -> tuple[str | None, dict[str, Any]]:
    """The recipe's name, and the flags that were really given."""
    for action in parser._actions:
        if "--help-all" in action.option_strings:
            parser._option_string_actions["--help_all"] = action
        action.default = argparse.SUPPRESS
    namespace, unknown = parser.parse_known_args(arguments)
    allowed = fields_of(parser.command)
    known = [f"--{name}" for name in allowed] + ["--output", "--recipe"]
    if unknown:
        raise RecipeError(f"{unknown[0]} is unknown{_similar(unknown[0], known)}.")
    given = vars(namespace)
    name = given.pop("recipe", None)
    for key in given:
        if key not in allowed:
            raise RecipeError(f"--{key} is not for `audioformer {parser.command}`.")
    return name, given


def check_paths(data: DataArguments, model: ModelArguments) -> None:
    """Make sure that everything that looks like a path is there.

    Raises:
        RecipeError: Naming the setting and the path.
    """
    given = {name: getattr(data, name) for name in ("data", "codes", "eval_data", "eval_codes", "codec")}
    given["model"] = model.model
    for number, teacher in enumerate(model.teachers or []):
        given[f"teachers[{number}]"] = teacher
    for name, value in given.items():
        if value is None or Path(value).exists():
            continue
        # A Hub id is "name" or "user/name"; codes are never on the Hub.
        is_path = value.count("/") != 1 or value[:1] in "/.~" or Path(value).suffix in (".csv", ".json", ".jsonl")
        if is_path or name.endswith("codes"):
            raise RecipeError(f"`{name}` {value!r} does not exist.")
