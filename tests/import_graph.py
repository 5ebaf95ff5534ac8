"""Which module of the package imports which, read from the source without running it."""

import ast
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "audioformer"


@dataclass(frozen=True)
class Import:
    """One import of a module of the package by another.

    Args:
        importer (`str`): Dotted name of the module that imports.
        target (`str`): Dotted name of the module that is imported.
        line (`int`): Line of the statement.
        is_relative (`bool`): Whether it is written with leading dots.
    """

    importer: str
    target: str
    line: int
    is_relative: bool = False

    def __str__(self) -> str:
        return f"{self.importer} (line {self.line}) imports {self.target}"


def find_modules(root: Path) -> dict[str, Path]:
    """Every module of the package below `root`, by dotted name; folders without `__init__.py` are not part of it."""
    modules = {}
    for folder, folders, files in os.walk(root / PACKAGE, followlinks=True):
        if "__init__.py" not in files:
            folders.clear()
            continue
        package = ".".join(Path(folder).relative_to(root).parts)
        for file in files:
            if file.endswith(".py"):
                name = package if file == "__init__.py" else f"{package}.{file.removesuffix('.py')}"
                modules[name] = Path(folder) / file
    return modules


def top_level_folder(module: str, root: Path) -> str:
    """The folder of the repository that `module` lies in: a link in `audioformer/` leads to one of its own."""
    parts = module.split(".")
    linked = len(parts) > 1 and (root / PACKAGE / parts[1]).is_symlink()
    return parts[1] if linked else PACKAGE


def find_imports(modules: Mapping[str, Path]) -> list[Import]:
    """Every import of one of `modules` by another: at the top, in functions, for types, and `import_module("...")`."""
    found = (one for name, path in sorted(modules.items()) for one in _imports_of(name, path, modules))
    return list(dict.fromkeys(found))  # a statement may import several names of one module


def _imports_of(module: str, path: Path, modules: Mapping[str, Path]) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    for node in ast.walk(tree):
        for target, is_relative in _targets(node, package, modules):
            yield Import(module, target, node.lineno, is_relative)


def _targets(node: ast.AST, package: str, modules: Mapping[str, Path]) -> Iterator[tuple[str, bool]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            if _is_ours(alias.name):
                yield _known(alias.name, modules), False
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parents = package.split(".")
            base = ".".join([*parents[: len(parents) - node.level + 1], *base.split(".")]).rstrip(".")
        if _is_ours(base):
            for alias in node.names:
                # A name is a module of its own, or it is defined in `base`.
                yield _known(f"{base}.{alias.name}", modules), bool(node.level)
    elif isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("import_module", "__import__"):
        name = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else ""
        if isinstance(name, str) and _is_ours(name):
            yield _known(name, modules), False


def _is_ours(name: str) -> bool:
    return name.split(".")[0] == PACKAGE


def _known(name: str, modules: Mapping[str, Path]) -> str:
    while name not in modules and "." in name:
        name = name.rpartition(".")[0]
    return name


def find_circles(imports: Iterable[Import]) -> list[list[str]]:
    """Circles among modules, each from its first module in alphabetical order back to itself.

    Imports inside functions and for types count. That a module's package is imported before it does not: every package
    that exports names of its modules would be a circle. One shortest circle is returned for every module that has one
    and is not in a circle already found.
    """
    edges: dict[str, set[str]] = {}
    for found in imports:
        edges.setdefault(found.importer, set()).add(found.target)
    circles: list[list[str]] = []
    for start in sorted(edges):
        if not any(start in circle for circle in circles):
            circle = _shortest_way_back(start, edges)
            if circle:
                circles.append(circle)
    return circles


def _shortest_way_back(start: str, edges: Mapping[str, set[str]]) -> list[str]:
    ways = deque([[start]])
    seen = set()
    while ways:
        way = ways.popleft()
        for target in sorted(edges.get(way[-1], ())):
            if target == start:
                return [*way, start]
            if target not in seen:
                seen.add(target)
                ways.append([*way, target])
    return []
