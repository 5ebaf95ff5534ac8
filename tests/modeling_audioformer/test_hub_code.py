"""A saved folder contains its code and loads where the package is not installed, whichever class saved it."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import torch

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)

from .common import pad_row, random_ids, tiny_config

CLASSES = {
    "AutoModel": AudioFormerModel,
    "AutoModelForMaskedLM": AudioFormerForMaskedLM,
    "AutoModelForAudioClassification": AudioFormerForAudioClassification,
}
AUTO_MAP = {
    "AutoConfig": "configuration_audioformer.AudioFormerConfig",
    **{name: f"modeling_audioformer.{model_class.__name__}" for name, model_class in CLASSES.items()},
}

# Runs in a separate process. `folders/<AutoClass>` were saved by the test; for each of them and each Auto class the
# hidden states go to `outputs.pt`, and every loaded model is saved again to `again/<AutoClass>`.
WITHOUT_THE_PACKAGE = """
import sys
from pathlib import Path

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "audioformer":
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocker())

import torch
import transformers

root = Path(sys.argv[1])
ids = torch.load(root / "ids.pt")
outputs = {}
for saved in sys.argv[2:]:
    folder = root / "folders" / saved
    config = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    assert type(config).__module__.startswith("transformers_modules."), type(config)
    for loaded in sys.argv[2:]:
        model = getattr(transformers, loaded).from_pretrained(folder, trust_remote_code=True).eval()
        assert type(model).__module__.startswith("transformers_modules."), type(model)
        with torch.no_grad():
            outputs[saved, loaded, "states"] = getattr(model, "audioformer", model)(ids).last_hidden_state
            if saved == loaded:
                outputs[saved, loaded, "first"] = model(ids)[0]
                model.save_pretrained(root / "again" / saved)
    if saved == sys.argv[2]:
        config.save_pretrained(root / "again" / "AutoConfig")
torch.save(outputs, root / "outputs.pt")
assert not any(name.split(".")[0] == "audioformer" for name in sys.modules)
"""


def auto_map(folder) -> dict[str, str]:
    return json.loads((folder / "config.json").read_text())["auto_map"]


@pytest.mark.slow
def test_loads_with_every_auto_class_where_the_package_cannot_be_imported(tmp_path):
    torch.manual_seed(0)
    models = {name: model_class(tiny_config(num_labels=3)).eval() for name, model_class in CLASSES.items()}
    for name, model in models.items():
        model.save_pretrained(tmp_path / "folders" / name)
    config = tiny_config()
    ids = pad_row(random_ids(config, 2, 12), config, row=1, length=8)
    torch.save(ids, tmp_path / "ids.pt")
    caches = {"HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(tmp_path), *CLASSES],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | caches,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr

    outputs = torch.load(tmp_path / "outputs.pt")
    with torch.no_grad():
        for saved, model in models.items():
            states = getattr(model, "audioformer", model)(ids).last_hidden_state
            torch.testing.assert_close(outputs[saved, saved, "first"], model(ids)[0])
            for loaded in CLASSES:
                torch.testing.assert_close(outputs[saved, loaded, "states"], states)
            again = CLASSES[saved].from_pretrained(tmp_path / "again" / saved).eval()
            torch.testing.assert_close(again(ids)[0], model(ids)[0])
    # A configuration that was downloaded alone comes without model code, and must not refer to it.
    assert auto_map(tmp_path / "again" / "AutoConfig") == {"AutoConfig": AUTO_MAP["AutoConfig"]}
    for name in CLASSES:
        folder = tmp_path / "again" / name
        assert auto_map(folder) == AUTO_MAP
        assert {"configuration_audioformer.py", "modeling_audioformer.py"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("name", CLASSES)
def test_any_class_saves_the_names_of_all(name, tmp_path):
    CLASSES[name](tiny_config()).save_pretrained(tmp_path)
    assert auto_map(tmp_path) == AUTO_MAP
    assert {"configuration_audioformer.py", "modeling_audioformer.py"} <= {path.name for path in tmp_path.iterdir()}


def test_names_of_another_repository_are_not_passed_on(tmp_path):
    """A model from the Hub refers to "user/repository--file.Class"; its copy must not depend on that repository."""
    config = tiny_config()
    config.auto_map = {name: f"user/repository--{reference}" for name, reference in AUTO_MAP.items()}
    AudioFormerForMaskedLM(config).save_pretrained(tmp_path)
    assert auto_map(tmp_path) == AUTO_MAP


def test_derived_class_keeps_its_own_name(tmp_path, monkeypatch):
    source = tmp_path / "source"
    source.mkdir()
    (source / "derived_classifier.py").write_text(
        textwrap.dedent(
            """
            from audioformer import AudioFormerForAudioClassification


            class DerivedClassifier(AudioFormerForAudioClassification):
                pass
            """
        )
    )
    monkeypatch.syspath_prepend(str(source))
    from derived_classifier import DerivedClassifier

    DerivedClassifier(tiny_config()).save_pretrained(tmp_path / "saved")
    names = auto_map(tmp_path / "saved")
    assert names.pop("AutoModelForAudioClassification") == "derived_classifier.DerivedClassifier"
    assert names.items() <= AUTO_MAP.items()
    assert (tmp_path / "saved" / "derived_classifier.py").is_file()


def test_saved_configuration_stays_loadable_by_the_package(tmp_path):
    AudioFormerModel(tiny_config(codebook=3)).save_pretrained(tmp_path)
    assert AudioFormerConfig.from_pretrained(tmp_path).codebook == 3


def test_configuration_alone_carries_the_code_of_all_classes(tmp_path):
    tiny_config().save_pretrained(tmp_path)
    assert auto_map(tmp_path) == AUTO_MAP
    assert {"configuration_audioformer.py", "modeling_audioformer.py"} <= {path.name for path in tmp_path.iterdir()}
