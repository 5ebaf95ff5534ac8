"""The command line of commands with settings: a recipe, and the flags of the model family."""

import argparse
import dataclasses
import re
import types
from collections.abc import Iterable, Sequence
from typing import Any, Literal, NoReturn, Union, get_args, get_origin

from audioformer.training.families import Family, Settings, choose_family, families, recipe_folders
from audioformer.training.recipes import Recipe, available_recipes, convert, load_recipe, similar_names
from audioformer.training.settings import create_settings, fields_of, groups_of, typed_fields

from ..failures import explain

IN_SHORT_HELP = {
    *("output_dir", "num_train_epochs", "max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps"),
    *("weight_decay", "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"),
    *("activation_checkpointing", "bf16", "fp16", "torch_compile", "seed", "dataloader_num_workers", "eval_strategy"),
    *("save_strategy", "save_steps", "save_total_limit", "logging_strategy", "logging_steps", "use_cpu"),
    *("label_smoothing_factor", "metric_for_best_model", "load_best_model_at_end", "resume_from_checkpoint"),
    *("fsdp", "deepspeed"),
}
"""Settings of transformers' Trainer that the short help shows; `--help-all` has the other hundred."""

LEAVE_ALONE = {"remove_unused_columns", "ddp_find_unused_parameters", "report_to"}
"""Settings that have another default here and are not for the short help."""

NEVER_SHOWN = {"push_to_hub", "debug"}
"""Settings of transformers' Trainer that are refused here, or that few need: `--debug` alone shows tracebacks."""

OWN_TEXTS = {
    "metric_for_best_model": "metric that selects the best checkpoint (default: that of the labels; the loss in "
    "pre-training)",
    "greater_is_better": "whether a higher metric is better (default: what the metric says)",
    "disable_tqdm": "show no progress bars",
}
"""Texts in place of those of transformers where these are wrong here."""

TEXTS_OF_COMMANDS = {
    "evaluate": {
        "seed": "seed of all random choices",
        "crop_frames": "codes of a crop of --eval-crops (75 per second with EnCodec)",
    },
    "probe": {
        "train_split": 'splits to learn from (default: those named "train")',
        "train_folds": "folds to learn from; with --cross-validate, those to go through",
        "held_out_share": "share of the clips to test on, stratified by class, where the data have neither a test "
        "part nor folds",
        "attn_implementation": '"sdpa", "eager", "flash_attention_2", ... (default: the best available)',
    },
}
"""Texts in place of those that speak of training."""

SAID_OF_DEFAULTS = re.compile(
    r" \((?:same )?default[^()]*\)|; [^;]* by default$|\. Defaults (?:to|based on) .*$",
)
"""What texts say of the default of a run without a recipe."""

SECTIONS = ("data", "model", "model family", "training")
EXAMPLES = {
    "pretrain": "audioformer pretrain --recipe tiny_pretrain --data sounds/ --output runs/pretrained",
    "finetune": "audioformer finetune --recipe tiny_ft1 --model runs/pretrained/C1 --data sounds/ --output runs/ft1",
    "evaluate": "audioformer evaluate --model runs/ft1 --data other_sounds/ --output runs/evaluation",
}


class SettingsParser(argparse.ArgumentParser):
    """The flags of a command for a model family: one per setting, in sections, all absent unless given.

    Args:
        command (`str`): `"pretrain"`, `"finetune"` or `"evaluate"`.
        description (`str`): What it does.
        family (`Family`): Whose settings it takes.
        everything (`bool`, defaults to `False`): Whether the help shows every setting of the Trainer.
        recipe (`Recipe`, *optional*): The recipe whose values the help states as defaults.
    """

    def __init__(
        self,
        command: str,
        description: str,
        family: Family,
        everything: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        self.command = command
        recipes = ", ".join(recipes_for(command, family)) or "none of the package is for this command"
        if recipe is not None:
            description += f"\nDefaults are those of the recipe {recipe.name}."
        elif command != "evaluate":
            description += "\nDefaults are those without a recipe; --recipe NAME --help shows those of a recipe."
        super().__init__(
            prog=f"audioformer {command}",
            usage=f"audioformer {command} [--recipe NAME_OR_FILE] [--data SOURCE] [--output FOLDER] [options]",
            description=f"{description}\nModel family: {family.title}.",
            epilog=f"Example: {EXAMPLES[command]}\nRecipes: {recipes}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            add_help=False,
            allow_abbrev=False,
        )
        add_start_flags(self.add_argument_group("start"), command)
        for title, group in zip(SECTIONS, groups_of(family), strict=True):
            entries = [pair for pair in typed_fields(group, command) if pair[0].name not in ("model", "family")]
            add_setting_flags(self.add_argument_group(title), entries, command, everything, recipe)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"audioformer {self.command}: error: {message}\nTry `audioformer {self.command} --help`.\n")


