"""The package `encodec`: its checkpoints, its codes against `EncodecModel`, and machines without torchaudio."""

import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.feature_extraction.convert_encodec_checkpoint import (
    convert_encodec_checkpoint,
    convert_encodec_state_dict,
    main,
    read_encodec_checkpoint,
)

from .common import make_clip

CLIPS = [make_clip(24000), make_clip(7000, seed=1), make_clip(500, seed=2)]
ROWS = [0, 1, 2, 3]
PACKAGE_FOLDER = str(Path(sys.prefix) / "encodec-package")


@pytest.fixture(scope="module")
def encodec():
    """The package without torchaudio, which it needs for files only: an empty module stands in."""
    there = "torchaudio" in sys.modules
    # Where `make test` puts it.
    sys.path.append(PACKAGE_FOLDER)
    sys.modules.setdefault("torchaudio", ModuleType("torchaudio"))
    try:
        return pytest.importorskip("encodec", reason="pip install --no-deps encodec==0.1.1")
    finally:
        sys.path.remove(PACKAGE_FOLDER)
        if not there:
            del sys.modules["torchaudio"]


@pytest.fixture(scope="module")
def model(encodec):
    """The reference model of 24 kHz with seeded random weights and filled codebooks."""
    torch.manual_seed(0)
    model = encodec.EncodecModel.encodec_model_24khz(pretrained=False)
    with torch.no_grad():
        for name, parameter in model.encoder.named_parameters():
            if "bias" in name:
                parameter *= 0.1
        residual = model.encoder(torch.from_numpy(np.stack([make_clip(16000, seed) for seed in range(8)]))[:, None])
        residual = residual.transpose(1, 2).flatten(0, 1)
        for layer in model.quantizer.vq.layers:
            codebook = layer._codebook
            chosen = residual[torch.randint(len(residual), (1024,))]
            codebook.embed.copy_(chosen + 0.3 * residual.std(0) * torch.randn_like(chosen))
            codebook.inited.fill_(True)
            residual = residual - codebook.decode(codebook.encode(residual))
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "encodec_24khz-00000000.th"
    torch.save(model.state_dict(), path)
    return path


def same_share(got: list, expected: list) -> float:
    pairs = [(np.asarray(a) == np.asarray(b)).all(axis=-1) for a, b in zip(got, expected, strict=True)]
    return float(np.concatenate(pairs).mean())


def ids_of(extractor: AudioFormerFeatureExtractor) -> list:
    return extractor(CLIPS, sampling_rate=24000, padding=False)["input_ids"]


def test_codes_of_the_package_are_those_of_transformers(model, checkpoint):
    by_package = AudioFormerFeatureExtractor(codec=checkpoint, codec_backend="encodec", codebooks=ROWS)
    ids = ids_of(by_package)
    converted = convert_encodec_state_dict(model.state_dict())
    model.set_target_bandwidth(3.0)
    for clip, got in zip(CLIPS, ids, strict=True):
        with torch.no_grad():
            ((expected, _),) = model.encode(torch.from_numpy(clip)[None, None])
            upstream = converted.encode(torch.from_numpy(clip)[None, None], bandwidth=3.0).audio_codes[0, 0]
        assert np.array_equal(got[1:-1] - 3, expected[0].T.numpy())
        # The oracle that nobody here wrote: EncodecModel with the same weights.
        assert same_share([got[1:-1] - 3], [upstream.T.numpy()]) > 0.999
    assert type(by_package.codec).__module__.startswith("encodec")
    assert len(np.unique(ids[0][1:-1, 0])) > 20


def test_the_fast_encoder_with_converted_weights_gives_the_same_codes(model, checkpoint, tmp_path):
    convert_encodec_checkpoint(checkpoint, tmp_path)
    fast = AudioFormerFeatureExtractor(codec=tmp_path, codebooks=ROWS)
    by_package = AudioFormerFeatureExtractor(codec=model, codebooks=ROWS)
    assert same_share(ids_of(fast), ids_of(by_package)) > 0.999


def test_what_is_saved_needs_the_package_no_more(model, checkpoint, tmp_path, hf_home):
    extractor = AudioFormerFeatureExtractor(codec=checkpoint, codec_backend="encodec", codebooks=ROWS)
    expected = ids_of(extractor)
    extractor.save_pretrained(tmp_path)
    assert (tmp_path / "codec" / "model.safetensors").is_file()
    loaded = AudioFormerFeatureExtractor.from_pretrained(tmp_path)
    assert isinstance(loaded.codec, EncodecModel) and same_share(ids_of(loaded), expected) > 0.999
    # A file is sent to other processes by name, a loaded model as the codec that it is.
    by_name = pickle.loads(pickle.dumps(extractor))
    by_value = pickle.loads(pickle.dumps(AudioFormerFeatureExtractor(codec=model)))
    assert type(by_name.codec).__module__.startswith("encodec") and isinstance(by_value.codec, EncodecModel)


