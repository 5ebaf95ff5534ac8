"""Export of a classifier and of its codec's encoder to ONNX; a file is kept only if it agrees with PyTorch."""

import copy
import importlib.util
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import EncodecModel

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from .onnx_check import (
    RUNS,
    OnnxCheck,
    check_codes,
    check_logits,
    median_seconds,
    open_session,
    random_ids,
    reference_codes,
    some_sound,
)
from .onnx_encoder import ExportableEncodecEncoder

OPSET = 20
"""ONNX operator set: the first with a GELU operator."""

_TIMED_S = 10.0


@dataclass(frozen=True)
class OnnxReport:
    """What was written, and how it compares with PyTorch.

    Args:
        file (`Path`): The ONNX file.
        signature (`str`): Its inputs and outputs with their shapes.
        check (`OnnxCheck`): Result of the comparison with PyTorch.
        seconds (`dict[str, float]`): Median time in seconds for ten seconds of sound, by implementation.
    """

    file: Path
    signature: str
    check: OnnxCheck
    seconds: dict[str, float]

    def to_text(self) -> str:
        """The report as text for the terminal."""
        speed = ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in self.seconds.items())
        how = f"one clip of {_TIMED_S:.0f} s, threads: {torch.get_num_threads()}, median of {RUNS} runs"
        return "\n".join(
            [
                f"{self.file}  ({self.file.stat().st_size / 1e6:.1f} MB)",
                f"  {self.signature}",
                f"  check   {self.check.finding}",
                f"  speed   {speed} ({how})",
            ]
        )


def require_onnx() -> None:
    """Check that the optional packages are installed.

    Raises:
        ValueError: If packages are missing; the message names them.
    """
    missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'ONNX needs {", ".join(missing)}: install them with pip install "audioformer[onnx]".')


class _Logits(nn.Module):
    """The classifier with exactly the inputs and the output of the file."""

    def __init__(self, classifier: AudioFormerForAudioClassification):
        super().__init__()
        self.classifier = classifier

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        return self.classifier(input_ids=input_ids, attention_mask=attention_mask).logits


@torch.no_grad()
def export_classifier(model: AudioFormerForAudioClassification, file: Path) -> OnnxReport:
    """Export a classifier.

    The file maps `input_ids` and `attention_mask`, int64 of shape `(batch_size, sequence_length)`, to `logits`,
    float32 of shape `(batch_size, num_labels)`, calibrated if the model is. For a model of several codebooks,
    `input_ids` have the shape `(batch_size, sequence_length, num_codebooks)`.

    Args:
        model (`AudioFormerForAudioClassification`): The classifier; a copy of it in float32 is exported.
        file (`Path`): The file to write, in an existing folder. An existing file is replaced if the check passes.

    Returns:
        `OnnxReport`: What was written, and how it compares with PyTorch.

    Raises:
        ValueError: If a package is missing, or logits differ from PyTorch's by more than 1e-4; no file is left then.
    """
    require_onnx()
    # Eager attention is faster in onnxruntime than what `sdpa` is exported to.
    module = _Logits(_float_copy(model, "eager"))
    reference = _float_copy(model, "sdpa")
    axes = {0: "batch", 1: "length"}
    with _kept_if_checked(file) as draft:
        write_onnx(module, random_ids(model.config, 2, 16), "logits", axes, draft)
        session = open_session(draft)
        check = _require(check_logits(session, reference), file)
    inputs = random_ids(model.config, 1, round(_TIMED_S * model.config.frame_rate) + 2)
    arrays = {name: tensor.numpy() for name, tensor in inputs.items()}
    seconds = median_seconds(
        {"PyTorch": lambda: reference(**inputs), "onnxruntime": lambda: session.run(["logits"], arrays)}
    )
    config = model.config
    is_calibrated = config.calibration_temperature is not None or config.calibration_bias is not None
    calibrated = ", calibrated" if is_calibrated else ""
    names = "input_ids, attention_mask (batch, length)"
    if config.num_codebooks > 1:
        names = f"input_ids (batch, length, {config.num_codebooks}), attention_mask (batch, length)"
    signature = f"{names} -> logits (batch, {config.num_labels}){calibrated}"
    return OnnxReport(file, signature, check, seconds)