def add_setting_flags(
    section: Any,
    entries: Iterable[tuple[dataclasses.Field, Any]],
    command: str,
    everything: bool = False,
    recipe: Recipe | None = None,
) -> None:
    """Add a flag for each setting.

    Args:
        section: Group of a parser.
        entries (iterable of pairs): Settings and their type hints.
        command (`str`): The command whose settings they are.
        everything (`bool`, defaults to `False`): Whether the help shows every setting of the Trainer.
        recipe (`Recipe`, *optional*): The recipe whose values the help states as defaults.
    """
    for entry, hint in entries:
        shown = (everything and not _is_never_shown(entry)) or _in_short_help(entry)
        add_flag(section, entry, hint, shown, command, recipe)


def shared_fields(command: str) -> dict[str, list[tuple[dataclasses.Field, Any]]]:
    """The settings that a command takes for any family, with their type hints, by section."""
    found: dict[str, dict[str, tuple[dataclasses.Field, Any]]] = {title: {} for title in SECTIONS}
    for family in families():
        for title, group in zip(SECTIONS, groups_of(family), strict=True):
            for entry, hint in typed_fields(group, command):
                if not any(entry.name in known for known in found.values()):
                    found[title][entry.name] = (entry, hint)
    return {title: list(entries.values()) for title, entries in found.items()}


def recipes_for(command: str, family: Family) -> list[str]:
    """Names of the packaged recipes of a family all of whose settings a command takes."""
    folders = {} if family.recipes is None else {family.name: family.recipes}
    known = fields_of(command, family)
    return [name for name in available_recipes(folders) if known.keys() >= load_recipe(name, folders).values.keys()]


def add_start_flags(section: Any, command: str) -> None:
    """The flags that decide which others there are."""
    starts = "folder or Hub id to start from (default: a fresh model); its family is that of the run"
    measured = "folder or Hub id of the classifier to measure"
    section.add_argument("--recipe", metavar="NAME_OR_FILE", help="settings to begin with; flags take precedence")
    section.add_argument("--model", metavar="ID", help=measured if command == "evaluate" else starts)
    section.add_argument(
        "--family",
        metavar="NAME",
        choices=[family.name for family in families()],
        # Only a model is evaluated, and it has its family.
        help=argparse.SUPPRESS
        if command == "evaluate"
        else "model family of a fresh model, where neither --model nor --recipe determines it (default: "
        f"{families()[0].name})",
    )
    section.add_argument("-h", "--help", action="store_true", help="this text")
    section.add_argument("--help-all", action="store_true", help="every setting, including all of the Trainer")


def parse_settings(argv: Sequence[str], command: str, description: str) -> Settings:
    """Settings of a command: defaults, then the recipe, then the flags.

    Flags are the names of the settings, with `-` or `_`. Anything wrong ends the program with status 2 and one line
    that names it, before a model or any audio is touched.

    Args:
        argv (sequence of `str`): The command line after the name of the command.
        command (`str`): `"pretrain"`, `"finetune"` or `"evaluate"`.
        description (`str`): What it does, for its help.
    """
    arguments = [with_dashes(argument) for argument in argv]
    start = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_start_flags(start, command)
    recipe = None
    try:
        first, _ = start.parse_known_args(arguments)
        recipe = None if first.recipe is None else load_recipe(first.recipe, recipe_folders())
        family = choose_family(first.model, recipe=recipe, name=first.family)
    except (ValueError, OSError, argparse.ArgumentError) as error:
        if not {"-h", "--help", "--help-all"} & set(arguments):
            SettingsParser(command, description, families()[0]).error(explain(error) or str(error))
        first, family = argparse.Namespace(help=True, help_all="--help-all" in arguments), families()[0]
    parser = SettingsParser(command, description, family, first.help_all, recipe)
    if first.help or first.help_all:
        parser.print_help()
        parser.exit()
    namespace, unknown = parser.parse_known_args(arguments)
    given = vars(namespace)
    try:
        if unknown:
            _refuse(unknown[0], command, family)
        return create_settings(command, given.pop("recipe", None), **given)
    except (ValueError, TypeError, ImportError, OSError) as error:
        parser.error(explain(error) or str(error))


def _refuse(argument: str, command: str, family: Family) -> NoReturn:
    """Explain why an argument is not accepted.

    Raises:
        ValueError: Always.
    """
    flag = argument.partition("=")[0]
    name = flag.removeprefix("--").replace("-", "_")
    everywhere = {entry.name for one in families() for group in groups_of(one) for entry in dataclasses.fields(group)}
    if flag.startswith("--") and name in everywhere:
        raise ValueError(f"{flag} does not apply to `audioformer {command}` of {family.title}.")
    known = [
        f"--{entry.name.replace('_', '-')}" for group in groups_of(family) for entry, _ in typed_fields(group, command)
    ]
    raise ValueError(f"{flag} is unknown{similar_names(flag, [*known, '--output', '--recipe'])}.")


