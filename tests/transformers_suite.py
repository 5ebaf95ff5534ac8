"""transformers' own test suite for models and configurations, from the source distribution of the installed version.

Importing this module gives `ModelTesterMixin`, `ConfigTester`, `ids_tensor` and `random_attention_mask`. Where the
suite has not been fetched, the importing test module is skipped, or fails if the environment variable `CI` is set.
"""

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.fetch_transformers_suite import suite_folder

PACKAGE = "transformers_suite"
"""Name under which transformers' `tests` is imported: `tests` is ours."""


class ExportTesterMixin:
    """Stands in for a parent of `ModelTesterMixin` that is not distributed. Our own tests cover the export."""


class GenerationTesterMixin:
    """Stands in for a class that is not distributed. The suite only asks whether a test inherits from it."""


CONFIG_COMMON_KWARGS = {
    "return_dict": False,
    "output_hidden_states": True,
    "output_attentions": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["AnyModel"],
    "id2label": {0: "only"},
    "label2id": {"only": 0},
    "problem_type": "regression",
}
"""A value other than the default for each attribute that every configuration has; `ConfigTester` sets them."""

STAND_INS: dict[str, dict[str, Any]] = {
    "exporters.test_export": {"ExportTesterMixin": ExportTesterMixin},
    "generation.test_utils": {"GenerationTesterMixin": GenerationTesterMixin},
    "utils.test_configuration_utils": {"config_common_kwargs": CONFIG_COMMON_KWARGS},
}
"""Modules that the suite imports and the source distribution leaves out, and the names that it imports from them."""


def _add_package(name: str, path: list[str], attributes: dict[str, Any]) -> None:
    module = ModuleType(name)
    module.__path__ = path
    vars(module).update(attributes)
    sys.modules[name] = module


def _load(folder: Path) -> tuple[ModuleType, ModuleType]:
    """Import the model tests and the configuration tests in `folder`, as modules of the package `PACKAGE`."""
    _add_package(PACKAGE, [str(folder)], {})
    for name, attributes in STAND_INS.items():
        _add_package(f"{PACKAGE}.{name.split('.')[0]}", [], {})
        _add_package(f"{PACKAGE}.{name}", [], attributes)
    models = importlib.import_module(f"{PACKAGE}.test_modeling_common")
    configurations = importlib.import_module(f"{PACKAGE}.test_configuration_common")
    return models, configurations


if not suite_folder().is_dir():
    reason = f"the tests of transformers {suite_folder().name} are not in {suite_folder()}: `make test` fetches them"
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)

_models, _configurations = _load(suite_folder() / "tests")

ModelTesterMixin: Any = _models.ModelTesterMixin
ConfigTester: Any = _configurations.ConfigTester
ids_tensor: Any = _models.ids_tensor
random_attention_mask: Any = _models.random_attention_mask
