"""Numbers that make no sense are refused before data are read: every numeric setting of every command has a range."""

import dataclasses
import math
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.training.arguments import ALL
from audioformer.training.audioformer_family import FAMILY
from audioformer.training.ranges import TRAINER_RANGES, Range, range_of
from audioformer.training.settings import create_settings, fields_of, groups_of

from ..commands.test_arguments import parse

NUMERIC = {
    entry.name: (entry, float if float in kinds else int)
    for group in groups_of(FAMILY)
    for entry, hint in ((entry, get_type_hints(group)[entry.name]) for entry in dataclasses.fields(group))
    if entry.init and (kinds := {hint, *get_args(hint)} & {int, float})
}
COMMANDS = {name: [command for command in ALL if name in fields_of(command, FAMILY)] for name in NUMERIC}


def test_every_number_has_a_range_and_its_default_lies_in_it():
    assert len(NUMERIC) > 40 and all(COMMANDS.values())
    for name, (entry, _) in NUMERIC.items():
        allowed = range_of(entry)
        assert allowed is not None, f"`{name}` needs a range, in its metadata or in TRAINER_RANGES"
        assert entry.default is None or entry.default in allowed, name
    assert set(TRAINER_RANGES) <= set(NUMERIC)


def outside(allowed: Range, kind: type) -> st.SearchStrategy[Any]:
    """Numbers outside a range: anything below, above, and at an open end; for floats also NaN and infinity."""
    numbers = st.integers(-(10**12), 10**12) if kind is int else st.floats() | st.integers(-9, 9).map(float)
    ends = st.sampled_from([kind(end) for end in (allowed.low, allowed.high) if math.isfinite(end)] or [kind(-2)])
    below = st.integers(-(10**6), -2).map(kind)
    return (numbers | ends | below).filter(lambda value: float(value) not in allowed)


@settings(derandomize=True, deadline=None, max_examples=120)
@given(data=st.data())
def test_numbers_outside_are_refused_by_name_with_what_is_allowed(data):
    name = data.draw(st.sampled_from(sorted(NUMERIC)))
    entry, kind = NUMERIC[name]
    value = data.draw(outside(range_of(entry), kind))
    command = data.draw(st.sampled_from(COMMANDS[name]))
    with pytest.raises(ValueError, match=f"`{name}` must be .*got {value}".replace("+", r"\+")) as refused:
        create_settings(command, output_dir="out", **{name: value})
    assert str(range_of(entry)) in str(refused.value)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(low=st.floats(-5, 5), width=st.floats(0, 5), ends=st.tuples(st.booleans(), st.booleans()), value=st.floats())
def test_a_range_holds_what_it_says(low, width, ends, value):
    allowed = Range(low, low + width, open_low=ends[0], open_high=ends[1], also=(-1.0,))
    inside = low < value < low + width or (value == low and not ends[0]) or (value == low + width and not ends[1])
    if ends[0] and value == low or ends[1] and value == low + width:
        inside = False
    assert (value in allowed) == (inside or value == -1)
    assert f"{'(' if ends[0] else '['}{low}, {low + width}{')' if ends[1] else ']'}" in str(allowed)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num-train-epochs", "-3"], "`num_train_epochs` must be more than 0, got -3.0"),
        (["--learning-rate", "nan"], "`learning_rate` must be at least 0, got nan"),
        (["--learning-rate=-inf"], "`learning_rate` must be at least 0, got -inf"),
        (["--max-steps", "0"], "`max_steps` must be -1 or at least 1, got 0"),
        (["--seed", "4294967296"], "`seed` must be in [0, 4294967295], got 4294967296"),
        (["--hidden-size", "100"], "`hidden_size` must be a multiple of 2 * `num_attention_heads`"),
        (
            ["--metric-for-best-model", "f1"],
            "`metric_for_best_model` must be one of 'loss', 'accuracy', 'mAP', got 'f1'",
        ),
        (["--classification-loss", "lsep", "--label-smoothing-factor", "0.1"], "`label_smoothing_factor` must be 0"),
        (["--early-stopping-patience", "2"], "`early_stopping_patience` 2 needs `load_best_model_at_end`"),
        (["--method", "ft2", "--teachers", ".", "--crop-frames", "9"], "`crop_frames` 9 changes clips"),
        (
            ["--packed", "--attn-implementation", "sdpa"],
            "`packed` needs the attention \"flash_attention_2\", got 'sdpa'",
        ),
    ],
)
def test_the_command_line_says_so_before_it_reads_data(flags, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        parse("finetune", "--data", str(tmp_path), *flags)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
