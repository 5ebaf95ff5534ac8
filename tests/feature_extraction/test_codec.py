"""Which codecs are refused, and with what reason."""

import copy
import hashlib

import pytest
import torch
from transformers import EncodecConfig, EncodecModel

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import accepted_fingerprints, codec_fingerprint

from .common import make_clip, make_codec


def test_untrained_codebooks():
    with pytest.raises(ValueError, match="Codebook 0 of the codec is all zeros"):
        AudioFormerFeatureExtractor(codec=EncodecModel(EncodecConfig(num_filters=2)))


def test_untrained_later_codebook_matters_only_if_used():
    codec = make_codec(num_filters=2)
    codec.quantizer.layers[1].codebook.embed.zero_()
    AudioFormerFeatureExtractor(codec=codec, codebooks=0)
    with pytest.raises(ValueError, match="Codebook 1 of the codec is all zeros"):
        AudioFormerFeatureExtractor(codec=codec, codebooks=[2])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"sampling_rate": 16000}, "works at 16000 Hz, the extractor at 24000 Hz"),
        ({"codebook_size": 512}, "512 entries per codebook, but 1024 are expected"),
        ({"use_causal_conv": False}, "use_causal_conv=False"),
        ({"norm_type": "time_group_norm"}, "norm_type='time_group_norm'"),
        ({"pad_mode": "constant"}, "pad_mode='constant'"),
        ({"chunk_length_s": 1.0, "overlap": 0.01}, "chunk_length_s=1.0"),
        ({"normalize": True}, "normalize=True"),
        ({"audio_channels": 2}, "audio_channels=2"),
        ({"target_bandwidths": [1.5, 6.0]}, "no bandwidth of 3.0 kb/s, only 1.5, 6.0"),
    ],
)
def test_codecs_that_do_not_fit(config, message):
    with pytest.raises(ValueError, match=message):
        AudioFormerFeatureExtractor(codec=EncodecModel(EncodecConfig(num_filters=2, **config)))


def test_codebooks_that_the_bandwidth_lacks(codec):
    with pytest.raises(ValueError, match="contains 4, but at 3.0 kb/s the codec has the codebooks 0 to 3"):
        AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 4])
    AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 4], bandwidth=6.0)
    with pytest.raises(ValueError, match="no bandwidth of 2.0 kb/s"):
        AudioFormerFeatureExtractor(codec=codec, bandwidth=2.0)


@pytest.mark.parametrize("codebooks", [-1, [], [0, 0], [0, -2], 0.5, "0", [True], None])
def test_invalid_codebooks(codec, codebooks):
    with pytest.raises(ValueError, match="`codebooks` must be a codebook index of at least 0"):
        AudioFormerFeatureExtractor(codec=codec, codebooks=codebooks)


@pytest.mark.parametrize("codec", ["/no/such/folder", "./no/such", "a/b/c", ""])
def test_folders_that_do_not_exist(codec):
    with pytest.raises(ValueError, match="does not exist"):
        AudioFormerFeatureExtractor(codec=codec)


def test_models_that_are_not_codecs():
    with pytest.raises(ValueError, match="Hub id, a local folder or a loaded `EncodecModel`, got Linear"):
        AudioFormerFeatureExtractor(codec=torch.nn.Linear(1, 1))


def test_folder_that_lost_its_files(tmp_path):
    (tmp_path / "codec").mkdir()
    extractor = AudioFormerFeatureExtractor(codec=tmp_path / "codec")
    with pytest.raises(ValueError, match="There is no codec in"):
        extractor(make_clip(10), sampling_rate=24000)


def test_local_codec_is_checked_when_it_is_loaded(tmp_path):
    make_codec(num_filters=2, target_bandwidths=[3.0]).save_pretrained(tmp_path)
    extractor = AudioFormerFeatureExtractor(codec=tmp_path, bandwidth=6.0)
    with pytest.raises(ValueError, match="no bandwidth of 6.0 kb/s"):
        extractor(make_clip(10), sampling_rate=24000)


def test_codec_in_half_precision_runs_in_single(codec, tmp_path):
    make_codec().half().save_pretrained(tmp_path)
    extractor = AudioFormerFeatureExtractor(codec=tmp_path)
    assert extractor.codec.dtype == torch.float32
    assert extractor(make_clip(1000), sampling_rate=24000)["input_ids"].shape == (1, 6)


def test_fingerprints_depend_on_nothing_but_codes(codec, tmp_path, monkeypatch):
    before = codec_fingerprint(codec)
    codec.save_pretrained(tmp_path)
    # Earlier versions hashed the whole configuration, to which saving adds the name of the class.
    accepted = accepted_fingerprints(codec)
    assert codec_fingerprint(EncodecModel.from_pretrained(tmp_path)) == before
    monkeypatch.setattr("transformers.configuration_utils.__version__", "99.0.0")
    assert codec_fingerprint(codec) == before
    assert set(accepted) <= set(accepted_fingerprints(codec)), "what was stored before the upgrade"


def test_fingerprints_tell_settings_that_change_codes(codec):
    other = copy.deepcopy(codec)
    other.config.pad_mode = "constant"
    assert codec_fingerprint(other) != codec_fingerprint(codec)
    other = copy.deepcopy(codec)
    other.config.trim_right_ratio = 0.5
    assert codec_fingerprint(other) == codec_fingerprint(codec)


def test_fingerprints_of_earlier_versions_are_accepted(codec):
    digest = hashlib.sha256(codec.config.to_json_string().encode())
    for name, tensor in sorted(codec.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
    assert digest.hexdigest() in accepted_fingerprints(codec)
