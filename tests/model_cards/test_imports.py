"""The cards depend on nothing of the package but the names of files, and rendering one needs no heavy library."""

import ast
import subprocess
import sys
from pathlib import Path

import audioformer.model_cards

FOLDER = Path(audioformer.model_cards.__file__).parent


def modules_imported_by(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1, f"{path}: import from outside the folder"
    return modules


def test_only_names_of_files_come_from_the_package():
    paths = sorted(FOLDER.glob("*.py"))
    assert "codes_card.py" in {path.name for path in paths}
    for path in paths:
        ours = {name for name in modules_imported_by(path) if name.split(".")[0] == "audioformer"}
        assert ours <= {"audioformer.files"}, path


def test_rendering_needs_no_heavy_library():
    """The package itself is replaced by an empty one: what counts is what the cards import."""
    script = f"""
import sys, types
package = types.ModuleType("audioformer")
package.__path__ = [{str(FOLDER.parent)!r}]
sys.modules["audioformer"] = package
import audioformer.model_cards
assert "huggingface_hub" not in sys.modules and "jinja2" not in sys.modules
import audioformer.model_cards.render, audioformer.model_cards.codes_card, audioformer.model_cards.push
heavy = {{"torch", "transformers", "datasets", "matplotlib", "numpy"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)