@torch.no_grad()
def export_codec_encoder(extractor: AudioFormerFeatureExtractor, file: Path) -> OnnxReport:
    """Export the encoder of an extractor's codec.

    The file maps `waveform`, float32 of shape `(batch_size, num_samples)` at the codec's rate, to `codes`, int64 of
    shape `(batch_size, num_frames, num_codebooks)`, for the extractor's codebooks. All clips of a batch have the same
    length. If the extractor normalizes the level, so does the file.

    Args:
        extractor (`AudioFormerFeatureExtractor`): Its codec must be an `EncodecModel`.
        file (`Path`): The file to write, in an existing folder. An existing file is replaced if the check passes.

    Returns:
        `OnnxReport`: What was written, and how it compares with PyTorch.

    Raises:
        ValueError: If a package is missing, the codec is not an `EncodecModel`, or more than 0.1 % of the frames
            differ from `EncodecModel.encode`; no file is left then.
    """
    require_onnx()
    extractor = copy.deepcopy(extractor).to("cpu")
    codec = extractor.codec
    if not isinstance(codec, EncodecModel):
        raise ValueError(
            f"The codec must be an `EncodecModel`, got {type(codec).__name__}: only its encoder can be exported."
        )
    codebooks = [extractor.codebooks] if isinstance(extractor.codebooks, int) else extractor.codebooks
    target_rms = None if extractor.normalize is None else extractor.target_rms
    module = ExportableEncodecEncoder(codec, codebooks, target_rms, extractor.min_rms)
    axes = {0: "batch", 1: "samples"}
    with _kept_if_checked(file) as draft:
        example = {"waveform": torch.from_numpy(some_sound(2, 16 * extractor.hop_length + 1))}
        write_onnx(module, example, "codes", axes, draft)
        session = open_session(draft)
        check = _require(check_codes(session, extractor), file)
    waveform = some_sound(1, round(_TIMED_S * extractor.sampling_rate))
    seconds = median_seconds(
        {
            "EncodecModel": lambda: reference_codes(codec, waveform, extractor.bandwidth),
            "AudioFormerFeatureExtractor": lambda: extractor(waveform[0], sampling_rate=extractor.sampling_rate),
            "onnxruntime": lambda: session.run(["codes"], {"waveform": waveform}),
        }
    )
    signature = f"waveform (batch, samples) at {extractor.sampling_rate} Hz -> codes (batch, frames, {len(codebooks)})"
    if target_rms is not None:
        signature += f", scaled to an RMS of {target_rms:g}"
    return OnnxReport(file, signature, check, seconds)


def _float_copy(model: AudioFormerForAudioClassification, attention: str) -> AudioFormerForAudioClassification:
    duplicate = copy.deepcopy(model).float().cpu().eval()
    duplicate.set_attn_implementation(attention)
    return duplicate


@contextmanager
def _kept_if_checked(file: Path) -> Iterator[Path]:
    """A draft file that is renamed to `file` only if nothing was raised."""
    draft = file.with_name(f".{file.name}.draft")
    try:
        yield draft
        os.replace(draft, file)
    finally:
        draft.unlink(missing_ok=True)


def _require(check: OnnxCheck, file: Path) -> OnnxCheck:
    if not check.passed:
        raise ValueError(f"{file} was not kept because its results are not those of PyTorch: {check.finding}.")
    return check


def write_onnx(
    module: nn.Module, example: Mapping[str, torch.Tensor], output: str, axes: Mapping[int, str], file: Path
) -> None:
    """Export a module with torch.export and write it as a single file.

    Args:
        module (`nn.Module`): A module with one output; it is put into evaluation mode.
        example (mapping of `str` to `torch.Tensor`): Example inputs by name, of any size.
        output (`str`): Name of the output.
        axes (mapping of `int` to `str`): Names of the axes, the same for all inputs, that may have any size.
        file (`Path`): The file to write.
    """
    import onnx_ir.passes.common as passes

    sizes = {axis: torch.export.Dim(name) for axis, name in axes.items()}
    with _quiet():
        program = torch.onnx.export(
            module.eval(),
            kwargs=dict(example),
            input_names=list(example),
            output_names=[output],
            dynamic_shapes={name: sizes for name in example},
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.slice_scatter.default: _slice_scatter},
            dynamo=True,
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export returned no program, although `dynamo=True` was requested.")
    # Each node carries the source lines that it came from, with local paths.
    passes.ClearMetadataAndDocStringPass()(program.model)
    program.save(file, external_data=False)


def _slice_scatter(
    self: Any, src: Any, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Any:
    """Translate `aten.slice_scatter` into a concatenation, because onnxscript's scatter by index is very slow.

    The rotary embedding writes into halves of the last axis, whose size is known.
    """
    from onnxscript import opset20

    size = self.shape[dim]
    start, end = start or 0, size if end is None else min(end, size)
    if step != 1 or start < 0 or end < 0:
        raise NotImplementedError(f"slice_scatter from {start} to {end} by {step}")

    def part(first: int, last: int) -> Any:
        limits: list[Any] = [opset20.Constant(value_ints=[value]) for value in (first, last, dim)]
        return opset20.Slice(self, *limits)

    before: Sequence[Any] = [part(0, start)] if start else []
    after: Sequence[Any] = [part(end, size)] if end < size else []
    return opset20.Concat(*before, src, *after, axis=dim)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter's remarks on torchvision and axis names; the results are checked afterwards."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
