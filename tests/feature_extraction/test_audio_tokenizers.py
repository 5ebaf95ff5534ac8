"""Mimi, DAC and X-Codec 2 with the interface of EnCodec: the codes of their own `encode`, and their own sizes."""

import pickle

import numpy as np
import pytest
import torch
from transformers import (
    AutoConfig,
    BertConfig,
    BertModel,
    DacFeatureExtractor,
    DacModel,
    MimiModel,
    Wav2Vec2BertConfig,
    Xcodec2Config,
    Xcodec2Model,
)
from transformers.utils import is_torchaudio_available

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.audio_tokenizers import ClipwiseCodec
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM

from .common import make_clip, make_dac, make_mimi


def codes_of_mimi(model: MimiModel, clip: np.ndarray) -> np.ndarray:
    return model.encode(torch.from_numpy(clip)[None, None]).audio_codes[0].T.numpy()


def codes_of_dac(model: DacModel, clip: np.ndarray) -> np.ndarray:
    prepare = DacFeatureExtractor(sampling_rate=44100, hop_length=512)
    inputs = prepare(clip, sampling_rate=44100, return_tensors="pt")
    return model.encode(inputs["input_values"]).audio_codes[0].T.detach().numpy()


CODECS = {
    # The last number is that of the frames in 1.5 s, at 12.5 and 86.13 per second, rounded up.
    "mimi": (make_mimi, codes_of_mimi, 24000, 1920, 256, 6, 19),
    "dac": (make_dac, codes_of_dac, 44100, 512, 64, 3, 130),
}


@pytest.fixture(scope="module", params=list(CODECS))
def case(request):
    make, reference, *facts = CODECS[request.param]
    return make(), reference, facts


@pytest.mark.parametrize("batch", [(0,), (0, 1, 2)])
def test_codes_are_those_of_the_models_own_encode(case, batch):
    model, reference, (rate, _, _, num_codebooks, frames) = case
    clips = [make_clip(length) for length in (round(1.5 * rate), 7000, 3)]
    extractor = AudioFormerFeatureExtractor(codec=model, codebooks=list(range(num_codebooks)))
    ids = extractor([clips[index] for index in batch], sampling_rate=rate, padding=False)["input_ids"]
    for index, got in zip(batch, ids, strict=True):
        with torch.no_grad():
            expected = reference(model, clips[index])
        assert np.array_equal(np.asarray(got)[1:-1] - 3, expected), index
    assert len(ids[0]) == frames + 2
    assert len(np.unique(np.asarray(ids[0])[1:-1, 0])) > 5, "codes of a random model must vary"


def test_sizes_follow_from_the_codec(case):
    model, _, (rate, hop_length, codebook_size, num_codebooks, _) = case
    extractor = AudioFormerFeatureExtractor(codec=model, codebooks=1)
    assert (extractor.sampling_rate, extractor.codebook_size) == (rate, codebook_size)
    assert extractor.hop_length == hop_length and extractor.frame_rate == pytest.approx(rate / hop_length)
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = AudioFormerConfig(**extractor.model_config(), **sizes)
    assert (config.vocab_size, config.mask_token_id) == (codebook_size + 4, codebook_size + 3)
    assert config.frame_rate == pytest.approx(rate / hop_length) and config.codebook == 1
    inputs = extractor(make_clip(9000), sampling_rate=rate, return_tensors="pt")
    assert AudioFormerForMaskedLM(config)(**inputs).logits.shape[-1] == codebook_size + 4
    with pytest.raises(
        ValueError, match=f"contains {num_codebooks}, but the codec has the codebooks 0 to {num_codebooks - 1}"
    ):
        AudioFormerFeatureExtractor(codec=model, codebooks=[0, num_codebooks])


def test_given_sizes_are_checked(case):
    model, _, (rate, _, codebook_size, _, _) = case
    with pytest.raises(ValueError, match=f"works at {rate} Hz, the extractor at 16000 Hz"):
        AudioFormerFeatureExtractor(codec=model, sampling_rate=16000)
    with pytest.raises(ValueError, match=f"{codebook_size} entries per codebook, but 1024 are expected"):
        AudioFormerFeatureExtractor(codec=model, codebook_size=1024)


def test_folders_saves_and_pickles(case, tmp_path, hf_home):
    model, _, (rate, *_) = case
    clip = make_clip(6000)
    model.save_pretrained(tmp_path / "codec")
    expected = AudioFormerFeatureExtractor(codec=model)(clip, sampling_rate=rate)["input_ids"]
    extractor = AudioFormerFeatureExtractor(codec=str(tmp_path / "codec"))
    assert extractor.sampling_rate == rate
    assert codec_fingerprint(extractor.codec) == codec_fingerprint(model)
    extractor.save_pretrained(tmp_path / "saved")
    loaded = AudioFormerFeatureExtractor.from_pretrained(tmp_path / "saved")
    for other in (extractor, loaded, pickle.loads(pickle.dumps(AudioFormerFeatureExtractor(codec=model)))):
        assert np.array_equal(other(clip, sampling_rate=rate)["input_ids"], expected)


