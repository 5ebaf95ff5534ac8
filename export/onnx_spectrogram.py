"""Export of classifiers that read spectrograms in patches, and of their filterbank, to ONNX."""

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from audioformer.feature_extraction import BeatsFeatureExtractor

from .onnx_check import MAX_LOGIT_DIFFERENCE, OnnxCheck, median_seconds, open_session, some_sound
from .onnx_export import TIMED_S, OnnxReport, float_copy, kept_if_checked, require, require_onnx, write_onnx

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

MAX_FEATURE_DIFFERENCE = 1e-4
"""Largest allowed difference between a value of a spectrogram and PyTorch's."""

_STEPS = [(1, 1), (2, 7), (3, 13), (1, 62), (2, 90)]
"""Batch sizes and numbers of patches in time that are compared."""

_SAMPLES = [(1, 2800), (2, 5377), (3, 16_000), (1, 160_000), (2, 40_001)]
"""Batch sizes and numbers of samples that are compared."""


class _Logits(nn.Module):
    """The classifier with exactly the inputs and the output of the file."""

    def __init__(self, classifier: Any):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.classifier(input_features=input_features, attention_mask=attention_mask).logits


class _Features(nn.Module):
    """The filterbank and its scaling; frames that do not fill a patch are left out, as the classifier's file needs."""

    def __init__(self, extractor: BeatsFeatureExtractor):
        super().__init__()
        self.filterbank = extractor.filterbank
        self.mean, self.std, self.patch_size = extractor.mean, extractor.std, extractor.patch_size

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        filterbank = self.filterbank
        num_frames = (waveform.shape[1] - filterbank.frame_length) // filterbank.hop_length + 1
        num_frames = num_frames // self.patch_size * self.patch_size
        starts = torch.arange(num_frames, device=waveform.device) * filterbank.hop_length
        samples = starts[:, None] + torch.arange(filterbank.frame_length, device=waveform.device)
        return (filterbank.frame_energies(waveform[:, samples]) - self.mean) / (2 * self.std)


@torch.no_grad()
def export_spectrogram_classifier(model: Any, file: Path) -> OnnxReport:
    """Export a classifier of spectrograms.

    The file maps `input_features`, float32 of shape `(batch_size, num_frames, num_mel_bins)`, and `attention_mask`,
    int64 of shape `(batch_size, num_patches)`, to `logits`, float32 of shape `(batch_size, num_labels)`, calibrated if
    the model is. The number of frames must be a multiple of the patch size.

    Args:
        model (`PreTrainedModel`): The classifier, whose configuration has `num_mel_bins`, `patch_size` and
            `num_patches()`; a copy of it in float32 is exported.
        file (`Path`): The file to write, in an existing folder. An existing file is replaced if the check passes.

    Returns:
        `OnnxReport`: What was written, and how it compares with PyTorch.

    Raises:
        ValueError: If a package is missing, or logits differ from PyTorch's by more than 1e-4; no file is left then.
    """
    require_onnx()
    config = model.config
    # Eager attention is faster in onnxruntime than what `sdpa` is exported to.
    module, reference = _Logits(float_copy(model, "eager")), float_copy(model, "sdpa")
    batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps")
    bands = config.num_mel_bins // config.patch_size
    shapes = {
        "input_features": {0: batch, 1: config.patch_size * steps},
        "attention_mask": {0: batch, 1: bands * steps},
    }
    with kept_if_checked(file) as draft:
        write_onnx(module, random_spectrograms(config, 2, 3), "logits", shapes, draft)
        session = open_session(draft)
        check = require(check_logits(session, reference), file)
    timed_steps = round(TIMED_S * config.sampling_rate / config.hop_length) // config.patch_size
    inputs = random_spectrograms(config, 1, timed_steps)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    seconds = median_seconds(
        {"PyTorch": lambda: reference(**inputs), "onnxruntime": lambda: session.run(["logits"], arrays)}
    )
    is_calibrated = config.calibration_temperature is not None or config.calibration_bias is not None
    signature = (
        f"input_features (batch, {config.patch_size} * steps, {config.num_mel_bins}), attention_mask (batch, "
        f"{bands} * steps) -> logits (batch, {config.num_labels}){', calibrated' if is_calibrated else ''}"
    )
    return OnnxReport(file, signature, check, seconds)


