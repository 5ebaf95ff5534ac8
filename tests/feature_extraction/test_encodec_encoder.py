"""The folded encoder against `EncodecModel.encode`, clip by clip."""

import itertools

import numpy as np
import pytest
import torch

from audioformer.feature_extraction.encodec_encoder import FoldedEncodecEncoder

from .common import assert_same_codes, make_clip, make_codec, reference_codes

# Around 0, one hop, the lengths that `EncodecModel` extends by zeros, and one second. Some leave partial frames at
# every stride.
LENGTHS = [1, 2, 7, 8, 39, 40, 41, 319, 320, 321, 640, 641, 1900, 2240, 2559, 2561, 23999, 24000, 24001, 50123]


@pytest.fixture(scope="module")
def encoder(codec):
    return FoldedEncodecEncoder(codec, 4)


def test_one_by_one(codec, encoder):
    clips = [make_clip(length) for length in LENGTHS]
    assert_same_codes(codec, clips, [encoder.encode([clip])[0] for clip in clips])


def test_the_reference_codes_vary_between_frames(codec):
    codes = reference_codes(codec, make_clip(50123))
    assert all(len(np.unique(codes[:, codebook])) > 30 for codebook in range(4))


@pytest.mark.parametrize("order", ["given", "reversed", "shuffled"])
@pytest.mark.parametrize("micro_batch_size", [1, 3, 64])
def test_batches_of_unequal_lengths(codec, encoder, order, micro_batch_size, monkeypatch):
    monkeypatch.setattr(encoder, "micro_batch_size", micro_batch_size)
    clips = [make_clip(length, seed=1) for length in LENGTHS]
    if order == "reversed":
        clips.reverse()
    elif order == "shuffled":
        clips = [clips[i] for i in np.random.default_rng(0).permutation(len(clips))]
    assert_same_codes(codec, clips, encoder.encode(clips))


def test_every_order_of_a_few(codec, encoder, monkeypatch):
    monkeypatch.setattr(encoder, "micro_batch_size", 2)
    clips = [make_clip(length, seed=2) for length in (1, 321, 5000, 9613)]
    for order in itertools.permutations(clips):
        assert_same_codes(codec, list(order), encoder.encode(order))


@pytest.mark.parametrize("segment_frames", [7, 10, 75])
def test_segments_leave_no_trace(codec, encoder, segment_frames, monkeypatch):
    """Clips end just before, at and just after a segment boundary; groups end inside the list."""
    monkeypatch.setattr(encoder, "segment_frames", segment_frames)
    monkeypatch.setattr(encoder, "group_size", 3)
    monkeypatch.setattr(encoder, "micro_batch_size", 2)
    border = 2 * segment_frames * 320
    clips = [make_clip(border + extra, seed=3) for extra in (-321, -1, 0, 1, 319, 320, 641)] + [make_clip(100)]
    assert_same_codes(codec, clips, encoder.encode(clips))


def test_partial_frame_is_reflected_not_zero_padded(codec, encoder):
    """Zero padding must change codes here, or the tests of batches would prove nothing."""
    changed = 0
    for seed in range(20):
        clip = make_clip(3200 + 37, seed=seed)
        zero_padded = np.pad(clip, (0, 320 - 37))
        changed += (encoder.encode([clip])[0] != encoder.encode([zero_padded])[0]).any(axis=1)[-1]
    assert changed > 5


def test_full_width_on_ten_seconds():
    codec = make_codec(num_filters=32)
    clips = [make_clip(length, seed=4) for length in (240000, 240000 + 77, 48000)]
    assert_same_codes(codec, clips, FoldedEncodecEncoder(codec, 4).encode(clips))


@pytest.mark.parametrize(
    "config",
    [
        {"num_residual_layers": 2},
        {"use_conv_shortcut": False, "num_lstm_layers": 1},
        {"upsampling_ratios": [8, 8, 5], "kernel_size": 5, "last_kernel_size": 3},
    ],
)
def test_other_shapes_of_codec(config):
    codec = make_codec(seed=5, **config)
    encoder = FoldedEncodecEncoder(codec, 2)
    encoder.segment_frames = 20
    clips = [make_clip(length, seed=5) for length in (1, 25, 333, 4321, 20001)]
    assert_same_codes(codec, clips, encoder.encode(clips))


def test_the_first_codebooks_are_searched(codec, encoder):
    clip = make_clip(10000)
    np.testing.assert_array_equal(FoldedEncodecEncoder(codec, 2).encode([clip])[0], encoder.encode([clip])[0][:, :2])


def test_codec_is_not_changed(codec):
    before = {name: tensor.clone() for name, tensor in codec.state_dict().items()}
    FoldedEncodecEncoder(codec, 4).encode([make_clip(1000)])
    assert all(torch.equal(before[name], tensor) for name, tensor in codec.state_dict().items())
    assert all(parameter.requires_grad for parameter in codec.parameters())


def test_encoding_leaves_the_encoder_as_it_was(codec):
    """Sums are computed in place; a view of a bias among them would corrupt all later codes."""
    encoder = FoldedEncodecEncoder(codec, 4)
    encoder.segment_frames = 10
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    for samples in (1, 320, 11 * 320, 10 * 320 + 1, 9613):
        encoder.encode([make_clip(samples)])
    changed = [name for name, tensor in encoder.state_dict().items() if not torch.equal(tensor, before[name])]
    assert changed == []


def test_surroundings_do_not_change_codes(codec, encoder):
    clip = make_clip(24000)
    expected = encoder.encode([clip])[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(encoder.encode([clip])[0], expected)
    with torch.enable_grad():
        np.testing.assert_array_equal(encoder.encode([clip])[0], expected)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu(codec):
    encoder = FoldedEncodecEncoder(codec, 4, "cuda")
    clips = [make_clip(length) for length in [*LENGTHS, 24000 * 25 + 7]]
    assert_same_codes(codec, clips, encoder.encode(clips))
