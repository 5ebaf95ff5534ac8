"""Other audio tokenizers of transformers (Mimi, DAC, X-Codec 2) behind the interface of the EnCodec one.

What a codec is like is read off its configuration. Each clip is encoded by itself, by the model's own `encode`, so
that its codes never depend on its neighbours in a batch.
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

from .encodec_encoder import full_precision

CODEC_CLASSES = {"encodec": "EncodecModel", "mimi": "MimiModel", "dac": "DacModel", "xcodec2": "Xcodec2Model"}
"""Classes of transformers by the `model_type` of their configuration."""


def codec_class(codec_type: str) -> type[PreTrainedModel]:
    """The class of a kind of codec. It is imported now: whoever uses one of them need not wait for the others."""
    return getattr(transformers, CODEC_CLASSES[codec_type])


def is_codec(model: Any) -> bool:
    """Whether this is a loaded codec of transformers."""
    return isinstance(model, PreTrainedModel) and model.config.model_type in CODEC_CLASSES


@dataclass(frozen=True)
class CodecFacts:
    """What the ids of a codec are like.

    Args:
        codec_type (`str`): A key of `CODEC_CLASSES`.
        sampling_rate (`int`): Rate in Hz of the audio it reads.
        hop_length (`int`): Samples that become one frame.
        codebook_size (`int`): Entries of a codebook.
        num_codebooks (`int`): Rows of codes, at most.
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
    """Read a configuration.

    Raises:
        ValueError: If it is that of another kind of model.
    """
    codec_type = config.model_type
    if codec_type == "encodec":
        sizes = (config.hop_length, config.codebook_size, config.num_quantizers)
    elif codec_type == "mimi":
        sizes = (round(config.sampling_rate / config.frame_rate), config.codebook_size, config.num_quantizers)
    elif codec_type == "dac":
        sizes = (config.hop_length, config.codebook_size, config.n_codebooks)
    elif codec_type == "xcodec2":
        # Finite scalar quantization: one code stands for a level of every dimension.
        sizes = (config.hop_length, math.prod(config.quantization_levels), 1)
    else:
        raise ValueError(f"`codec` must be one of {', '.join(CODEC_CLASSES)}, got a {codec_type!r}.")
    return CodecFacts(codec_type, config.sampling_rate, *sizes)


class ClipwiseCodec:
    """A codec that encodes one clip at a time.

    Not every one of them is causal, and none is cut into segments here: memory grows with the longest clip.

    Args:
        model (`PreTrainedModel`): A `MimiModel`, `DacModel` or `Xcodec2Model`; it stays untouched.
        num_rows (`int`): How many codebooks to use, beginning with the first.
        device (`str`): Where to encode.
    """

    is_causal = False

    def __init__(self, model: PreTrainedModel, num_rows: int, device: str):
        self.model, self.num_rows, self.device = model, num_rows, torch.device(device)
        self.hop_length = codec_facts(model.config).hop_length
        self._runner = model if model.device == self.device else copy.deepcopy(model).to(self.device)
        self._encode: Callable[[np.ndarray], torch.Tensor] = {
            "mimi": self._encode_mimi,
            "dac": self._encode_dac,
            "xcodec2": self._encode_xcodec2,
        }[model.config.model_type]

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode mono float32 clips of shape `(samples,)` into int64 codes of shape `(frames, num_rows)`."""
        training = self._runner.training
        # In training mode DAC leaves out codebooks at random.
        self._runner.eval()
        try:
            with full_precision(self.device):
                return [self._encode(waveform).T[:, : self.num_rows].cpu().numpy() for waveform in waveforms]
        finally:
            self._runner.train(training)

    def _as_batch(self, waveform: np.ndarray, multiple: int = 1) -> torch.Tensor:
        padding = -len(waveform) % multiple
        return torch.from_numpy(np.pad(waveform, (0, padding)))[None, None].to(self.device)

    def _encode_mimi(self, waveform: np.ndarray) -> torch.Tensor:
        return self._runner.encode(self._as_batch(waveform), num_quantizers=self.num_rows).audio_codes[0]

    def _encode_dac(self, waveform: np.ndarray) -> torch.Tensor:
        # As `DacFeatureExtractor` pads.
        batch = self._as_batch(waveform, self.hop_length)
        return self._runner.encode(batch, n_quantizers=self.num_rows).audio_codes[0]

    def _encode_xcodec2(self, waveform: np.ndarray) -> torch.Tensor:
        inputs: Any = self._xcodec2_features(waveform)
        return self._runner.encode(**{name: value.to(self.device) for name, value in inputs.items()}).audio_codes[0]

    def _xcodec2_features(self, waveform: np.ndarray) -> Any:
        # Its spectrogram is made by torchaudio, which has to be there, and says so if it is not.
        from transformers import Xcodec2FeatureExtractor

        config = self.model.config
        extractor = Xcodec2FeatureExtractor(sampling_rate=config.sampling_rate, hop_length=config.hop_length)
        return extractor(waveform, sampling_rate=config.sampling_rate, return_tensors="pt")
