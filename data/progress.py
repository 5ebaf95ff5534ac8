"""Where progress bars are shown."""

import sys


def hides_bars() -> bool:
    """Whether a progress bar would only fill a log: the error stream is no terminal, and this is no notebook."""
    return "ipykernel" not in sys.modules and not is_terminal(sys.stderr)


def is_terminal(stream: object) -> bool:
    """Whether a stream, such as `sys.stdout`, writes to a terminal; a closed or absent one does not."""
    try:
        return bool(stream.isatty())  # type: ignore[attr-defined]
    except (AttributeError, ValueError):
        return False
