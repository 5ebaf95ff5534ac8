"""What `import audioformer` does, and what a saved folder can do without it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForMaskedLM,
    AutoProcessor,
    pipeline,
)

import audioformer
from audioformer.model_cards import TINY_ESC10

from .saved_code import CODE

# Stands in for a machine where the package was never installed.
WITHOUT_AUDIOFORMER = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "audioformer":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocker())
try:
    import audioformer
except ModuleNotFoundError:
    pass
else:
    raise SystemExit("audioformer can be imported here")
"""

USE_FOLDER = """
import json
import numpy as np
from transformers import (
    AutoFeatureExtractor, AutoModel, AutoModelForAudioClassification, AutoModelForMaskedLM, AutoProcessor, Trainer,
    TrainingArguments, pipeline,
)
folder = sys.argv[1]
waveform = np.sin(np.arange(24000) * 0.05).astype(np.float32)
classifier = pipeline("audio-classification", model=folder, trust_remote_code=True)
scores = {item["label"]: item["score"] for item in classifier(waveform, top_k=None)}
extractor = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=True)
inputs = extractor(waveform, sampling_rate=24000, return_tensors="pt")
backbone = AutoModel.from_pretrained(folder, trust_remote_code=True)
masked = AutoModelForMaskedLM.from_pretrained(folder, trust_remote_code=True)
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
assert type(processor).__name__ == type(extractor).__name__
tuned = AutoModelForAudioClassification.from_pretrained(
    folder, num_labels=3, ignore_mismatched_sizes=True, trust_remote_code=True
)
tuned.freeze_feature_encoder()
clips = [
    {"input_ids": extractor(waveform[:size], sampling_rate=24000)["input_ids"][0], "labels": size % 3}
    for size in (9000, 12001)
]
arguments = TrainingArguments("out", max_steps=1, per_device_train_batch_size=2, report_to=[], use_cpu=True)
Trainer(tuned, arguments, train_dataset=clips, processing_class=extractor).train()
print(json.dumps({
    "scores": scores,
    "ids": inputs["input_ids"][0].tolist(),
    "pooled": backbone(**inputs).pooler_output[0].tolist(),
    "vocabulary": masked(**inputs).logits.shape[-1],
}))
"""


def run_python(code: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_auto_classes_know_the_bundled_folder():
    assert type(AutoConfig.from_pretrained(TINY_ESC10)) is audioformer.AudioFormerConfig
    assert type(AutoModel.from_pretrained(TINY_ESC10)) is audioformer.AudioFormerModel
    assert type(AutoModelForMaskedLM.from_pretrained(TINY_ESC10)) is audioformer.AudioFormerForMaskedLM
    classifier = AutoModelForAudioClassification.from_pretrained(TINY_ESC10)
    assert type(classifier) is audioformer.AudioFormerForAudioClassification
    assert type(AutoFeatureExtractor.from_pretrained(TINY_ESC10)) is audioformer.AudioFormerFeatureExtractor


def test_no_auto_class_asks_whether_to_run_the_code_in_a_folder(tmp_path, monkeypatch):
    AutoModelForAudioClassification.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    assert list(tmp_path.glob("*.py"))

    # Recorded, since `AutoProcessor` swallows what goes wrong in the classes that it tries.
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda prompt="": asked.append(prompt) or "n")
    for auto_class in (AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForAudioClassification):
        assert type(auto_class.from_pretrained(tmp_path)).__module__.startswith("audioformer.")
    for auto_class in (AutoFeatureExtractor, AutoProcessor):
        assert type(auto_class.from_pretrained(tmp_path)) is audioformer.AudioFormerFeatureExtractor
    assert not asked


