"""Exported files in onnxruntime, against PyTorch and transformers."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import pipeline

from audioformer.commands import export as command
from audioformer.export import onnx_export
from audioformer.export.onnx_check import open_session
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10
from audioformer.modeling_audioformer import AudioFormerForAudioClassification, AudioFormerForMaskedLM
from audioformer.registration import register_auto_classes

from ..feature_extraction.common import assert_same_codes, make_clip, make_codec, make_mimi
from ..modeling_audioformer.common import pad_row, random_ids, tiny_config
from ..shared import make_once

pytestmark = pytest.mark.usefixtures("onnx_packages")


@pytest.fixture(scope="module")
def model() -> AudioFormerForAudioClassification:
    torch.manual_seed(0)
    config = tiny_config(
        num_labels=3,
        problem_type="multi_label_classification",
        calibration_temperature=0.5,
        calibration_bias=[1.0, -2.0, 3.0],
    )
    model = AudioFormerForAudioClassification(config)
    # With a bias of zeros, a lost bias would go unnoticed.
    torch.nn.init.normal_(model.classifier.bias)
    # In training mode, as after training: the file must not apply dropout.
    return model.train()


@pytest.fixture(scope="module")
def classifier(model, tmp_path_factory, onnx_packages) -> Path:
    def export(folder: Path) -> None:
        (folder / "classifier").mkdir()
        file = folder / "classifier" / "model.onnx"
        report = onnx_export.export_classifier(model, file)
        assert report.file == file and "(batch, 3), calibrated" in report.signature
        assert model.training and model.config._attn_implementation == "sdpa"

    return make_once(tmp_path_factory, "onnx-classifier", export) / "classifier" / "model.onnx"


@pytest.fixture(scope="module")
def codec():
    return make_codec()


@pytest.fixture(scope="module")
def encoder(codec, tmp_path_factory, onnx_packages) -> Path:
    def export(folder: Path) -> None:
        (folder / "encoder").mkdir()
        extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1, 2, 3])
        report = onnx_export.export_codec_encoder(extractor, folder / "encoder" / "codec_encoder.onnx")
        assert set(report.seconds) == {"EncodecModel", "AudioFormerFeatureExtractor", "onnxruntime"}

    return make_once(tmp_path_factory, "onnx-encoder", export) / "encoder" / "codec_encoder.onnx"


@pytest.mark.parametrize("batch, length", [(1, 2), (1, 31), (4, 5), (3, 333)])
def test_logits_are_those_of_pytorch(model, classifier, batch, length):
    ids = random_ids(model.config, batch, length)
    ids = pad_row(ids, model.config, 0, length - length // 4)
    mask = ids.ne(model.config.pad_token_id).long()
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask).logits.numpy()
    model.train()
    (got,) = open_session(classifier).run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})
    assert np.abs(got - expected).max() < 1e-4
    # The logits differ between clips, so that agreement means something.
    assert batch == 1 or got.std(axis=0).min() > 1e-2


def test_logits_are_calibrated(model, classifier):
    ids = random_ids(model.config, 2, 20)
    model.eval()
    with torch.no_grad():
        raw = model.classifier(model.audioformer(input_ids=ids).pooler_output).numpy()
    model.train()
    inputs = {"input_ids": ids.numpy(), "attention_mask": np.ones((2, 20), np.int64)}
    (got,) = open_session(classifier).run(None, inputs)
    assert np.abs(got - (raw / 0.5 + np.array([1.0, -2.0, 3.0]))).max() < 1e-4


@pytest.mark.parametrize("length", [1, 7, 321, 2240, 2241, 30011])
def test_codes_are_those_of_encodec(codec, encoder, length):
    clips = [make_clip(length, seed) for seed in range(3)]
    session = open_session(encoder)
    together = session.run(None, {"waveform": np.stack(clips)})[0]
    alone = session.run(None, {"waveform": clips[0][None]})[0]
    assert together.dtype == np.int64
    assert_same_codes(codec, clips, list(together))
    assert_same_codes(codec, clips[:1], list(alone))


def test_the_encoder_scales_waveforms_as_the_extractor_does(codec, tmp_path):
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1], normalize="rms")
    file = tmp_path / "codec_encoder.onnx"
    report = onnx_export.export_codec_encoder(extractor, file)
    assert report.signature.endswith("-> codes (batch, frames, 2), scaled to an RMS of 0.1")
    session = open_session(file)
    same = frames = 0
    for level in (0.0, 1e-5, 0.01, 4.0):
        clips = [np.float32(level) * make_clip(30011, seed) for seed in range(2)]
        (codes,) = session.run(None, {"waveform": np.stack(clips)})
        for got, expected in zip(codes, extractor.encode(clips, 24000), strict=True):
            same, frames = same + int((got == expected).all(axis=-1).sum()), frames + len(expected)
    assert same >= 0.999 * frames


def test_files_are_plain_onnx_and_name_no_folder_of_this_machine(classifier, encoder):
    import onnx

    for file, sizes in ((classifier, ["batch", "length"]), (encoder, ["batch", "samples"])):
        content = onnx.load(file)
        onnx.checker.check_model(content, full_check=True)
        # Standard operators only, and no slow scatter for the halves of the rotary embedding.
        assert {(entry.domain, entry.version) for entry in content.opset_import} == {("", onnx_export.OPSET)}
        assert "ScatterND" not in {node.op_type for node in content.graph.node}
        for value in content.graph.input:
            assert [axis.dim_param for axis in value.type.tensor_type.shape.dim] == sizes
        for text in (str(Path.cwd()), torch.__path__[0], str(Path.home()), ".py"):
            assert text.encode() not in file.read_bytes(), text
        assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_file_that_computes_something_else_is_not_kept(model, classifier, tmp_path, monkeypatch):
    import onnx

    def write_wrong(module, example, output, axes, file):
        content = onnx.load(classifier)
        (bias,) = (tensor for tensor in content.graph.initializer if tensor.name.endswith("classifier.bias"))
        values = onnx.numpy_helper.to_array(bias) + np.float32(1e-3)
        bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
        onnx.save(content, file)

    monkeypatch.setattr(onnx_export, "write_onnx", write_wrong)
    with pytest.raises(ValueError, match=r"model.onnx was not kept.*logits within 2.0e-03"):
        onnx_export.export_classifier(model, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []

    shutil.copy(classifier, tmp_path / "model.onnx")
    with pytest.raises(ValueError, match="was not kept"):
        onnx_export.export_classifier(model, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == classifier.read_bytes()
    assert len(list(tmp_path.iterdir())) == 1


def test_an_encoder_of_another_codec_is_not_kept(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "write_onnx", lambda *arguments: shutil.copy(encoder, arguments[-1]))
    extractor = AudioFormerFeatureExtractor(codec=make_codec(seed=1), codebooks=[0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"was not kept.*of 3106 frames"):
        onnx_export.export_codec_encoder(extractor, tmp_path / "codec_encoder.onnx")
    assert list(tmp_path.iterdir()) == []


def run_command(arguments: list[str]) -> int:
    register_auto_classes()
    return command.run(command.parse(arguments))


def test_only_encodec_can_be_exported(tmp_path):
    with pytest.raises(ValueError, match="must be an `EncodecModel`, got MimiModel"):
        onnx_export.export_codec_encoder(AudioFormerFeatureExtractor(codec=make_mimi()), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_command_gives_what_pipeline_gives(exported_tiny):
    printed = (exported_tiny / "printed.txt").read_text()
    # Where two codebook entries tie, rounding decides: three frames may differ on any machine.
    (equal,) = re.findall(r"codes equal to PyTorch's in (\d+) of 3106 frames", printed)
    assert "model.onnx" in printed and int(equal) >= 3103
    assert printed.count("onnxruntime ") == 2 and printed.count(" ms") == 5

    clip = make_clip(60000)
    codes = open_session(exported_tiny / "onnx/codec_encoder.onnx").run(None, {"waveform": clip[None]})[0]
    ids = np.stack([np.concatenate([[0], row + 3, [2]]) for row in codes[0].T], axis=1)[None]
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids[:, :, 0])}
    logits = open_session(exported_tiny / "onnx/model.onnx").run(None, inputs)[0][0]
    scores = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()

    classify = pipeline("audio-classification", model=str(TINY_ESC10), device="cpu")
    expected = {entry["label"]: entry["score"] for entry in classify(clip, top_k=10)}
    labels = classify.model.config.id2label
    assert {labels[i]: score for i, score in enumerate(scores)} == pytest.approx(expected, abs=1e-4)


def test_the_command_refuses_what_is_not_a_classifier(tmp_path):
    AudioFormerForMaskedLM(tiny_config()).save_pretrained(tmp_path / "masked")
    with pytest.raises(ValueError, match=r"must be a classifier, not .*AudioFormerForMaskedLM"):
        run_command(["--onnx", "--model", str(tmp_path / "masked"), "--output", str(tmp_path / "onnx")])
    with pytest.raises(ValueError, match="does not exist"):
        run_command(["--onnx", "--model", str(tmp_path / "nothing"), "--output", str(tmp_path / "onnx")])
    assert not (tmp_path / "onnx").exists()


def test_the_command_says_what_is_missing(tmp_path, monkeypatch):
    config = tiny_config(num_labels=3)
    AudioFormerForAudioClassification(config).save_pretrained(tmp_path / "bare")
    arguments = ["--onnx", "--model", str(tmp_path / "bare"), "--output", str(tmp_path / "onnx")]
    with pytest.raises(ValueError, match="has no feature extractor"):
        run_command([*arguments, "--parts", "codec"])
    find = onnx_export.importlib.util.find_spec
    monkeypatch.setattr(
        onnx_export.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name)
    )
    with pytest.raises(ValueError, match=r'ONNX needs onnxscript.*"audioformer\[onnx\]"'):
        run_command(arguments)
