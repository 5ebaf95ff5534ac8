"""Whether an ONNX file computes what PyTorch does, and how fast it is, in onnxruntime on the CPU."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from transformers import EncodecModel

from audioformer.data.synthetic import synthesize_sound_events
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.token_ids import CODE_OFFSET
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MAX_LOGIT_DIFFERENCE = 1e-4
"""Most by which a logit may differ from PyTorch's."""

MAX_SHARE_OF_FRAMES = 0.001
"""Most frames that may have another code, as a share: where two entries tie, rounding decides."""

RUNS = 5
"""Timed runs of each candidate."""

_ID_SHAPES = [(1, 3), (2, 17), (3, 200), (1, 752), (2, 1000)]
_FRAMES = [(1, 0.001), (2, 0.9), (1, 1.0), (3, 5.1), (2, 40.0), (4, 500.3), (1, 1000.0)]


@dataclass(frozen=True)
class OnnxCheck:
    """What the comparison with PyTorch found.

    Args:
        passed (`bool`): Whether the file may be used.
        finding (`str`): What was compared, what was found and what is allowed, in one line.
    """

    passed: bool
    finding: str


def open_session(file: Path) -> "InferenceSession":
    """The file in onnxruntime, on the CPU, with as many threads as torch uses."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def check_logits(session: "InferenceSession", model: AudioFormerForAudioClassification) -> OnnxCheck:
    """Compare the logits of random codes: batches of several sizes and lengths, the last clip of each padded.

    Args:
        session (`InferenceSession`): The exported classifier.
        model (`AudioFormerForAudioClassification`): The classifier, in float32 on the CPU, in evaluation mode.
    """
    worst = 0.0
    for seed, shape in enumerate(_ID_SHAPES):
        inputs = random_ids(model.config, *shape, seed)
        expected = model(**inputs).logits.numpy()
        (got,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})
        if got.shape != expected.shape:
            return OnnxCheck(False, f"logits of shape {got.shape}, PyTorch gives {expected.shape}")
        # A difference that is not a number stays one, and is then not within the limit.
        worst = np.maximum(worst, np.abs(got - expected).max())
    finding = f"logits within {worst:.1e} of PyTorch's in {len(_ID_SHAPES)} batches (allowed: {MAX_LOGIT_DIFFERENCE})"
    return OnnxCheck(bool(worst <= MAX_LOGIT_DIFFERENCE), finding)


@torch.no_grad()
def check_codes(session: "InferenceSession", extractor: AudioFormerFeatureExtractor) -> OnnxCheck:
    """Compare the codes of synthetic sounds with those of `EncodecModel.encode`, from one sample to 1,000 frames.

    Args:
        session (`InferenceSession`): The exported encoder.
        extractor (`AudioFormerFeatureExtractor`): Its codec is an `EncodecModel`; its rows are compared.
    """
    rows = np.atleast_1d(extractor.codebooks)
    frames = different = 0
    for batch_size, num_frames in _FRAMES:
        waveform = some_sound(batch_size, max(1, round(num_frames * extractor.hop_length)))
        expected = reference_codes(extractor.codec, waveform, extractor.bandwidth)[:, :, rows]
        (got,) = session.run(["codes"], {"waveform": waveform})
        if got.shape != expected.shape:
            return OnnxCheck(False, f"codes of shape {got.shape}, PyTorch gives {expected.shape}")
        different += int((got != expected).any(axis=-1).sum())
        frames += expected.shape[0] * expected.shape[1]
    finding = (
        f"codes equal to PyTorch's in {frames - different} of {frames} frames in {len(_FRAMES)} batches (allowed: "
        f"{MAX_SHARE_OF_FRAMES:.1%} others)"
    )
    return OnnxCheck(different <= frames * MAX_SHARE_OF_FRAMES, finding)


def reference_codes(codec: EncodecModel, waveform: np.ndarray, bandwidth: float) -> np.ndarray:
    """Codes `(batch, frames, rows)` of clips `(batch, samples)` as transformers itself computes them."""
    output = codec.encode(torch.from_numpy(waveform)[:, None], bandwidth=bandwidth)
    return output.audio_codes[0].transpose(1, 2).numpy()


def random_ids(config, batch_size: int, length: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """`input_ids` and `attention_mask` of shape `(batch_size, length)`; a third of the last of several is padding."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(CODE_OFFSET, CODE_OFFSET + config.codebook_size, (batch_size, length), generator=generator)
    ids[:, 0], ids[:, -1] = config.boa_token_id, config.eoa_token_id
    mask = torch.ones_like(ids)
    if batch_size > 1:
        end = length - length // 3
        ids[-1, end - 1], ids[-1, end:], mask[-1, end:] = config.eoa_token_id, config.pad_token_id, 0
    return {"input_ids": ids, "attention_mask": mask}


def some_sound(batch_size: int, samples: int) -> np.ndarray:
    """Synthetic sounds of all kinds, float32 of shape `(batch_size, samples)`, each clip from another place on."""
    sound = np.concatenate([clip.waveform for clip in synthesize_sound_events(clips_per_class=1)])
    starts = np.arange(batch_size) * 61001
    return sound[(starts[:, None] + np.arange(samples)) % len(sound)]


def median_seconds(candidates: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median time of `RUNS` calls of each candidate, in turns, after one that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(RUNS + 1):
        for name, candidate in candidates.items():
            start = time.perf_counter()
            candidate()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