def test_fingerprints_tell_weights_apart(model, checkpoint, encodec):
    extractor = AudioFormerFeatureExtractor(codec=checkpoint, codec_backend="encodec")
    assert codec_fingerprint(extractor.codec) == codec_fingerprint(model)
    other = encodec.EncodecModel.encodec_model_24khz(pretrained=False)
    assert codec_fingerprint(other) != codec_fingerprint(model)


def test_what_does_not_fit_is_refused(model, checkpoint, encodec, tmp_path):
    with pytest.raises(ValueError, match="`codec_backend` must be 'transformers' or 'encodec', got 'onnx'"):
        AudioFormerFeatureExtractor(codec=checkpoint, codec_backend="onnx")
    with pytest.raises(ValueError, match="must be the file of an original checkpoint .*gone.th"):
        AudioFormerFeatureExtractor(codec=tmp_path / "gone.th", codec_backend="encodec")
    with pytest.raises(ValueError, match="contains 4, but at 3.0 kb/s the codec has the codebooks 0 to 3"):
        AudioFormerFeatureExtractor(codec=model, codebooks=4)
    with pytest.raises(ValueError, match="no bandwidth of 2.0 kb/s, only 1.5, 3.0"):
        AudioFormerFeatureExtractor(codec=model, bandwidth=2.0)
    with pytest.raises(ValueError, match="works at 48000 Hz, the extractor at 24000 Hz"):
        AudioFormerFeatureExtractor(codec=encodec.EncodecModel.encodec_model_48khz(pretrained=False))


def test_without_the_package_the_way_around_is_told(checkpoint, monkeypatch):
    monkeypatch.setitem(sys.modules, "encodec", None)
    extractor = AudioFormerFeatureExtractor(codec=checkpoint, codec_backend="encodec")
    with pytest.raises(ImportError, match="needs the package encodec and a torchaudio.*convert_encodec_checkpoint"):
        ids_of(extractor)


def test_a_torchaudio_that_cannot_be_loaded_breaks_the_backend_alone(checkpoint, tmp_path):
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise OSError('libtorchaudio.so: undefined symbol')")
    script = (
        "import sys, transformers\n"
        f"sys.path[:0] = [{str(tmp_path)!r}, {PACKAGE_FOLDER!r}]\n"
        "from audioformer import AudioFormerFeatureExtractor\n"
        f"extractor = AudioFormerFeatureExtractor(codec={str(checkpoint)!r}, codec_backend='encodec')\n"
        "try:\n    extractor.codec\n"
        "except ImportError as error:\n    print(error)\n"
        "from transformers import AutoModel, EncodecModel, pipeline\n"
        "print('alive')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "undefined symbol" in done.stdout and "alive" in done.stdout


def test_the_stereo_codec_converts(encodec):
    torch.manual_seed(0)
    model = encodec.EncodecModel.encodec_model_48khz(pretrained=False)
    converted = convert_encodec_state_dict(model.state_dict())
    waveform = 0.1 * torch.randn(1, 2, 9600)
    with torch.no_grad():
        torch.testing.assert_close(converted.encoder(waveform), model.encoder(waveform), atol=1e-5, rtol=1e-4)
        latent = torch.randn(1, 128, 30)
        torch.testing.assert_close(converted.decoder(latent), model.decoder(latent), atol=1e-5, rtol=1e-4)
    assert converted.config.sampling_rate == 48000 and converted.config.normalize


def test_the_command_converts_and_names_what_it_cannot(checkpoint, tmp_path, capsys):
    main([str(checkpoint), str(tmp_path / "codec")])
    assert "EncodecModel of 24000 Hz" in capsys.readouterr().out
    assert isinstance(EncodecModel.from_pretrained(tmp_path / "codec").config, EncodecConfig)
    torch.save({"best_state": torch.load(checkpoint, weights_only=True), "epoch": 3}, tmp_path / "packed.th")
    assert read_encodec_checkpoint(tmp_path / "packed.th").keys() == read_encodec_checkpoint(checkpoint).keys()
    for content, message in (
        ({"a": torch.zeros(2)}, "`encoder.model.0` or `quantizer.vq.layers.0` is missing"),
        ([1, 2], "must hold a dict of tensors, got list"),
        (print, "cannot be read with `weights_only=True`"),
    ):
        torch.save(content, tmp_path / "wrong.th")
        with pytest.raises(SystemExit):
            main([str(tmp_path / "wrong.th"), str(tmp_path / "other")])
        assert message in capsys.readouterr().err
    state = dict(torch.load(checkpoint, weights_only=True))
    state.pop("encoder.model.3.conv.conv.bias")
    with pytest.raises(ValueError, match="not the weights of an EnCodec, 1 do not fit: encoder.layers.3.conv.bias"):
        convert_encodec_state_dict(state)
    assert not (tmp_path / "other").exists()
