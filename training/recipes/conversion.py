"""Values of recipes and flags in the types of their settings."""

import types
from typing import Any, Literal, Union, get_args, get_origin


def convert(value: Any, wanted: Any) -> Any:
    """A value in the type of its setting: YAML reads `1e-4` as text, and every flag is text.

    Args:
        value: What a recipe or the command line says.
        wanted: Type hint of the setting: a plain type, `Literal[...]`, `list[...]`, or a union of these.

    Raises:
        ValueError: If it does not fit; the message says what does.
    """
    options = get_args(wanted) if get_origin(wanted) in (Union, types.UnionType) else (wanted,)
    for option in options:
        fits, converted = _try(value, option)
        if fits:
            return converted
    raise ValueError(f"must be {describe_type(wanted)}, got {value!r}")


def describe_type(wanted: Any) -> str:
    """A type hint in words."""
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    if wanted in names:
        return names[wanted]
    if get_origin(wanted) is list:
        return f"a list, each entry {describe_type(get_args(wanted)[0])}"
    if get_origin(wanted) is Literal:
        return "one of " + ", ".join(map(repr, get_args(wanted)))
    if get_args(wanted):
        return " or ".join(describe_type(option) for option in get_args(wanted))
    return str(wanted)


def _try(value: Any, wanted: Any) -> tuple[bool, Any]:
    """Whether a value fits one type, and the value in it."""
    origin = get_origin(wanted)
    if origin is Literal:
        return value in get_args(wanted), value
    if origin is list:
        if not isinstance(value, list):
            return False, None
        entries = [_try(entry, get_args(wanted)[0]) for entry in value]
        return all(fits for fits, _ in entries), [entry for _, entry in entries]
    if wanted in (int, float):
        return _try_number(value, wanted)
    if wanted in (str, bool, type(None)):
        return isinstance(value, wanted), value
    # Enumerations and dictionaries are those of `TrainingArguments`, which checks them itself.
    return isinstance(value, (str, dict)), value


def _try_number(value: Any, wanted: type) -> tuple[bool, Any]:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return False, None
    try:
        number = float(value)
    except ValueError:
        return False, None
    if wanted is float:
        return True, number
    return (True, int(number)) if number.is_integer() else (False, None)
