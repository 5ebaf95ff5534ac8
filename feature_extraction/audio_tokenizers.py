"""Other audio tokenizers of transformers (Mimi, DAC, X-Codec 2) with the interface of the EnCodec one.

The properties of a codec are read from its configuration. Each clip is encoded on its own by the model's `encode`, so
that its codes never depend on the other clips of a batch.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedConfig, PreTrainedModel

from .matrix_products import full_precision

CODEC_CLASSES = {"encodec": "EncodecModel", "mimi": "MimiModel", "dac": "DacModel", "xcodec2": "Xcodec2Model"}
"""Names of classes of transformers by the `model_type` of their configuration."""


def codec_class(codec_type: str) -> type[PreTrainedModel]:
    """The class of a type of codec, imported only now: the modules of the other codecs are not needed."""
    return getattr(transformers, CODEC_CLASSES[codec_type])


def is_codec(model: Any) -> bool:
    """Whether `model` is a loaded codec of transformers."""
    return isinstance(model, PreTrainedModel) and model.config.model_type in CODEC_CLASSES


@dataclass(frozen=True)
class CodecFacts:
    """Properties of a codec that decide what its codes mean.

    Args:
        codec_type (`str`): A key of `CODEC_CLASSES`.
        sampling_rate (`int`): Rate in Hz of the audio it reads.
        hop_length (`int`): Number of samples per frame.
        codebook_size (`int`): Number of entries per codebook.
        num_codebooks (`int`): Largest number of codebooks.
    """

    codec_type: str
    sampling_rate: int
    hop_length: int
    codebook_size: int
    num_codebooks: int

    @property
    def is_encodec(self) -> bool:
        return self.codec_type == "encodec"


def codec_facts(config: PreTrainedConfig) -> CodecFacts:
    """Read the properties of a codec from its configuration.

    Raises:
        ValueError: If it is the configuration of another type of model.
    """
    codec_type = config.model_type
    if codec_type == "encodec":
        sizes = (config.hop_length, config.codebook_size, config.num_quantizers)
    elif codec_type == "mimi":
        sizes = (round(config.sampling_rate / config.frame_rate), config.codebook_size, config.num_quantizers)
    elif codec_type == "dac":
        sizes = (config.hop_length, config.codebook_size, config.n_codebooks)
    elif codec_type == "xcodec2":
        # Finite scalar quantization: a single code combines the levels of all dimensions.
        sizes = (config.hop_length, math.prod(config.quantization_levels), 1)
    else:
        raise ValueError(f"`codec` must be one of {', '.join(CODEC_CLASSES)}, got {codec_type!r}.")
    return CodecFacts(codec_type, config.sampling_rate, *sizes)


class ClipwiseCodec:
    """A codec that encodes one clip at a time.

    Not all of these codecs are causal, and clips are not cut into segments: memory grows with the longest clip.

    Args:
        model (`PreTrainedModel`): A `MimiModel`, `DacModel` or `Xcodec2Model`; it is not changed.
        num_codebooks (`int`): Number of codebooks to use, starting with the first.
        device (`str`): Device to encode on.
    """

    is_causal = False

    def __init__(self, model: PreTrainedModel, num_codebooks: int, device: str):
        self.model, self.num_codebooks, self.device = model, num_codebooks, torch.device(device)
        self.hop_length = codec_facts(model.config).hop_length
        # `Any`, because `encode` is a method of the three classes but not of `PreTrainedModel`.
        self._runner: Any = model
        if model.device != self.device:
            # The types of transformers' wrapper around `to` expect `self` as an argument.
            self._runner = copy.deepcopy(model).to(self.device)  # type: ignore[arg-type]
        self._encode: Callable[[np.ndarray], torch.Tensor] = {
            "mimi": self._encode_mimi,
            "dac": self._encode_dac,
            "xcodec2": self._encode_xcodec2,
        }[model.config.model_type]

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode mono float32 clips, `(num_samples,)`, into int64 codes, `(num_frames, num_codebooks)`."""
        training = self._runner.training
        # In training mode DAC drops codebooks at random.
        self._runner.eval()
        try:
            with full_precision(self.device):
                return [self._encode(waveform).T[:, : self.num_codebooks].cpu().numpy() for waveform in waveforms]
        finally:
            self._runner.train(training)

    def _as_batch(self, waveform: np.ndarray, multiple: int = 1) -> torch.Tensor:
        padding = -len(waveform) % multiple
        return torch.from_numpy(np.pad(waveform, (0, padding)))[None, None].to(self.device)

    def _encode_mimi(self, waveform: np.ndarray) -> torch.Tensor:
        return self._runner.encode(self._as_batch(waveform), num_quantizers=self.num_codebooks).audio_codes[0]

    def _encode_dac(self, waveform: np.ndarray) -> torch.Tensor:
        # The padding of `DacFeatureExtractor`.
        batch = self._as_batch(waveform, self.hop_length)
        return self._runner.encode(batch, n_quantizers=self.num_codebooks).audio_codes[0]

    def _encode_xcodec2(self, waveform: np.ndarray) -> torch.Tensor:
        inputs: Any = self._xcodec2_features(waveform)
        return self._runner.encode(**{name: value.to(self.device) for name, value in inputs.items()}).audio_codes[0]

    def _xcodec2_features(self, waveform: np.ndarray) -> Any:
        # It computes its spectrogram with torchaudio, and raises an error that says so if torchaudio is missing.
        from transformers import Xcodec2FeatureExtractor

        config = self.model.config
        extractor = Xcodec2FeatureExtractor(sampling_rate=config.sampling_rate, hop_length=config.hop_length)
        return extractor(waveform, sampling_rate=config.sampling_rate, return_tensors="pt")
