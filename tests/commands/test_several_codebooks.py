"""One model of several codebooks from the first to the last command, on sounds made here."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import AutoModel, pipeline

from audioformer.cli import main
from audioformer.data.audio import load_audio
from audioformer.export.onnx_check import open_session
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

SIZES = ["--hidden-size", "32", "--num-hidden-layers", "1", "--num-attention-heads", "2", "--intermediate-size", "64"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Two classes of four speakers, with a test part."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    time = np.arange(6000) / 12000
    for split, count in (("train", 8), ("test", 3)):
        for kind, pitch in (("low", 200), ("high", 3000)):
            for index in range(count):
                path = folder / "data" / split / kind / f"{index}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, 0.3 * np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time), 12000)
    return folder


def common(sounds: Path) -> list[str]:
    flags = ["--data", str(sounds / "data"), "--cache-dir", str(sounds / "cache"), "--disable-tqdm", "true"]
    return [*flags, "--num-train-epochs", "1", "--seed", "3"]


def pretraining(sounds: Path) -> list[str]:
    command = [
        "pretrain",
        "--recipe",
        "tiny_pretrain",
        "--output",
        str(sounds / "pretrained"),
        *SIZES,
        *common(sounds),
    ]
    return [*command, "--codebooks", "0", "1", "2", "--joint-codebooks", "--embedding-init", "code_vectors"]


@pytest.fixture(scope="module")
def pretrained(sounds) -> Path:
    assert main(pretraining(sounds)) == 0
    return sounds / "pretrained" / "C1-C3"


@pytest.fixture(scope="module")
def finetuned(sounds, pretrained) -> Path:
    output = sounds / "ft1"
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(pretrained), "--output", str(output)]
    assert main([*command, "--codebook-dropout", "0.1", *common(sounds)]) == 0
    return output


def test_pretraining_writes_one_model_that_says_what_it_reads(sounds, pretrained, capsys):
    assert {path.name for path in (sounds / "pretrained").iterdir()} == {"C1-C3", "training"}
    results = json.loads((pretrained / "pretrain_results.json").read_text())
    assert results["codebooks"] == [0, 1, 2] and "codebook" not in results and 0 < results["held_out_loss"] < 8
    assert json.loads((pretrained / "config.json").read_text())["codebooks"] == [0, 1, 2]
    assert json.loads((pretrained / "preprocessor_config.json").read_text())["codebooks"] == [0, 1, 2]
    assert "codebooks 0 to 2 (C1 to C3) of the codes" in (pretrained / "README.md").read_text()
    assert main(pretraining(sounds)) == 1
    assert "holds a finished run" in capsys.readouterr().err
    written = (pretrained / "model.safetensors").stat().st_mtime_ns
    assert main([*pretraining(sounds), "--resume-from-checkpoint"]) == 0
    assert "C1-C3" in capsys.readouterr().out
    assert (pretrained / "model.safetensors").stat().st_mtime_ns == written


def test_the_classifier_reads_what_it_was_pretrained_on(sounds, finetuned, tmp_path, capsys):
    config = json.loads((finetuned / "config.json").read_text())
    assert config["codebooks"] == [0, 1, 2] and config["codebook_dropout"] == 0.1
    card = (finetuned / "README.md").read_text()
    assert "reads codebooks 0 to 2 (C1 to C3) of a neural audio codec, 3 tokens per frame" in card
    waveform, _ = load_audio(sounds / "data" / "test" / "low" / "0.wav", sampling_rate=24000)
    classifier = pipeline("audio-classification", model=str(finetuned), top_k=None)
    scores = {entry["label"]: entry["score"] for entry in classifier(waveform)}
    extractor = AudioFormerFeatureExtractor.from_pretrained(finetuned)
    inputs = extractor(waveform, sampling_rate=24000, return_tensors="pt")
    assert inputs["input_ids"].shape[2] == 3
    model = AudioFormerForAudioClassification.from_pretrained(finetuned).eval()
    with torch.no_grad():
        expected = model(**inputs).logits.softmax(-1)[0]
        embedding = AutoModel.from_pretrained(finetuned).eval()(**inputs).pooler_output
    assert embedding.shape == (1, 32)
    for index, label in model.config.id2label.items():
        assert scores[label] == pytest.approx(expected[index].item(), abs=1e-5)
    with np.load(finetuned / "predictions.npz") as saved:
        known = dict(zip(saved["ids"].tolist(), saved["scores"], strict=True))
    output = tmp_path / "evaluation"
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds / "data"), "--output", str(output)]
    assert main([*command, "--cache-dir", str(sounds / "cache")]) == 0
    with np.load(output / "predictions.npz") as saved:
        for name, row in zip(saved["ids"].tolist(), saved["scores"], strict=True):
            np.testing.assert_allclose(row, known[name], atol=1e-5)
    assert main(["classify", "--model", str(finetuned), str(sounds / "data" / "test" / "low" / "0.wav")]) == 0
    assert "low" in capsys.readouterr().out


def test_other_codebooks_are_refused_before_anything_is_encoded(sounds, finetuned, tmp_path, capsys):
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(finetuned), "--output", str(tmp_path / "out")]
    flags = [*common(sounds), "--cache-dir", str(tmp_path / "unused")]
    assert main([*command, "--codebooks", "0", "1", *flags]) == 1
    assert "reads codebooks 0 to 2 (C1 to C3)" in capsys.readouterr().err
    assert not (tmp_path / "unused").exists()


def test_codes_without_a_codebook_of_the_model_are_refused(sounds, finetuned, tmp_path, capsys):
    codes, codec = tmp_path / "codes", str(finetuned / "codec")
    command = ["encode", str(sounds / "data"), "--output", str(codes), "--codec", codec]
    assert main([*command, "--num-codebooks", "2", "--normalize", "rms"]) == 0
    command = ["evaluate", "--model", str(finetuned), "--codes", str(codes), "--output", str(tmp_path / "out")]
    assert main(command) == 1
    assert "has no codebook 2 (C3)" in capsys.readouterr().err


def test_the_exported_classifier_takes_the_ids_of_all_codebooks(sounds, finetuned, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    command = ["export", "--onnx", "--model", str(finetuned), "--output", str(tmp_path), "--parts", "classifier"]
    assert main(command) == 0
    assert "input_ids (batch, length, 3), attention_mask (batch, length)" in capsys.readouterr().out
    extractor = AudioFormerFeatureExtractor.from_pretrained(finetuned)
    inputs = extractor([np.ones(9000, np.float32) * 0.1, np.ones(20000, np.float32)], 24000, return_tensors="pt")
    (logits,) = open_session(tmp_path / "model.onnx").run(
        ["logits"], {name: value.numpy() for name, value in inputs.items()}
    )
    with torch.no_grad():
        expected = AudioFormerForAudioClassification.from_pretrained(finetuned).eval()(**inputs).logits
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-4)