@torch.no_grad()
def export_filterbank(extractor: BeatsFeatureExtractor, file: Path) -> OnnxReport:
    """Export the filterbank of an extractor.

    The file maps `waveform`, float32 of shape `(batch_size, num_samples)` at the extractor's rate, to
    `input_features`, float32 of shape `(batch_size, num_frames, num_mel_bins)`, as the classifier's file reads them:
    frames that do not fill a patch are left out. A waveform must fill one (2800 samples); shorter ones are to be
    extended by zeros.

    Args:
        extractor (`BeatsFeatureExtractor`): Its filterbank, mean and standard deviation are exported.
        file (`Path`): The file to write, in an existing folder. An existing file is replaced if the check passes.

    Returns:
        `OnnxReport`: What was written, and how it compares with PyTorch.

    Raises:
        ValueError: If a package is missing, the extractor normalizes the level, or values differ from PyTorch's by
            more than 1e-4; no file is left then.
    """
    require_onnx()
    if extractor.normalize is not None:
        raise ValueError(
            f"The feature extractor has `normalize` {extractor.normalize!r}, which the file would not do: leave out "
            "the part filterbank."
        )
    extractor = copy.deepcopy(extractor).to("cpu")
    shapes = {"waveform": {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=extractor.min_samples)}}
    with kept_if_checked(file) as draft:
        example = {"waveform": torch.from_numpy(some_sound(2, 2 * extractor.min_samples + 1))}
        write_onnx(_Features(extractor), example, "input_features", shapes, draft)
        session = open_session(draft)
        check = require(check_features(session, extractor), file)
    waveform = some_sound(1, round(TIMED_S * extractor.sampling_rate))
    seconds = median_seconds(
        {
            "BeatsFeatureExtractor": lambda: extractor(waveform[0], sampling_rate=extractor.sampling_rate),
            "onnxruntime": lambda: session.run(["input_features"], {"waveform": waveform}),
        }
    )
    signature = (
        f"waveform (batch, samples) at {extractor.sampling_rate} Hz -> input_features (batch, "
        f"{extractor.patch_size} * steps, {extractor.feature_size})"
    )
    return OnnxReport(file, signature, check, seconds)


@torch.no_grad()
def check_logits(session: "InferenceSession", model: Any) -> OnnxCheck:
    """Compare the logits of random spectrograms, in batches of several sizes and lengths, with padding.

    Args:
        session (`InferenceSession`): The exported classifier.
        model (`PreTrainedModel`): The classifier, in float32 on the CPU, in evaluation mode.

    Returns:
        `OnnxCheck`: Passed if no logit differs by more than `MAX_LOGIT_DIFFERENCE`.
    """
    worst = 0.0
    for seed, shape in enumerate(_STEPS):
        inputs = random_spectrograms(model.config, *shape, seed)
        (got,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})
        # `np.maximum` keeps a NaN, which then fails the comparison with the limit.
        worst = np.maximum(worst, np.abs(got - model(**inputs).logits.numpy()).max())
    finding = f"logits within {worst:.1e} of PyTorch's in {len(_STEPS)} batches (allowed: {MAX_LOGIT_DIFFERENCE})"
    return OnnxCheck(bool(worst <= MAX_LOGIT_DIFFERENCE), finding)


def check_features(session: "InferenceSession", extractor: BeatsFeatureExtractor) -> OnnxCheck:
    """Compare the spectrograms of noise, loud and soft.

    Of a pure tone, most mel bins hold nothing but the rounding errors of the Fourier transform in float32, which
    differ from one implementation to the next by as much as from the truth.

    Args:
        session (`InferenceSession`): The exported filterbank.
        extractor (`BeatsFeatureExtractor`): What it was exported from, on the CPU.

    Returns:
        `OnnxCheck`: Passed if no value differs by more than `MAX_FEATURE_DIFFERENCE`.
    """
    worst = 0.0
    rng = np.random.default_rng(0)
    for batch_size, num_samples in _SAMPLES:
        swell = np.geomspace(1e-4, 0.3, num_samples) if batch_size > 1 else 0.1
        waveform = (swell * rng.standard_normal((batch_size, num_samples))).astype(np.float32)
        expected = extractor(list(waveform), sampling_rate=extractor.sampling_rate)["input_features"]
        (got,) = session.run(["input_features"], {"waveform": waveform})
        whole = expected.shape[1] // extractor.patch_size * extractor.patch_size
        worst = np.maximum(worst, np.abs(got - expected[:, :whole]).max())
    finding = (
        f"spectrograms of noise within {worst:.1e} of PyTorch's in {len(_SAMPLES)} batches (allowed: "
        f"{MAX_FEATURE_DIFFERENCE})"
    )
    return OnnxCheck(bool(worst <= MAX_FEATURE_DIFFERENCE), finding)


def random_spectrograms(config: Any, batch_size: int, steps: int, seed: int = 0) -> dict[str, torch.Tensor]:
    """Make random inputs; in a batch of several clips, the last third of the last clip is padding.

    Args:
        config (`PreTrainedConfig`): Of the model that reads them.
        batch_size (`int`): Number of clips.
        steps (`int`): Number of patches in time.
        seed (`int`, defaults to 0): Seed of the values.

    Returns:
        `dict`: `input_features` and `attention_mask`.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch_size, steps * config.patch_size, config.num_mel_bins, generator=generator)
    bands = config.num_mel_bins // config.patch_size
    mask = torch.ones(batch_size, steps * bands, dtype=torch.int64)
    if batch_size > 1:
        mask[-1, (steps - steps // 3) * bands :] = 0
    return {"input_features": features, "attention_mask": mask}
