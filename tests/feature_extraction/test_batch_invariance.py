"""A clip has the same codes, bit for bit, alone and in any batch, and they are those of exact arithmetic."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.feature_extraction import AudioFormerFeatureExtractor, encodec_encoder
from audioformer.feature_extraction.encodec_encoder import FoldedEncodecEncoder
from audioformer.feature_extraction.matrix_products import add_product, full_precision
from audioformer.feature_extraction.residual_quantizer import ResidualQuantizer

from .common import make_clip, make_codec

LENGTHS = st.lists(st.integers(1, 9000), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def wide_codec():
    """Wide enough for sums that libraries cut into parts, at places that depend on the number of rows."""
    return make_codec(num_filters=32, upsampling_ratios=[16, 4])


@given(lengths=LENGTHS, seed=st.integers(0, 5), group=st.integers(1, 6), micro=st.integers(1, 4), data=st.data())
@settings(derandomize=True, deadline=None, max_examples=12)
def test_features_have_the_same_bits_in_every_batch(wide_codec, lengths, seed, group, micro, data):
    """Codes hide small differences: what is quantized is compared, too."""
    clips = [make_clip(length, seed) for length in lengths]
    encoder = FoldedEncodecEncoder(wide_codec, 2)
    quantized: list[torch.Tensor] = []
    quantize = encoder.quantizer.forward
    encoder.quantizer.forward = lambda vectors: quantized.append(vectors) or quantize(vectors)
    encoder.segment_frames = data.draw(st.integers(7, 150))
    alone = [encoder.encode([clip])[0] for clip in clips]
    vectors = torch.cat(quantized)
    for clip, codes, length in zip(clips, alone, lengths, strict=True):
        assert len(codes) == -(-length // encoder.hop_length), len(clip)
    quantized.clear()
    encoder.segment_frames = data.draw(st.integers(7, 150))
    encoder.group_size, encoder.micro_batch_size = group, micro
    for codes, expected in zip(encoder.encode(clips), alone, strict=True):
        np.testing.assert_array_equal(codes, expected)
    # Segments of several clips take turns, so rows are compared as sets.
    batched = torch.cat(quantized)
    assert sorted(map(bytes, batched.numpy())) == sorted(map(bytes, vectors.numpy()))


def test_tiles_leave_no_trace(wide_codec, monkeypatch):
    """A clip that fits into one tile, cut into tiles as short as they get."""
    clips = [make_clip(length) for length in (9000, 4001, 64)]
    encoder = FoldedEncodecEncoder(wide_codec, 2)
    expected = encoder.encode(clips)
    counts = []
    tiles = encodec_encoder._tiles

    def count(hidden_states, min_steps=1):
        found = tiles(hidden_states, min_steps)
        counts.append(len(found))
        return found

    monkeypatch.setattr(encodec_encoder, "_tiles", count)
    monkeypatch.setattr(encodec_encoder, "TILE_ELEMENTS", 1)
    for codes, clip_codes in zip(encoder.encode(clips), expected, strict=True):
        np.testing.assert_array_equal(codes, clip_codes)
    assert max(counts) >= 3000


@given(lengths=LENGTHS, size=st.integers(1, 6))
@settings(derandomize=True, deadline=None, max_examples=8)
def test_the_extractor_gives_the_same_ids_in_every_batch(codec, lengths, size):
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1, 2, 3])
    clips = [make_clip(length) for length in lengths]
    alone = [extractor.encode(clip, 24000)[0] for clip in clips]
    batched = [codes for i in range(0, len(clips), size) for codes in extractor.encode(clips[i : i + size], 24000)]
    for codes, expected in zip(batched, alone, strict=True):
        np.testing.assert_array_equal(codes, expected)


def test_codes_are_as_often_exact_as_those_of_the_model_itself():
    """Entries far from zero that lie close together: squares of norms must not cancel."""
    codec = make_codec()
    with torch.no_grad():
        codec.encoder.layers[-1].conv.bias += 5
        codec.quantizer.layers[0].codebook.embed += 5
    exact = copy.deepcopy(codec).double()
    clips = [make_clip(24000, seed) for seed in range(4)]
    ours, theirs = 0, 0
    for clip, codes in zip(clips, FoldedEncodecEncoder(codec, 4).encode(clips), strict=True):
        waveform = torch.from_numpy(clip)[None, None]
        with torch.no_grad():
            expected = exact.encode(waveform.double(), bandwidth=3.0).audio_codes[0, 0].T.numpy()
            upstream = codec.encode(waveform, bandwidth=3.0).audio_codes[0, 0].T.numpy()
        ours, theirs = ours + (codes != expected).sum(), theirs + (upstream != expected).sum()
    assert ours <= theirs


@given(seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 4.0, 100.0]), size=st.sampled_from([4, 16, 64]))
@settings(derandomize=True, deadline=None, max_examples=20)
def test_the_quantizer_finds_the_nearest_entry(seed, offset, size):
    generator = torch.Generator().manual_seed(seed)
    entries = torch.randn(1, 128, size, generator=generator) * 0.01 + offset
    entries[0, 100] = entries[0, 7]
    vectors = torch.randn(50, size, generator=generator) * 0.01 + offset
    vectors[0] = entries[0, 100]
    distances = (vectors[:, None].double() - entries[0].double()).pow(2).sum(-1)
    codes = ResidualQuantizer(entries)(vectors)[:, 0]
    assert torch.equal(codes, distances.argmin(-1))
    assert codes[0] == 7


def test_a_codebook_of_equal_entries_gives_the_first():
    """As those of a codec that was never trained; comparing all of them exactly would take a hundred times as long."""
    quantizer = ResidualQuantizer(torch.zeros(2, 16, 4))
    assert quantizer.half_norms.isinf().sum(-1).tolist() == [15, 15]
    assert torch.equal(quantizer(torch.randn(5, 4)), torch.zeros(5, 2, dtype=torch.int64))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_vectors_that_are_not_finite_have_no_codes(value):
    vectors = torch.zeros(5, 4)
    vectors[3, 2] = value
    with pytest.raises(ValueError, match="weights are broken"):
        ResidualQuantizer(torch.randn(2, 16, 4))(vectors)


SIZES = [(7, 256), (8, 8), (64, 64), (512, 256), (512, 512), (1024, 256), (2048, 256)]


@pytest.mark.parametrize("inner, outer", SIZES)
@pytest.mark.parametrize("batch_size", [1, 4])
def test_rows_of_a_product_do_not_depend_on_other_rows(batch_size, inner, outer):
    left, right = torch.randn(batch_size, 400, inner), torch.randn(batch_size, inner, outer)
    whole = torch.zeros(batch_size, 400, outer)
    add_product(whole, left, right)
    torch.testing.assert_close(whole, left @ right, rtol=1e-4, atol=1e-3)
    for first, last in [(0, 1), (5, 7), (8, 16), (3, 20), (100, 260), (399, 400)]:
        part = torch.zeros(batch_size, last - first, outer)
        add_product(part, left[:, first:last], right)
        assert torch.equal(part, whole[:, first:last])


@pytest.mark.parametrize("precision", ["none", "tf32", "ieee"])
def test_full_precision_leaves_cudnn_on_and_settings_as_they_were(precision):
    operations = [(b, o) for b in ("mkldnn", "cuda") for o in ("matmul", "conv", "rnn")]

    def state():
        return [torch._C._get_fp32_precision_getter(*operation) for operation in operations]

    before, enabled = torch.backends.fp32_precision, torch.backends.cudnn.enabled
    try:
        # What `transformers.utils.enable_tf32` sets; the older switches raise an error from then on.
        torch.backends.fp32_precision = precision
        expected = state()
        with warnings.catch_warnings():
            # Where there is no GPU, `autocast` for one warns.
            warnings.simplefilter("ignore")
            with full_precision(torch.device("cuda")):
                assert state() == ["ieee"] * len(operations)
                assert torch.backends.cudnn.enabled == enabled
        assert state() == expected
        with full_precision(torch.device("cpu")):
            assert state()[0] == "ieee"
        assert state() == expected
    finally:
        torch.backends.fp32_precision = before
