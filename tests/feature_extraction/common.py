"""Small codecs with filled codebooks, and `EncodecModel.encode` on single clips as the reference for all ids."""

import numpy as np
import torch
from transformers import DacConfig, DacModel, EncodecConfig, EncodecModel, MimiConfig, MimiModel

BANDWIDTH = 3.0


def make_codec(num_filters: int = 4, seed: int = 0, **config) -> EncodecModel:
    """A random codec whose codebooks cover its encoder's outputs, so that codes vary from frame to frame."""
    torch.manual_seed(seed)
    model = EncodecModel(EncodecConfig(num_filters=num_filters, **config)).eval()
    loudness = torch.linspace(0.01, 1.0, 24).view(24, 1, 1)
    with torch.no_grad():
        # With the initial biases all frames would be nearly equal, and rounding would decide their codes.
        for name, parameter in model.encoder.named_parameters():
            if "bias" in name:
                parameter *= 0.1
        residual = model.encoder(torch.randn(24, 1, 16000) * loudness).transpose(1, 2).flatten(0, 1)
        mean = residual.mean(0)
        model.encoder.layers[-1].conv.bias -= mean
        residual = residual - mean
        for layer in model.quantizer.layers:
            chosen = residual[torch.randint(len(residual), (model.config.codebook_size,))]
            # No two entries may be equal, because rounding would decide between them.
            layer.codebook.embed.copy_(chosen + 0.3 * residual.std(0) * torch.randn_like(chosen))
            residual = residual - layer.codebook.decode(layer.codebook.encode(residual))
    return model


def make_mimi() -> MimiModel:
    """A random Mimi of 12.5 frames per second and six codebooks of 256 entries."""
    torch.manual_seed(0)
    config = MimiConfig(
        num_filters=4,
        hidden_size=32,
        codebook_dim=16,
        codebook_size=256,
        vector_quantization_hidden_dimension=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        intermediate_size=32,
        num_quantizers=6,
        upsample_groups=32,
    )
    model = MimiModel(config).eval()
    for name, buffer in model.named_buffers():
        if name.endswith("embed_sum"):
            buffer.normal_()
    return model


def make_dac() -> DacModel:
    """A random DAC of 44.1 kHz, three rows of 64 entries."""
    torch.manual_seed(0)
    config = DacConfig(
        encoder_hidden_size=4,
        decoder_hidden_size=16,
        downsampling_ratios=[2, 4, 8, 8],
        n_codebooks=3,
        codebook_size=64,
        codebook_dim=4,
        sampling_rate=44100,
    )
    return DacModel(config).eval()


def make_clip(samples: int, seed: int = 0) -> np.ndarray:
    """Noise of changing loudness over a tone, float32."""
    generator = np.random.default_rng([seed, samples])
    time = np.arange(samples) / 24000
    envelope = 0.02 + 0.5 * np.abs(np.sin(2 * np.pi * (1 + seed % 3) * time))
    clip = envelope * generator.standard_normal(samples) + 0.2 * np.sin(2 * np.pi * (200 + 50 * seed) * time)
    return clip.astype(np.float32)


def reference_codes(model: EncodecModel, clip: np.ndarray, bandwidth: float = BANDWIDTH) -> np.ndarray:
    """Codes (frames, rows) of one clip by itself."""
    with torch.no_grad():
        output = model.encode(torch.from_numpy(clip)[None, None], bandwidth=bandwidth)
    return output.audio_codes[0, 0].T.numpy()


def assert_same_codes(model: EncodecModel, clips: list[np.ndarray], codes: list[np.ndarray]) -> None:
    """Codes must be the oracle's; under 0.1 % of frames may differ, and only where two entries tie to rounding."""
    different, frames = 0, 0
    for clip, got in zip(clips, codes, strict=True):
        expected = reference_codes(model, clip)[:, : got.shape[1]]
        assert got.shape == expected.shape, f"{len(clip)} samples: {got.shape} instead of {expected.shape}"
        frames += len(expected)
        for frame in np.flatnonzero((got != expected).any(axis=1)):
            different += 1
            assert _is_tie(model, clip, frame, got[frame], expected[frame]), f"{len(clip)} samples, frame {frame}"
    assert different <= frames / 1000, f"{different} of {frames} frames differ"


def _is_tie(model: EncodecModel, clip: np.ndarray, frame: int, got: np.ndarray, expected: np.ndarray) -> bool:
    with torch.no_grad():
        residual = model.encoder(torch.from_numpy(clip)[None, None])[0, :, frame]
    row = int(np.flatnonzero(got != expected)[0])
    for layer, code in zip(model.quantizer.layers, expected[:row], strict=False):
        residual = residual - layer.codebook.embed[code]
    entries = model.quantizer.layers[row].codebook.embed[[int(got[row]), int(expected[row])]]
    distances = (entries - residual).pow(2).sum(1)
    # The distance is a difference of squares upstream, so its rounding error is relative to these squares.
    scale = entries.pow(2).sum(1).max() + residual.pow(2).sum()
    return bool(abs(distances[0] - distances[1]) <= 3e-5 * scale)
