"""The module that is exported, run in PyTorch, against `EncodecModel.encode` for clips of all lengths."""

import numpy as np
import pytest
import torch

from audioformer.export.onnx_encoder import ExportableEncodecEncoder
from audioformer.feature_extraction.level import normalize_rms

from ..feature_extraction.common import assert_same_codes, make_clip, make_codec, reference_codes

# Just below and above what each convolution mirrors, whole and partial frames.
LENGTHS = [1, 2, 3, 4, 6, 7, 8, 9, 16, 39, 40, 41, 319, 320, 321, 640, 1919, 1921, 2240, 2241, 7000, 24000]


@pytest.mark.parametrize(
    "config", [{}, {"num_lstm_layers": 1, "use_conv_shortcut": False, "upsampling_ratios": [6, 5, 5, 2]}]
)
def test_codes_are_those_of_encodec(config):
    codec = make_codec(**config)
    encoder = ExportableEncodecEncoder(codec, range(3))
    for length in LENGTHS:
        clips = [make_clip(length, seed) for seed in range(2)]
        codes = encoder(torch.from_numpy(np.stack(clips)))
        assert codes.dtype == torch.int64
        assert_same_codes(codec, clips, list(codes.numpy()))


def test_codebooks_come_in_the_order_asked_for():
    codec, clip = make_codec(), make_clip(4000)
    codes = ExportableEncodecEncoder(codec, [2, 0])(torch.from_numpy(clip)[None])
    assert np.array_equal(codes[0].numpy(), reference_codes(codec, clip)[:, [2, 0]])


def test_the_codec_is_not_changed():
    codec, clip = make_codec(), make_clip(4000)
    before = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    expected = reference_codes(codec, clip)
    encoder = ExportableEncodecEncoder(codec, [0])
    with torch.no_grad():
        for tensor in encoder.state_dict().values():
            tensor.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in codec.state_dict().items())
    assert np.array_equal(reference_codes(codec, clip), expected)


@pytest.mark.parametrize("level", [0.0, 1e-6, 0.003, 0.5, 1000.0])
def test_waveforms_are_scaled_as_by_the_extractor(level):
    codec = make_codec()
    encoder = ExportableEncodecEncoder(codec, range(3), target_rms=0.1, min_rms=0.001)
    for length in (1, 319, 7000):
        clips = [np.float32(level) * make_clip(length, seed) for seed in range(2)]
        codes = encoder(torch.from_numpy(np.stack(clips)))
        assert_same_codes(codec, [normalize_rms(clip, 0.1, 0.001) for clip in clips], list(codes.numpy()))
