"""Ranges of numeric settings, those of transformers' Trainer included."""

import dataclasses
import math
from dataclasses import dataclass
from numbers import Real
from typing import Any


@dataclass(frozen=True)
class Range:
    """The finite numbers from `low` to `high`.

    Args:
        low (`float`): Lower end.
        high (`float`, defaults to infinity): Upper end.
        open_low (`bool`, defaults to `False`): Whether `low` itself is outside.
        open_high (`bool`, defaults to `False`): Whether `high` itself is outside.
        also (tuple of `float`): Values outside that have a meaning of their own.
        note (`str`): A unit or an explanation, for messages.
    """

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    also: tuple[float, ...] = ()
    note: str = ""

    def __contains__(self, value: float) -> bool:
        if not math.isfinite(value):
            return False
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return value in self.also or (above and below)

    def __str__(self) -> str:
        if math.isinf(self.high):
            text = f"{'more than' if self.open_low else 'at least'} {self.low}"
        else:
            text = f"in {'(' if self.open_low else '['}{self.low}, {self.high}{')' if self.open_high else ']'}"
        text = f"{text} {self.note}" if self.note else text
        return " or ".join([*map(str, self.also), text])


def at_least(low: float, note: str = "") -> Range:
    """`low` or any larger finite number."""
    return Range(low, note=note)


def more_than(low: float, note: str = "") -> Range:
    """Any finite number above `low`."""
    return Range(low, open_low=True, note=note)


SHARE = Range(0, 1)
SEED = Range(0, 2**32 - 1)
"""NumPy's global generator, which the Trainer seeds, takes no others."""
DROPOUT = Range(0, 1, open_high=True)

TRAINER_RANGES = {
    "per_device_train_batch_size": at_least(1),
    "per_device_eval_batch_size": at_least(1),
    "num_train_epochs": more_than(0),
    "max_steps": Range(1, also=(-1,)),
    "learning_rate": at_least(0),
    "warmup_steps": at_least(0),
    "weight_decay": at_least(0),
    "adam_beta1": Range(0, 1, open_high=True),
    "adam_beta2": Range(0, 1, open_high=True),
    "adam_epsilon": at_least(0),
    "gradient_accumulation_steps": at_least(1),
    "max_grad_norm": at_least(0),
    "label_smoothing_factor": Range(0, 1, open_high=True),
    "neftune_noise_alpha": at_least(0),
    "torch_empty_cache_steps": at_least(1),
    "logging_steps": more_than(0),
    "eval_steps": more_than(0),
    "save_steps": more_than(0),
    "eval_delay": at_least(0),
    "eval_accumulation_steps": at_least(1),
    "save_total_limit": at_least(1),
    "seed": SEED,
    "data_seed": SEED,
    "dataloader_num_workers": at_least(0),
    "dataloader_prefetch_factor": at_least(1),
    "ddp_bucket_cap_mb": at_least(1),
    "ddp_timeout": at_least(1),
    "local_rank": at_least(-1),
}
"""Ranges of the numbers that `TrainingArguments` declares; it checks few of them itself."""


def range_of(entry: dataclasses.Field) -> Range | None:
    """The range of a field: that of its metadata, else that of a setting of the Trainer."""
    return entry.metadata.get("range", TRAINER_RANGES.get(entry.name))


def check_ranges(settings: Any) -> None:
    """Check every number, alone or in a list, in a dataclass of settings that has a range; `None` passes.

    Args:
        settings: Instance of a dataclass.

    Raises:
        ValueError: Naming the setting, its range and its value.
    """
    for entry in dataclasses.fields(settings):
        allowed, value = range_of(entry), getattr(settings, entry.name, None)
        if allowed is None:
            continue
        for number in value if isinstance(value, list) else [value]:
            if number is None or isinstance(number, bool) or not isinstance(number, Real):
                continue
            if float(number) not in allowed:
                raise ValueError(f"`{entry.name}` must be {allowed}, got {number}.")