def test_import_prints_nothing_and_pipeline_supports_the_classes(tmp_path):
    code = (
        "import contextlib, io, sys, numpy as np\n"
        "with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(out):\n"
        "    import audioformer\n"
        "assert out.getvalue() == '', out.getvalue()\n"
        "from transformers import pipeline\n"
        "classifier = pipeline('audio-classification', model=sys.argv[1])\n"
        "print(classifier(np.zeros(24000, dtype=np.float32))[0]['label'])\n"
    )
    result = run_python(code, str(TINY_ESC10), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "not supported" not in result.stderr + result.stdout
    assert result.stdout.strip() in AutoConfig.from_pretrained(TINY_ESC10).label2id


def test_no_installed_package_misses_another():
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


def test_a_saved_folder_works_where_the_package_cannot_be_imported(tmp_path):
    model = AutoModelForAudioClassification.from_pretrained(TINY_ESC10)
    extractor = AutoFeatureExtractor.from_pretrained(TINY_ESC10)
    folder = tmp_path / "pushed"
    model.save_pretrained(folder)
    extractor.save_pretrained(folder)
    assert str(TINY_ESC10) not in (folder / "preprocessor_config.json").read_text()

    result = run_python(
        WITHOUT_AUDIOFORMER + USE_FOLDER, str(folder), cwd=tmp_path, HF_HOME=str(tmp_path / "home"), HF_HUB_OFFLINE="1"
    )
    assert result.returncode == 0, result.stderr
    there = json.loads(result.stdout.splitlines()[-1])

    waveform = np.sin(np.arange(24000) * 0.05).astype(np.float32)
    inputs = extractor(waveform, sampling_rate=24000, return_tensors="pt")
    assert there["ids"] == inputs["input_ids"][0].tolist()
    with torch.no_grad():
        pooled = AutoModel.from_pretrained(TINY_ESC10)(**inputs).pooler_output[0]
    np.testing.assert_allclose(there["pooled"], pooled.numpy(), atol=1e-4)
    here = pipeline("audio-classification", model=str(TINY_ESC10))(waveform, top_k=None)
    assert there["scores"] == pytest.approx({item["label"]: item["score"] for item in here}, abs=1e-4)
    assert there["vocabulary"] == 1028


def test_the_bundled_folder_is_whole_and_small():
    files = {str(path.relative_to(TINY_ESC10)) for path in TINY_ESC10.rglob("*") if path.is_file()}
    assert files >= {
        "README.md",
        "attribution.csv",
        "codec/config.json",
        "codec/model.safetensors",
        "config.json",
        "eval_results.json",
        "model.safetensors",
        "preprocessor_config.json",
    }
    assert sum(path.stat().st_size for path in TINY_ESC10.rglob("*")) < 20e6
    results = json.loads((TINY_ESC10 / "eval_results.json").read_text())
    assert f"{results['accuracy']:.1%}" in (TINY_ESC10 / "README.md").read_text()


def test_saving_the_bundled_classifier_writes_the_code_of_this_version(tmp_path):
    assert not list(TINY_ESC10.glob("*.py")), "the package itself is the code of the bundled classifier"
    AutoModelForAudioClassification.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    AutoFeatureExtractor.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.glob("*.py")} == set(CODE)
    for name, source in CODE.items():
        assert (tmp_path / name).read_bytes() == source.read_bytes(), name
    settings = [json.loads((tmp_path / name).read_text()) for name in ("config.json", "preprocessor_config.json")]
    references = settings[0]["auto_map"] | settings[1]["auto_map"]
    assert set(references) == {
        "AutoConfig",
        "AutoFeatureExtractor",
        "AutoModel",
        "AutoModelForMaskedLM",
        "AutoModelForAudioClassification",
    }
    for reference in references.values():
        module, class_name = reference.split(".")
        assert f"class {class_name}(" in CODE[f"{module}.py"].read_text()


def test_a_folder_of_an_earlier_version_loads(tmp_path):
    """It says `codebooks` in its config.json, and brings its own code, which gives way to the package's."""
    AutoModelForAudioClassification.from_pretrained(TINY_ESC10).save_pretrained(tmp_path)
    settings = json.loads((tmp_path / "config.json").read_text())
    del settings["codebook"]
    (tmp_path / "config.json").write_text(json.dumps({**settings, "codebooks": 2}))
    model = AutoModelForAudioClassification.from_pretrained(tmp_path)
    assert type(model) is audioformer.AudioFormerForAudioClassification
    assert model.config.codebook == 2
    model.save_pretrained(tmp_path / "again")
    saved = json.loads((tmp_path / "again" / "config.json").read_text())
    assert saved["codebook"] == 2 and "codebooks" not in saved


def test_pipeline_takes_a_file_name_where_there_is_an_ffmpeg(tmp_path, monkeypatch):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ffmpeg").symlink_to(imageio_ffmpeg.get_ffmpeg_exe())
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    file = tmp_path / "tone.wav"
    waveform = 0.5 * np.sin(np.arange(24000) * 0.05)
    soundfile.write(file, waveform, 24000, subtype="FLOAT")
    classifier = pipeline("audio-classification", model=str(TINY_ESC10))
    by_name = {item["label"]: item["score"] for item in classifier(str(file), top_k=None)}
    by_array = {item["label"]: item["score"] for item in classifier(waveform.astype(np.float32), top_k=None)}
    assert by_name == pytest.approx(by_array, abs=1e-4)