def test_truncated_codes_are_those_of_the_whole_clip(case):
    model, _, (rate, hop_length, *_) = case
    extractor = AudioFormerFeatureExtractor(codec=model)
    clip = make_clip(40 * hop_length)
    whole = extractor(clip, sampling_rate=rate)["input_ids"]
    cut = extractor(clip, sampling_rate=rate, truncation=True, max_length=12)["input_ids"]
    assert np.array_equal(cut[:, 1:11], whole[:, 1:11]) and cut.shape == (1, 12) and cut[0, -1] == 2


def test_a_codec_in_training_mode_encodes_the_same_codes(case):
    model, _, (rate, *_) = case
    clip = make_clip(8000)
    expected = AudioFormerFeatureExtractor(codec=model, codebooks=[0, 1, 2])(clip, sampling_rate=rate)["input_ids"]
    model.train()
    try:
        got = AudioFormerFeatureExtractor(codec=model, codebooks=[0, 1, 2])(clip, sampling_rate=rate)["input_ids"]
        assert np.array_equal(got, expected) and model.training
    finally:
        model.eval()


def test_the_type_of_a_codec_on_the_hub_is_given(monkeypatch):
    asked = []

    def answer(location, **options):
        asked.append((location, options["revision"]))
        return make_dac().config

    monkeypatch.setattr(AutoConfig, "from_pretrained", answer)
    extractor = AudioFormerFeatureExtractor(codec="somebody/dac", codec_revision="v1", codec_type="dac")
    assert asked == [("somebody/dac", "v1")] and extractor.sampling_rate == 44100 and extractor.codebook_size == 64
    saved = extractor.to_dict()
    assert (saved["codec"], saved["codec_type"]) == ("somebody/dac", "dac")
    again = AudioFormerFeatureExtractor(**saved)
    assert len(asked) == 1, "what was saved needs no network"
    loaded = []
    monkeypatch.setattr(DacModel, "from_pretrained", lambda *a, **k: loaded.append(a) or make_dac())
    assert again.codec.config.model_type == "dac" and loaded == [("somebody/dac",)]


def test_other_models_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`codec_type` must be one of encodec, mimi, dac, xcodec2, got 'mp3'"):
        AudioFormerFeatureExtractor(codec_type="mp3")
    BertModel(
        BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    ).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="must be one of encodec, mimi, dac, xcodec2, got 'bert'"):
        AudioFormerFeatureExtractor(codec=str(tmp_path))


@pytest.fixture(scope="module")
def xcodec2() -> Xcodec2Model:
    torch.manual_seed(0)
    semantic = Wav2Vec2BertConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        feature_projection_input_dim=160,
    )
    config = Xcodec2Config(
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        encoder_hidden_size=4,
        semantic_model_config=semantic,
        quantization_dim=48,
        quantization_levels=[4, 4, 4],
    )
    model = Xcodec2Model(config).eval()
    with torch.no_grad():
        # Fresh weights are so small that every frame would fall on the same levels.
        model.fc_encoder.weight.mul_(30)
        model.fc_encoder.bias.zero_()
        model.quantizer.project_in.weight.mul_(1000)
        model.quantizer.project_in.bias.zero_()
    return model


def test_xcodec2_has_one_codebook_of_level_products(xcodec2):
    extractor = AudioFormerFeatureExtractor(codec=xcodec2)
    assert (extractor.sampling_rate, extractor.codebook_size, extractor.hop_length) == (16000, 64, 320)
    with pytest.raises(ValueError, match="contains 1, but the codec has the codebooks 0 to 0"):
        AudioFormerFeatureExtractor(codec=xcodec2, codebooks=1)


def test_xcodec2_codes_are_those_of_its_own_encode(xcodec2, monkeypatch):
    """Its extractor needs torchaudio, which may be missing, so a stand-in makes a spectrogram of the same shape."""

    def prepare(waveform, sampling_rate, return_tensors):
        padded = np.pad(waveform, (0, 1))
        padded = torch.from_numpy(np.pad(padded, (0, -len(padded) % 320))).float()
        frames = len(padded) // 320
        features = padded.reshape(1, frames, 320)[..., ::2] * 30
        masks = {"padding_mask": torch.ones(1, 1, len(padded)), "input_features_mask": torch.ones(1, frames)}
        return {"input_values": padded[None, None], "input_features": features, **masks}

    monkeypatch.setattr(ClipwiseCodec, "_xcodec2_features", lambda self, clip: prepare(clip, 16000, "pt"))
    clips = [make_clip(8000), make_clip(3000)]
    ids = AudioFormerFeatureExtractor(codec=xcodec2)(clips, sampling_rate=16000, padding=False)["input_ids"]
    for clip, got in zip(clips, ids, strict=True):
        with torch.no_grad():
            expected = xcodec2.encode(**prepare(clip, 16000, "pt")).audio_codes[0, 0]
        assert got[1:-1].tolist() == (expected + 3).tolist() and len(expected) == len(clip) // 320 + 1
    assert len(set(ids[0].tolist())) > 5


@pytest.mark.skipif(is_torchaudio_available(), reason="torchaudio is there")
def test_xcodec2_says_what_it_needs(xcodec2):
    with pytest.raises(ImportError, match="torchaudio"):
        AudioFormerFeatureExtractor(codec=xcodec2)(make_clip(8000), sampling_rate=16000)
