"""Comparison of exported ONNX files with PyTorch, in onnxruntime on the CPU: results and speed."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import EncodecModel

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.level import normalize_rms
from audioformer.feature_extraction.token_ids import CODE_OFFSET
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MAX_LOGIT_DIFFERENCE = 1e-4
"""Largest allowed difference between a logit and PyTorch's."""

MAX_SHARE_OF_FRAMES = 0.001
"""Largest allowed share of frames with other codes: where two codebook entries tie, rounding decides."""

RUNS = 5
"""Number of timed runs per candidate."""

_ID_SHAPES = [(1, 3), (2, 17), (3, 200), (1, 752), (2, 1000)]
_FRAMES = [(1, 0.001), (2, 0.9), (1, 1.0), (3, 5.1), (2, 40.0), (4, 500.3), (1, 1000.0)]


@dataclass(frozen=True)
class OnnxCheck:
    """Result of the comparison with PyTorch.

    Args:
        passed (`bool`): Whether the differences are within the limits.
        finding (`str`): What was compared, what was found and what is allowed, in one line.
    """

    passed: bool
    finding: str


def open_session(file: Path) -> "InferenceSession":
    """Open a file in onnxruntime, on the CPU, with as many threads as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def check_logits(session: "InferenceSession", model: AudioFormerForAudioClassification) -> OnnxCheck:
    """Compare the logits of random codes, in batches of several sizes and lengths, with padding.

    Args:
        session (`InferenceSession`): The exported classifier.
        model (`AudioFormerForAudioClassification`): The classifier, in float32 on the CPU, in evaluation mode.

    Returns:
        `OnnxCheck`: Passed if no logit differs by more than `MAX_LOGIT_DIFFERENCE`.
    """
    worst = 0.0
    for seed, shape in enumerate(_ID_SHAPES):
        inputs = random_ids(model.config, *shape, seed)
        expected = model(**inputs).logits.numpy()
        (got,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})
        if got.shape != expected.shape:
            return OnnxCheck(False, f"logits have the shape {got.shape}, PyTorch's have {expected.shape}")
        # `np.maximum` keeps a NaN, which then fails the comparison with the limit.
        worst = np.maximum(worst, np.abs(got - expected).max())
    finding = f"logits within {worst:.1e} of PyTorch's in {len(_ID_SHAPES)} batches (allowed: {MAX_LOGIT_DIFFERENCE})"
    return OnnxCheck(bool(worst <= MAX_LOGIT_DIFFERENCE), finding)


@torch.no_grad()
def check_codes(session: "InferenceSession", extractor: AudioFormerFeatureExtractor) -> OnnxCheck:
    """Compare the codes of synthetic sounds with those of `EncodecModel.encode`, from one sample to 1,000 frames.

    Where the extractor normalizes the level, `EncodecModel` gets the waveforms that the extractor gives it, and the
    file those that the extractor gets.

    Args:
        session (`InferenceSession`): The exported encoder.
        extractor (`AudioFormerFeatureExtractor`): Its codec is an `EncodecModel`; its codebooks are compared.

    Returns:
        `OnnxCheck`: Passed if no more than `MAX_SHARE_OF_FRAMES` of the frames have other codes.
    """
    codebooks = np.atleast_1d(extractor.codebooks)
    frames = different = 0
    for batch_size, num_frames in _FRAMES:
        waveform = some_sound(batch_size, max(1, round(num_frames * extractor.hop_length)))
        expected = reference_codes(extractor.codec, at_level_of(extractor, waveform), extractor.bandwidth)
        expected = expected[:, :, codebooks]
        (got,) = session.run(["codes"], {"waveform": waveform})
        if got.shape != expected.shape:
            return OnnxCheck(False, f"codes have the shape {got.shape}, PyTorch's have {expected.shape}")
        different += int((got != expected).any(axis=-1).sum())
        frames += expected.shape[0] * expected.shape[1]
    finding = (
        f"codes equal to PyTorch's in {frames - different} of {frames} frames in {len(_FRAMES)} batches (allowed: "
        f"{MAX_SHARE_OF_FRAMES:.1%} different)"
    )
    return OnnxCheck(different <= frames * MAX_SHARE_OF_FRAMES, finding)


def at_level_of(extractor: AudioFormerFeatureExtractor, waveforms: np.ndarray) -> np.ndarray:
    """Waveforms of shape `(batch_size, num_samples)` at the level that an extractor gives each of them."""
    if extractor.normalize is None:
        return waveforms
    return np.stack([normalize_rms(waveform, extractor.target_rms, extractor.min_rms) for waveform in waveforms])


def reference_codes(codec: EncodecModel, waveform: np.ndarray, bandwidth: float) -> np.ndarray:
    """Encode clips with `EncodecModel.encode`.

    Args:
        codec (`EncodecModel`): The codec.
        waveform (`np.ndarray` of shape `(batch_size, num_samples)`): Clips, float32, at the codec's rate.
        bandwidth (`float`): Bandwidth in kb/s.

    Returns:
        `np.ndarray` of shape `(batch_size, num_frames, num_codebooks)`, int64.
    """
    codes, *_ = codec.encode(torch.from_numpy(waveform)[:, None], bandwidth=bandwidth, return_dict=False)
    # The codec is not chunked, so there is one chunk.
    return codes[0].transpose(1, 2).numpy()


def random_ids(
    config: AudioFormerConfig, batch_size: int, sequence_length: int, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Make random inputs; in a batch of several clips, the last third of the last clip is padding.

    Args:
        config (`AudioFormerConfig`): Of the model that reads them.
        batch_size (`int`): Number of clips.
        sequence_length (`int`): Number of ids per clip, BOA and EOA included.
        seed (`int`, defaults to 0): Seed of the codes.

    Returns:
        `dict`: `input_ids` and `attention_mask`, both int64 of shape `(batch_size, sequence_length)`; `input_ids` of
        shape `(batch_size, sequence_length, num_codebooks)` for a model of several codebooks.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = (batch_size, sequence_length) + ((config.num_codebooks,) if config.num_codebooks > 1 else ())
    ids = torch.randint(CODE_OFFSET, CODE_OFFSET + config.codebook_size, shape, generator=generator)
    ids[:, 0], ids[:, -1] = config.boa_token_id, config.eoa_token_id
    mask = torch.ones(batch_size, sequence_length, dtype=torch.int64)
    if batch_size > 1:
        end = sequence_length - sequence_length // 3
        ids[-1, end - 1], ids[-1, end:], mask[-1, end:] = config.eoa_token_id, config.pad_token_id, 0
    return {"input_ids": ids, "attention_mask": mask}


def some_sound(batch_size: int, num_samples: int) -> np.ndarray:
    """Make clips of sweeps, noise and knocks, loud and soft; each clip starts at another point of the same sound.

    Args:
        batch_size (`int`): Number of clips.
        num_samples (`int`): Samples per clip; the sound repeats after 12 s at 24 kHz.

    Returns:
        `np.ndarray` of shape `(batch_size, num_samples)`, float32.
    """
    rng = np.random.default_rng(0)
    steps = np.arange(48_000)
    # From 0.001 to 0.4 cycles per sample: 24 Hz to 9.6 kHz at a rate of 24 kHz.
    sweep = np.sin(2 * np.pi * np.geomspace(0.001, 0.4, len(steps)).cumsum())
    noise = rng.standard_normal(len(steps))
    knocks = np.exp(-(steps % 6_000) / 800) * np.sin(2 * np.pi * 0.02 * steps)
    swell = np.linspace(0.01, 0.3, len(steps))
    sound = np.concatenate(
        [0.5 * sweep, swell * noise, 0.4 * knocks, 0.05 * sweep[::-1], 0.2 * sweep + 0.02 * noise, knocks * noise]
    ).astype(np.float32)
    starts = np.arange(batch_size) * 61_001
    return sound[(starts[:, None] + np.arange(num_samples)) % len(sound)]


def median_seconds(candidates: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median time in seconds of `RUNS` calls per candidate, taken in turns after one untimed call each."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(RUNS + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
