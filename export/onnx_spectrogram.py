"""Export of classifiers that read spectrograms in patches, and of their filterbank, to ONNX."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from audioformer.feature_extraction import BeatsFeatureExtractor, DashengFeatureExtractor, MaskSpecFeatureExtractor

from .onnx_check import MAX_LOGIT_DIFFERENCE, OnnxCheck, median_seconds, open_session, some_sound
from .onnx_export import TIMED_S, OnnxReport, float_copy, kept_if_checked, require, require_onnx, write_onnx

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

_STEPS = [(1, 1), (2, 7), (3, 13), (1, 62), (2, 90)]
"""Batch sizes and numbers of patches in time that are compared."""

_SAMPLES = [(1, 2800), (2, 5377), (3, 16_000), (1, 160_000), (2, 40_001)]
"""Batch sizes and numbers of samples that are compared."""


@dataclass(frozen=True)
class PatchGrid:
    """How a model cuts a spectrogram into patches.

    Args:
        frames (`int`): Frames per patch.
        bands (`int`, defaults to 1): Patches side by side in frequency.
        max_steps (`int`, *optional*): Longest clip, in patches of time, that the model reads in one piece; a file
            takes no longer ones. By default any length.
    """

    frames: int
    bands: int = 1
    max_steps: int | None = None


class _Logits(nn.Module):
    """The classifier with exactly the inputs and the output of the file."""

    def __init__(self, classifier: Any):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_features: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.classifier(input_features=input_features, attention_mask=attention_mask).logits


class BeatsFeatures(nn.Module):
    """The filterbank of an extractor and its scaling, for export.

    Frames that do not fill a patch are left out, as the classifier's file needs.

    Args:
        extractor (`BeatsFeatureExtractor`): On the CPU.
    """

    max_difference = 1e-4
    """Largest allowed difference between a value and PyTorch's."""

    def __init__(self, extractor: BeatsFeatureExtractor):
        super().__init__()
        self.filterbank = extractor.filterbank
        self.mean, self.std, self.frames_per_patch = extractor.mean, extractor.std, extractor.patch_size

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        filterbank = self.filterbank
        num_frames = (waveform.shape[1] - filterbank.frame_length) // filterbank.hop_length + 1
        frames = _frames(waveform, filterbank, num_frames // self.frames_per_patch * self.frames_per_patch)
        return (filterbank.frame_energies(frames) - self.mean) / (2 * self.std)


class DashengFeatures(nn.Module):
    """The mel spectrogram of an extractor, for export.

    Frames that do not fill a patch are left out, as the classifier's file needs; they count for the maximum of a clip.

    Args:
        extractor (`DashengFeatureExtractor`): On the CPU.
    """

    max_difference = 1e-3
    """Largest allowed difference between a value and PyTorch's, in dB."""

    def __init__(self, extractor: DashengFeatureExtractor):
        super().__init__()
        self.spectrogram = extractor.spectrogram
        self.db_range, self.frames_per_patch = extractor.db_range, extractor.frames_per_patch

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrogram, num_samples = self.spectrogram, waveform.shape[1]
        half = spectrogram.frame_length // 2
        mirrored = nn.functional.pad(waveform, (half, half), mode="reflect")
        num_frames = num_samples // spectrogram.hop_length + 1
        decibels = spectrogram.frame_decibels(_frames(mirrored, spectrogram, num_frames))
        decibels = torch.maximum(decibels, decibels.amax(dim=(1, 2), keepdim=True) - self.db_range)
        return decibels[:, : num_frames // self.frames_per_patch * self.frames_per_patch]


class MaskSpecFeatures(nn.Module):
    """The log-mel spectrogram of an extractor and the scaling of its bins, for export.

    Frames that do not fill a patch are left out, as the classifier's file needs.

    Args:
        extractor (`MaskSpecFeatureExtractor`): On the CPU.

    Raises:
        ValueError: If it stretches short clips, or rounds waveforms.
    """

    max_difference = 1e-3
    """Largest allowed difference between a value and PyTorch's."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, extractor: MaskSpecFeatureExtractor):
        super().__init__()
        if extractor.stretch_to is not None or extractor.half_precision:
            raise ValueError(
                "The feature extractor has `stretch_to` or `half_precision`, which the file would not do: leave out "
                "the part filterbank."
            )
        self.spectrogram, self.frames_per_patch = extractor.spectrogram, extractor.patch_size
        self.register_buffer("mean", torch.tensor(extractor.mean))
        self.register_buffer("std", torch.tensor(extractor.std))

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        spectrogram = self.spectrogram
        mirrored = spectrogram.mirrored(waveform)
        num_frames = (waveform.shape[1] - 1) // spectrogram.hop_length + 1
        frames = _frames(mirrored, spectrogram, num_frames // self.frames_per_patch * self.frames_per_patch)
        return (spectrogram.frame_energies(frames) - self.mean) / self.std


def _frames(waveform: torch.Tensor, settings: Any, num_frames: int) -> torch.Tensor:
    """Frames of waveforms by their indices, `(batch_size, num_frames, frame_length)`, which ONNX can do."""
    starts = torch.arange(num_frames, device=waveform.device) * settings.hop_length
    return waveform[:, starts[:, None] + torch.arange(settings.frame_length, device=waveform.device)]


@torch.no_grad()
def export_spectrogram_classifier(model: Any, grid: PatchGrid, file: Path) -> OnnxReport:
    """Export a classifier of spectrograms.

    The file maps `input_features`, float32 of shape `(batch_size, num_frames, num_mel_bins)`, and `attention_mask`,
    int64 of shape `(batch_size, num_patches)`, to `logits`, float32 of shape `(batch_size, num_labels)`, calibrated if
    the model is. The number of frames must be a multiple of the patch size.

    Args:
        model (`PreTrainedModel`): The classifier, whose configuration has `num_mel_bins`; a copy of it in float32 is
            exported.
        grid (`PatchGrid`): How it cuts spectrograms.
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
    batch, steps = torch.export.Dim("batch"), torch.export.Dim("steps", max=grid.max_steps)
    shapes = {
        "input_features": {0: batch, 1: grid.frames * steps},
        "attention_mask": {0: batch, 1: grid.bands * steps},
    }
    with kept_if_checked(file) as draft:
        write_onnx(module, random_spectrograms(config, grid, 2, 3), "logits", shapes, draft)
        session = open_session(draft)
        check = require(check_logits(session, reference, grid), file)
    timed_steps = round(TIMED_S * config.sampling_rate / config.hop_length) // grid.frames
    inputs = random_spectrograms(config, grid, 1, min(timed_steps, grid.max_steps or timed_steps))
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    seconds = median_seconds(
        {"PyTorch": lambda: reference(**inputs), "onnxruntime": lambda: session.run(["logits"], arrays)}
    )
    is_calibrated = config.calibration_temperature is not None or config.calibration_bias is not None
    signature = (
        f"input_features (batch, {grid.frames} * steps, {config.num_mel_bins}), attention_mask (batch, "
        f"{grid.bands} * steps) -> logits (batch, {config.num_labels}){', calibrated' if is_calibrated else ''}"
        f"{'' if grid.max_steps is None else f'; at most {grid.max_steps} steps'}"
    )
    return OnnxReport(file, signature, check, seconds)


@torch.no_grad()
def export_filterbank(extractor: Any, features: type[nn.Module], file: Path) -> OnnxReport:
    """Export what an extractor computes.

    The file maps `waveform`, float32 of shape `(batch_size, num_samples)` at the extractor's rate, to
    `input_features`, float32 of shape `(batch_size, num_frames, num_mel_bins)`, as the classifier's file reads them:
    frames that do not fill a patch are left out. A waveform must fill one (`extractor.min_samples`); shorter ones are
    to be extended by zeros.

    Args:
        extractor (`SpectrogramFeatureExtractor`): Its settings are exported.
        features (type): [`BeatsFeatures`], [`DashengFeatures`] or [`MaskSpecFeatures`], which is built from it.
        file (`Path`): The file to write, in an existing folder. An existing file is replaced if the check passes.

    Returns:
        `OnnxReport`: What was written, and how it compares with PyTorch.

    Raises:
        ValueError: If a package is missing, the extractor normalizes the level, or values differ from PyTorch's by
            more than `features.max_difference`; no file is left then.
    """
    require_onnx()
    if extractor.normalize is not None:
        raise ValueError(
            f"The feature extractor has `normalize` {extractor.normalize!r}, which the file would not do: leave out "
            "the part filterbank."
        )
    extractor = copy.deepcopy(extractor).to("cpu")
    module: Any = features(extractor)
    shapes = {"waveform": {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=extractor.min_samples)}}
    with kept_if_checked(file) as draft:
        example = {"waveform": torch.from_numpy(some_sound(2, 2 * extractor.min_samples + 1))}
        write_onnx(module, example, "input_features", shapes, draft)
        session = open_session(draft)
        check = require(check_features(session, extractor, module.frames_per_patch, module.max_difference), file)
    waveform = some_sound(1, round(TIMED_S * extractor.sampling_rate))
    seconds = median_seconds(
        {
            type(extractor).__name__: lambda: extractor(waveform[0], sampling_rate=extractor.sampling_rate),
            "onnxruntime": lambda: session.run(["input_features"], {"waveform": waveform}),
        }
    )
    signature = (
        f"waveform (batch, samples) at {extractor.sampling_rate} Hz -> input_features (batch, "
        f"{module.frames_per_patch} * steps, {extractor.feature_size})"
    )
    return OnnxReport(file, signature, check, seconds)


@torch.no_grad()
def check_logits(session: "InferenceSession", model: Any, grid: PatchGrid) -> OnnxCheck:
    """Compare the logits of random spectrograms, in batches of several sizes and lengths, with padding.

    Args:
        session (`InferenceSession`): The exported classifier.
        model (`PreTrainedModel`): The classifier, in float32 on the CPU, in evaluation mode.
        grid (`PatchGrid`): How it cuts spectrograms.

    Returns:
        `OnnxCheck`: Passed if no logit differs by more than `MAX_LOGIT_DIFFERENCE`.
    """
    worst = 0.0
    shapes = [shape for shape in _STEPS if grid.max_steps is None or shape[1] <= grid.max_steps]
    for seed, shape in enumerate(shapes):
        inputs = random_spectrograms(model.config, grid, *shape, seed)
        (got,) = session.run(["logits"], {name: tensor.numpy() for name, tensor in inputs.items()})
        # `np.maximum` keeps a NaN, which then fails the comparison with the limit.
        worst = np.maximum(worst, np.abs(got - model(**inputs).logits.numpy()).max())
    finding = f"logits within {worst:.1e} of PyTorch's in {len(shapes)} batches (allowed: {MAX_LOGIT_DIFFERENCE})"
    return OnnxCheck(bool(worst <= MAX_LOGIT_DIFFERENCE), finding)


def check_features(
    session: "InferenceSession", extractor: Any, frames_per_patch: int, max_difference: float
) -> OnnxCheck:
    """Compare the spectrograms of noise, loud and soft.

    Of a pure tone, most mel bins hold nothing but the rounding errors of the Fourier transform in float32, which
    differ from one implementation to the next by as much as from the truth.

    Args:
        session (`InferenceSession`): The exported filterbank.
        extractor (`SpectrogramFeatureExtractor`): What it was exported from, on the CPU.
        frames_per_patch (`int`): Lengths are multiples of this.
        max_difference (`float`): Largest difference of a value that is allowed.

    Returns:
        `OnnxCheck`: Passed if no value differs by more than that.
    """
    worst = 0.0
    rng = np.random.default_rng(0)
    for batch_size, num_samples in _SAMPLES:
        num_samples = max(num_samples, extractor.min_samples)
        swell = np.geomspace(1e-4, 0.3, num_samples) if batch_size > 1 else 0.1
        waveform = (swell * rng.standard_normal((batch_size, num_samples))).astype(np.float32)
        expected = extractor(list(waveform), sampling_rate=extractor.sampling_rate)["input_features"]
        (got,) = session.run(["input_features"], {"waveform": waveform})
        whole = expected.shape[1] // frames_per_patch * frames_per_patch
        worst = np.maximum(worst, np.abs(got - expected[:, :whole]).max())
    finding = (
        f"spectrograms of noise within {worst:.1e} of PyTorch's in {len(_SAMPLES)} batches (allowed: {max_difference})"
    )
    return OnnxCheck(bool(worst <= max_difference), finding)


def random_spectrograms(
    config: Any, grid: PatchGrid, batch_size: int, steps: int, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Make random inputs; in a batch of several clips, the last third of the last clip is padding.

    Args:
        config (`PreTrainedConfig`): Of the model that reads them.
        grid (`PatchGrid`): How it cuts them.
        batch_size (`int`): Number of clips.
        steps (`int`): Number of patches in time.
        seed (`int`, defaults to 0): Seed of the values.

    Returns:
        `dict`: `input_features` and `attention_mask`.
    """
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch_size, steps * grid.frames, config.num_mel_bins, generator=generator)
    mask = torch.ones(batch_size, steps * grid.bands, dtype=torch.int64)
    if batch_size > 1:
        mask[-1, (steps - steps // 3) * grid.bands :] = 0
    return {"input_features": features, "attention_mask": mask}