def add_flag(
    section: Any, entry: dataclasses.Field, hint: Any, shown: bool, command: str, recipe: Recipe | None = None
) -> None:
    """Add the flag of a setting to a section of a parser.

    Args:
        section: The section.
        entry (`dataclasses.Field`): The setting.
        hint: Its type.
        shown (`bool`): Whether the help shows it.
        command (`str`): Name of the command.
        recipe (`Recipe`, *optional*): The recipe whose value the help states as default.
    """
    flags = [f"--{entry.name.replace('_', '-')}"]
    options: dict[str, Any] = {
        "dest": entry.name,
        "help": _help(entry, command, recipe) if shown else argparse.SUPPRESS,
    }
    types_ = _alternatives(hint)
    if entry.name == "output_dir":
        flags.insert(0, "--output")
        options["metavar"] = "FOLDER"
    if entry.name == "resume_from_checkpoint":
        options |= {"nargs": "?", "const": "last", "metavar": "FOLDER"}
        options["help"] = "resume the run in --output: from its last checkpoint, or from the one named"
    elif bool in types_:
        section.add_argument(*flags, nargs="?", const=True, type=_boolean(entry.name), metavar="BOOL", **options)
        if entry.default is True:
            options["help"] = argparse.SUPPRESS
            section.add_argument(f"--no-{entry.name.replace('_', '-')}", action="store_false", **options)
        return
    elif any(get_origin(option) is list for option in types_):
        inner = next(get_args(option)[0] for option in types_ if get_origin(option) is list)
        options |= {"nargs": "+", "type": _converter(inner), "metavar": _metavar(inner)}
    else:
        options |= {"type": _converter(hint)}
        options.setdefault("metavar", _metavar(hint))
    section.add_argument(*flags, **options)


def _alternatives(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _converter(hint: Any) -> Any:
    def converted(text: str) -> Any:
        try:
            return convert(text, hint)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return converted


def _boolean(name: str) -> Any:
    def converted(text: str) -> bool:
        values = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in values:
            raise argparse.ArgumentTypeError(f"must be true or false, got {text!r}")
        return values[text.lower()]

    return converted


def _metavar(hint: Any) -> str:
    options = [option for option in _alternatives(hint) if option is not type(None)]
    choices: Iterable[Any] = get_args(options[0]) if get_origin(options[0]) is Literal else ()
    if choices:
        return "{" + ",".join(map(str, choices)) + "}"
    return {int: "N", float: "X"}.get(options[0], "VALUE")


def _help(entry: dataclasses.Field, command: str, recipe: Recipe | None) -> str:
    own = TEXTS_OF_COMMANDS.get(command, {}).get(entry.name) or OWN_TEXTS.get(entry.name)
    text = re.sub(r"\s+", " ", own or entry.metadata.get("help", "")).strip()
    # The texts of transformers are escaped for argparse already, ours are not.
    text = text.replace("%(default)s", "").replace("%%", "%").replace("%", "%%").rstrip(".")
    text = text[:1].lower() + text[1:] if text[:2].lower() == text[:2] or text[1:2].islower() else text
    if recipe is not None and entry.name in recipe.values:
        # What the text says of a default is said of a run without the recipe.
        text = SAID_OF_DEFAULTS.sub("", text)
        return f"{text} (default: {_shown_value(recipe.values[entry.name])})"
    default = entry.default_factory() if callable(entry.default_factory) else entry.default
    if default is None or default is dataclasses.MISSING or default in ("", []) or "default" in text.lower():
        return text
    return f"{text} (default: {_shown_value(default)})"


def _shown_value(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown_value, value))
    text = str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return text.replace("%", "%%")


def _in_short_help(entry: dataclasses.Field) -> bool:
    is_ours = "commands" in entry.metadata
    return entry.name in IN_SHORT_HELP or (is_ours and entry.name not in LEAVE_ALONE)


def _is_never_shown(entry: dataclasses.Field) -> bool:
    # Other names of settings that are shown, and what is refused.
    is_old = "deprecated" in entry.metadata.get("help", "").lower() and "commands" not in entry.metadata
    return is_old or entry.name in NEVER_SHOWN or entry.name.startswith("hub_")


def with_dashes(argument: str) -> str:
    """An argument with dashes in the name of its flag, whose settings have underscores."""
    if not argument.startswith("--"):
        return argument
    name, separator, value = argument.partition("=")
    return name.replace("_", "-") + separator + value
