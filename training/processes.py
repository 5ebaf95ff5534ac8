"""What one process of a run does for all of them."""

from collections.abc import Callable
from typing import TypeVar

from accelerate import PartialState
from accelerate.utils import broadcast_object_list

Result = TypeVar("Result")


def on_main_process(compute: Callable[[], Result]) -> Result:
    """Call a function in the main process and return its result in all processes.

    Args:
        compute (`Callable`): Called without arguments; its result must be one that can be sent to processes.

    Returns:
        The result of the main process.

    Raises:
        Exception: In the main process, what the function raised.
        ValueError: In the others, with the same message: nobody waits for a result that never comes.
    """
    state = PartialState()
    if state.num_processes == 1:
        return compute()
    outcome: list[tuple[Result | None, str | None]] = [(None, None)]
    raised: Exception | None = None
    if state.is_main_process:
        try:
            outcome = [(compute(), None)]
        except Exception as error:
            outcome, raised = [(None, str(error))], error
    broadcast_object_list(outcome)
    if raised is not None:
        raise raised
    result, message = outcome[0]
    if message is not None:
        raise ValueError(message)
    return result  # type: ignore[return-value]
