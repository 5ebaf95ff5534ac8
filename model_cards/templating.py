"""The templates of all cards, in one Jinja environment."""

import re
from typing import Any

from huggingface_hub import CardData
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import TEMPLATES


def _cell(value: Any) -> Any:
    r"""A value in a table: text that Markdown would change, such as `(a|b)_\d+`, as code."""
    if not isinstance(value, str) or not set(value) & set("\\|*[]<>^`"):
        return value
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", value)), default=0))
    space = " " if "`" in value else ""
    # Within code, a table needs the backslash as well.
    return f"{fence}{space}{value.replace('|', chr(92) + '|')}{space}{fence}"


# The output is Markdown: escaping for HTML would damage it. A value that is missing is an error, not an empty string.
_ENVIRONMENT = Environment(
    loader=FileSystemLoader(TEMPLATES),
    undefined=StrictUndefined,
    autoescape=False,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_ENVIRONMENT.filters["cell"] = _cell
_ENVIRONMENT.filters["count"] = "{:,}".format
_ENVIRONMENT.filters["general"] = "{:g}".format
_ENVIRONMENT.filters["percent"] = "{:.1%}".format


def fill_template(template: str, card_data: CardData, /, **values: Any) -> str:
    """Render a card.

    Args:
        template (`str`): File name of a template.
        card_data (`huggingface_hub.CardData`): Metadata, the YAML block at the top.
        values: Everything else that the template refers to.

    Returns:
        `str`: The whole `README.md`.

    Raises:
        jinja2.UndefinedError: If the template refers to a value that is not given.
    """
    return _ENVIRONMENT.get_template(template).render(card_data=card_data.to_yaml(), **values)
