"""The table "What may import what" of CONTRIBUTING.md holds, and no modules import each other in a circle."""

import re
from pathlib import Path

import pytest

from .import_graph import PACKAGE, Import, find_circles, find_imports, find_modules, top_level_folder

ROOT = Path(__file__).parents[1]


def read_table(text: str) -> dict[str, set[str]]:
    """The parts that each part may import, from the rows of the section "What may import what".

    The first cell of a row names the part in backticks: a module or package below `audioformer`, or `audioformer` for
    all others. The last cell is "nothing", "everything", or a list of parts in backticks.
    """
    section = re.search(r"^## What may import what\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S)
    assert section, 'CONTRIBUTING.md has no section "What may import what"'
    rows = [line.strip().strip("|").split("|") for line in section[1].splitlines() if line.startswith("| `")]
    parts = [re.fullmatch(r"`(\w+)`", cells[0].strip())[1] for cells in rows]
    table = {}
    for part, cells in zip(parts, rows, strict=True):
        last = cells[-1].strip()
        if last in ("nothing", "everything"):
            table[part] = set(parts) if last == "everything" else set()
            continue
        assert re.fullmatch(r"`\w+`(, `\w+`)*", last), f"row {part}: {last!r} is not a list of parts"
        table[part] = set(re.findall(r"\w+", last))
        unknown = table[part] - set(parts)
        assert not unknown, f"row {part} allows {sorted(unknown)}, which have no row"
    return table


def part_of(module: str, parts: set[str]) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 and names[1] in parts else PACKAGE


def upward_imports(imports: list[Import], table: dict[str, set[str]]) -> list[str]:
    """Imports of a part that the table does not allow."""
    wrong = []
    for found in imports:
        importer, target = part_of(found.importer, set(table)), part_of(found.target, set(table))
        if importer != target and target not in table[importer]:
            wrong.append(f"{found}: {importer} may not import {target}")
    return wrong


def imports_in_the_wrong_form(imports: list[Import], root: Path) -> list[str]:
    """Absolute imports inside a top-level folder and relative ones that leave it.

    Modules directly in `audioformer/` may import the linked folders as what they are there: packages beside them.
    """
    wrong = []
    for found in imports:
        beside = top_level_folder(found.importer, root) == PACKAGE and found.importer.count(".") <= 1
        inside = top_level_folder(found.importer, root) == top_level_folder(found.target, root)
        if inside and not found.is_relative:
            wrong.append(f"{found}: relative imports inside a folder")
        if found.is_relative and not inside and not beside:
            wrong.append(f"{found}: absolute imports across folders")
    return wrong


@pytest.fixture(scope="module")
def table() -> dict[str, set[str]]:
    return read_table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    found = find_imports(find_modules(ROOT))
    assert len(found) > 100
    return found


def test_the_table_has_a_row_for_every_folder_and_only_rows_that_exist(table):
    modules = find_modules(ROOT)
    folders = {top_level_folder(name, ROOT) for name in modules}
    assert folders <= set(table), f"no row for {sorted(folders - set(table))}"
    missing = [part for part in table if part != PACKAGE and f"{PACKAGE}.{part}" not in modules]
    assert not missing, f"rows for {missing}, which are neither modules nor packages of {PACKAGE}"


def test_every_part_imports_only_what_the_table_allows(table, imports):
    wrong = upward_imports(imports, table)
    assert not wrong, "\n" + "\n".join(wrong)


def test_imports_are_relative_inside_a_folder_and_absolute_across_folders(imports):
    wrong = imports_in_the_wrong_form(imports, ROOT)
    assert not wrong, "\n" + "\n".join(wrong)


def test_no_modules_import_each_other_in_a_circle(imports):
    circles = find_circles(imports)
    assert not circles, "\n" + "\n".join(" -> ".join(circle) for circle in circles)


@pytest.fixture
def small_tree(tmp_path: Path) -> Path:
    """A package with a folder of its own, `audioformer/`, and two linked ones, `low/` and `high/`."""
    for folder in ("audioformer", "low", "low/inner", "low/no_package", "high"):
        (tmp_path / folder).mkdir(parents=True)
        if folder != "low/no_package":
            (tmp_path / folder / "__init__.py").touch()
    for folder in ("low", "high"):
        (tmp_path / "audioformer" / folder).symlink_to(f"../{folder}")
    (tmp_path / "low" / "no_package" / "script.py").write_text("import audioformer\n")
    (tmp_path / "low" / "leaf.py").touch()
    (tmp_path / "high" / "leaf.py").touch()
    return tmp_path


TABLE = {"low": set(), "high": {"low"}, "audioformer": {"low", "high"}}


@pytest.mark.parametrize(
    ("code", "target", "upward", "wrong_form"),
    [
        ("import audioformer", "audioformer", True, False),
        ("import audioformer.high.leaf as leaf", "audioformer.high.leaf", True, False),
        ("from audioformer import high", "audioformer.high", True, False),
        ("from audioformer import __version__", "audioformer", True, False),
        ("from audioformer.high import leaf", "audioformer.high.leaf", True, False),
        ("from audioformer.high.leaf import name", "audioformer.high.leaf", True, False),
        ("def f():\n    from audioformer.high import name", "audioformer.high", True, False),
        ("try:\n    import audioformer.high\nexcept ImportError:\n    pass", "audioformer.high", True, False),
        ("import typing\nif typing.TYPE_CHECKING:\n    import audioformer.high", "audioformer.high", True, False),
        ("import importlib\nimportlib.import_module('audioformer.high')", "audioformer.high", True, False),
        ("from ...high import leaf", "audioformer.high.leaf", True, True),
        ("from audioformer.low import leaf", "audioformer.low.leaf", False, True),
        ("from ..leaf import name", "audioformer.low.leaf", False, False),
        ("from .. import leaf", "audioformer.low.leaf", False, False),
        ("from .. import name", "audioformer.low", False, False),
        ("from . import name", "audioformer.low.inner", False, False),
    ],
)
def test_every_kind_of_import_is_seen(small_tree, code, target, upward, wrong_form):
    (small_tree / "low" / "inner" / "module.py").write_text(f"import os\n{code}\n")
    (found,) = find_imports(find_modules(small_tree))
    assert (found.importer, found.target) == ("audioformer.low.inner.module", target)
    assert bool(upward_imports([found], TABLE)) is upward
    assert bool(imports_in_the_wrong_form([found], small_tree)) is wrong_form


def test_imports_that_the_table_allows_pass(small_tree):
    (small_tree / "high" / "leaf.py").write_text("from audioformer.low.leaf import name\n")
    (small_tree / "audioformer" / "cli.py").write_text("import audioformer.high.leaf\nfrom .low import name\n")
    (small_tree / "audioformer" / "tool.py").write_text("from json import loads\nimport audioformerlike\n")
    found = find_imports(find_modules(small_tree))
    assert len(found) == 3
    assert not upward_imports(found, TABLE)
    assert not imports_in_the_wrong_form(found, small_tree)
    assert not find_circles(found)


def test_circles_are_shown_those_of_types_too(small_tree):
    low = small_tree / "low"
    (low / "leaf.py").write_text("from .second import name\n")
    (low / "second.py").write_text("def f():\n    from . import third\n")
    (low / "third.py").write_text("from .leaf import name\n")
    (low / "fourth.py").write_text("from .leaf import name\n")
    circle = ["audioformer.low.leaf", "audioformer.low.second", "audioformer.low.third", "audioformer.low.leaf"]
    assert find_circles(find_imports(find_modules(small_tree))) == [circle]
    (low / "third.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .leaf import name\n")
    assert find_circles(find_imports(find_modules(small_tree))) == [circle]
    (low / "third.py").write_text("from . import third\n")
    assert find_circles(find_imports(find_modules(small_tree))) == [["audioformer.low.third"] * 2]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("| `low` | `missing` |", "missing"),
        ("| `low` | what it needs |", "not a list"),
        ("| `low` |  |", "not a list"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(row, message):
    with pytest.raises(AssertionError, match=message):
        read_table(f"## What may import what\n\n| part | may import |\n| --- | --- |\n{row}\n")


def test_code_that_model_folders_share_is_linked_and_not_copied():
    """What travels to the Hub can import only its siblings; a copy of one would soon differ."""
    contents: dict[str, list[Path]] = {}
    for file in sorted(ROOT.glob("modeling_*/*.py")):
        if not file.is_symlink() and file.name != "__init__.py":
            contents.setdefault(file.name, []).append(file.relative_to(ROOT))
    assert {name: files for name, files in contents.items() if len(files) > 1} == {}
