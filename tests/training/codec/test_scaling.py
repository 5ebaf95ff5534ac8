"""Scales of a codec's layers and outputs."""

import torch
from transformers import EncodecConfig, EncodecModel

from audioformer.training.codec.scaling import scale_layers, whiten


def small_codec() -> EncodecModel:
    torch.manual_seed(0)
    config = EncodecConfig(num_filters=2, hidden_size=8, num_lstm_layers=1, codebook_size=16, target_bandwidths=[1.2])
    return EncodecModel(config).eval()


def crops(batch_size: int = 16) -> torch.Tensor:
    return 0.01 * torch.randn(batch_size, 1, 4800, generator=torch.Generator().manual_seed(1))


def test_soft_sounds_come_through_a_scaled_encoder_and_decoder() -> None:
    codec, audio = small_codec(), crops()
    with torch.no_grad():
        assert codec.encoder(audio).std() < 0.5
        scale_layers(codec.encoder, audio)
        embeddings = codec.encoder(audio)
        torch.testing.assert_close(embeddings.std(), torch.tensor(1.0), rtol=0.01, atol=0)
        scale_layers(codec.decoder, embeddings, output_deviation=0.05)
        torch.testing.assert_close(codec.decoder(embeddings).std(), torch.tensor(0.05), rtol=0.01, atol=0)


def test_whitened_outputs_are_uncorrelated_and_hold_the_same() -> None:
    codec, audio = small_codec(), crops()
    with torch.no_grad():
        scale_layers(codec.encoder, audio)
        before = codec.encoder(audio).transpose(1, 2).flatten(0, 1)
        whiten(codec.encoder, before)
        after = codec.encoder(audio).transpose(1, 2).flatten(0, 1)
    torch.testing.assert_close(after.mean(dim=0), torch.zeros(8), rtol=0, atol=1e-3)
    torch.testing.assert_close(torch.cov(after.T), torch.eye(8), rtol=0, atol=1e-2)
    # An affine map, which can be undone: nothing that the encoder heard is lost.
    known = torch.cat([after, torch.ones(len(after), 1)], dim=1)
    recovered = known @ torch.linalg.lstsq(known, before).solution
    torch.testing.assert_close(recovered, before, rtol=0, atol=1e-3)


def test_a_direction_in_which_nothing_varies_is_not_amplified_without_bound() -> None:
    codec, audio = small_codec(), crops()
    with torch.no_grad():
        scale_layers(codec.encoder, audio)
        frames = codec.encoder(audio).transpose(1, 2).flatten(0, 1)
        whiten(codec.encoder, frames * torch.tensor([1.0] * 7 + [0.0]))
        assert codec.encoder(audio).isfinite().all()
