"""Which private parts of transformers' Trainer the trainers build on."""

import ast
import inspect
from pathlib import Path

import transformers
from transformers import Trainer

from audioformer.training import trainers

READ = "5.23.0"
"""The release of transformers whose `Trainer` was read when the hooks below were chosen."""
HOOKS = {
    "_get_train_sampler": "(self, train_dataset=None)",
    "_save_rng_state": "(self, output_dir)",
}
"""Private methods that are overridden, each with its reason at the override, and their signatures in that release."""


def without_annotations(function) -> str:
    signature = inspect.signature(function)
    parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(inspect.Signature(parameters))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def attributes_of_self(source: str) -> set[str]:
    """Names of the private attributes of `self` and `super()` in a file of Python code."""
    return {
        node.attr
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and is_private(node.attr) and ast.unparse(node.value) in ("self", "super()")
    }


def test_no_private_parts_of_the_trainer_are_used_but_the_known_hooks():
    installed = f"transformers {transformers.__version__} is installed, the hooks are those of {READ}"
    found = {name: without_annotations(getattr(Trainer, name)) for name in HOOKS if hasattr(Trainer, name)}
    assert found == HOOKS, f"{installed}: read its trainer.py and adapt the overrides"

    modules = sorted(Path(trainers.__file__).parent.glob("*.py"))
    private = {name for name in dir(Trainer) if is_private(name)}
    private |= attributes_of_self(Path(inspect.getfile(Trainer)).read_text(encoding="utf-8"))
    used: set[str] = set()
    for kind in (getattr(trainers, name) for name in trainers.__all__):
        if inspect.isclass(kind) and issubclass(kind, Trainer):
            classes = kind.__mro__[: kind.__mro__.index(Trainer)]
            used |= {name for parent in classes for name in vars(parent) if name in private}
    for module in modules:
        used |= attributes_of_self(module.read_text(encoding="utf-8")) & private
    assert used == set(HOOKS), f"{installed}; used but not listed, or the reverse: {used ^ set(HOOKS)}"
