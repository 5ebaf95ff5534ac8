"""Vectors of codes are those that the codec's decoder gets, whatever the codec."""

import pytest
import torch

from audioformer.feature_extraction.code_vectors import code_vectors

from .common import make_codec, make_dac, make_mimi
from .test_audio_tokenizers import xcodec2  # noqa: F401  (a fixture)


@pytest.mark.parametrize("codebook", [0, 2])
def test_those_of_encodec_are_its_entries(codebook):
    codec = make_codec(num_filters=2, hidden_size=16, target_bandwidths=[3.0])
    entries = codec.quantizer.layers[codebook].codebook.embed
    torch.testing.assert_close(code_vectors(codec, codebook, 1024), entries - entries.mean(0))


@pytest.mark.parametrize("codebook", [0, 1, 3])
def test_those_of_mimi_are_its_entries_behind_the_projection(codebook):
    """Its first codebook is a quantizer of its own, the others are another."""
    codec = make_mimi()
    split = codec.quantizer
    part, index = (
        (split.semantic_residual_vector_quantizer, codebook)
        if codebook < split.num_semantic_quantizers
        else (split.acoustic_residual_vector_quantizer, codebook - split.num_semantic_quantizers)
    )
    with torch.no_grad():
        for layer in (
            *split.semantic_residual_vector_quantizer.layers,
            *split.acoustic_residual_vector_quantizer.layers,
        ):
            layer.codebook.embed_sum.normal_()
            layer.codebook._embed = None
        entries = part.output_proj(part.layers[index].codebook.embed.T[None])[0].T
    found = code_vectors(codec, codebook, codec.config.codebook_size)
    torch.testing.assert_close(found, entries - entries.mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("codebook", [0, 2])
def test_those_of_dac_are_its_entries_behind_the_projection(codebook):
    codec = make_dac()
    quantizer = codec.quantizer.quantizers[codebook]
    with torch.no_grad():
        entries = quantizer.out_proj(quantizer.codebook.weight.T[None])[0].T
    torch.testing.assert_close(code_vectors(codec, codebook, 64), entries - entries.mean(0), rtol=1e-4, atol=1e-5)


def test_those_of_xcodec2_are_its_levels_behind_the_projection(xcodec2):  # noqa: F811
    quantizer = xcodec2.quantizer
    with torch.no_grad():
        entries = quantizer.project_out(quantizer.quantizer.codebook)
    found = code_vectors(xcodec2, 0, len(entries))
    torch.testing.assert_close(found, entries - entries.mean(0), rtol=1e-4, atol=1e-5)
