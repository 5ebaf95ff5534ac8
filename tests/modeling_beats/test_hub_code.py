"""A saved folder has its code, loads where the package is not installed, and is not taken for another BEATs."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, pipeline
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING_NAMES

from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.modeling_beats import BeatsConfig, BeatsForAudioClassification, BeatsModel, BeatsTokenizer
from audioformer.modeling_beats.configuration_beats import AUTO_MAP, CODE_FILES

WITHOUT_THE_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "audioformer":
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocker())
import json
import numpy as np
import torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline
folder = sys.argv[1]
waveform = np.sin(np.arange(20000) * 0.05).astype(np.float32)
scores = pipeline("audio-classification", model=folder, trust_remote_code=True)(waveform, top_k=None)
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
backbone = AutoModel.from_pretrained(folder, trust_remote_code=True)
assert type(backbone).__module__.startswith("transformers_modules."), type(backbone)
with torch.no_grad():
    pooled = backbone(**extractor(waveform, sampling_rate=16000, return_tensors="pt")).pooler_output
backbone.save_pretrained(sys.argv[2])
print(json.dumps({"scores": {one["label"]: one["score"] for one in scores}, "pooled": pooled[0].tolist()}))
"""


def small_config(**changes) -> BeatsConfig:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4, "intermediate_size": 32}
    return BeatsConfig(**{**sizes, "patch_embedding_size": 16, "num_labels": 3, "initializer_range": 0.2, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved")
    torch.manual_seed(0)
    BeatsForAudioClassification(small_config()).save_pretrained(folder)
    BeatsFeatureExtractor().save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_loads_where_the_package_cannot_be_imported(folder, tmp_path):
    caches = {"HF_HOME": str(tmp_path / "home"), "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"}
    finished = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_PACKAGE, str(folder), str(tmp_path / "again")],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | caches,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    found = json.loads(finished.stdout.splitlines()[-1])
    waveform = np.sin(np.arange(20000) * 0.05).astype(np.float32)
    here = pipeline("audio-classification", model=str(folder))(waveform, top_k=None)
    assert found["scores"] == pytest.approx({one["label"]: one["score"] for one in here}, abs=1e-5)
    # The code of pre-training was not needed, so that it was not there to be saved again.
    saved_again = {name: reference for name, reference in AUTO_MAP.items() if name != "AutoModelForPreTraining"}
    assert json.loads((tmp_path / "again" / "config.json").read_text())["auto_map"] == saved_again
    assert AutoModel.from_pretrained(tmp_path / "again").num_parameters() > 0


@pytest.mark.parametrize("model_class", [BeatsModel, BeatsForAudioClassification, BeatsTokenizer])
def test_any_class_saves_the_code_of_all(model_class, tmp_path):
    model_class(small_config()).save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["auto_map"] == AUTO_MAP
    assert set(CODE_FILES) <= {path.name for path in tmp_path.iterdir()}
    assert all(not path.is_symlink() for path in tmp_path.iterdir())


def test_the_auto_classes_load_it(folder):
    assert type(AutoConfig.from_pretrained(folder)) is BeatsConfig
    assert type(AutoFeatureExtractor.from_pretrained(folder)) is BeatsFeatureExtractor
    assert type(AutoModel.from_pretrained(folder)) is BeatsModel
    assert type(AutoModelForAudioClassification.from_pretrained(folder)) is BeatsForAudioClassification


def test_a_beats_in_transformers_would_be_no_clash(folder, monkeypatch):
    """As if transformers had a model type "beats" whose classes are called as ours are, here those of AST."""
    monkeypatch.setitem(CONFIG_MAPPING_NAMES, "beats", "BeatsConfig")
    monkeypatch.setitem(FEATURE_EXTRACTOR_MAPPING_NAMES, "audio-spectrogram-transformer", ("BeatsFeatureExtractor",))
    theirs = transformers.models.audio_spectrogram_transformer
    monkeypatch.setattr(theirs, "BeatsFeatureExtractor", transformers.ASTFeatureExtractor, raising=False)
    found = transformers.models.auto.feature_extraction_auto.feature_extractor_class_from_name("BeatsFeatureExtractor")
    assert found is transformers.ASTFeatureExtractor
    test_the_auto_classes_load_it(folder)
    assert BeatsConfig.model_type != "beats"
