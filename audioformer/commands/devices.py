"""The flag `--device`."""


def choose_device(wanted: str | None, default: str | None = None) -> str:
    """The device of a command, after a computation on it.

    Args:
        wanted (`str`, *optional*): What `--device` says.
        default (`str`, *optional*): Without it, this device; by default a GPU if there is one, else the CPU.

    Returns:
        `str`: The device, for torch.

    Raises:
        ValueError: If the device does not exist or cannot compute; the message lists those that can.
    """
    import torch

    device = wanted or default or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.zeros(1, device=device).add(1).item()
    # torch raises AssertionError where it was built without a device, RuntimeError and its subclasses elsewhere.
    except (RuntimeError, AssertionError) as error:
        usable = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
        if torch.backends.mps.is_available():
            usable.append("mps")
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"`--device` {device!r} cannot be used here; devices of this machine are {', '.join(usable)} ({reason})"
        ) from error
    return device
