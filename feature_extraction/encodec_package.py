"""The reference package `encodec` as a backend, which runs original checkpoints with the original code."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .convert_encodec_checkpoint import read_encodec_checkpoint
from .matrix_products import full_precision


def is_encodec_package_model(model: Any) -> bool:
    """Whether `model` is an `encodec.EncodecModel`, without importing the package."""
    package = sys.modules.get("encodec")
    return package is not None and isinstance(model, package.EncodecModel)


def load_encodec_package_model(path: str) -> Any:
    """Load an original checkpoint of the 24 kHz EnCodec.

    Args:
        path (`str`): A `.th` file, read with `weights_only=True`.

    Returns:
        `encodec.EncodecModel`: The codec, in evaluation mode on the CPU.

    Raises:
        ImportError: If the package cannot be imported, for instance because torchaudio is missing or does not match
            torch. The message says how to do without.
        ValueError: If the checkpoint is not that of a 24 kHz EnCodec.
    """
    try:
        from encodec import EncodecModel
    except (ImportError, OSError) as error:
        raise ImportError(
            f"`codec_backend='encodec'` needs the package encodec and a torchaudio that matches torch ({error}). "
            "Either install both, or convert the checkpoint once, which needs neither: `python -m "
            "audioformer.feature_extraction.convert_encodec_checkpoint CHECKPOINT FOLDER`, and use the folder."
        ) from error
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    try:
        model.load_state_dict(read_encodec_checkpoint(path))
    except RuntimeError as error:
        raise ValueError(f"{path!r} is not a checkpoint of the 24 kHz EnCodec: {error}") from error
    return model.eval()


class EncodecPackageCodec:
    """A loaded, checked `encodec.EncodecModel`. Each clip is encoded on its own.

    Args:
        model (`encodec.EncodecModel`): The codec. It is moved to `device`, because its weight norm cannot be copied.
        num_codebooks (`int`): Number of codebooks to keep, starting with the first.
        bandwidth (`float`): Bandwidth in kb/s.
        device (`str`): Device to encode on.
    """

    is_causal = True

    def __init__(self, model: Any, num_codebooks: int, bandwidth: float, device: str):
        self.model, self.num_codebooks, self.device = model, num_codebooks, torch.device(device)
        self.hop_length = int(np.prod(model.encoder.ratios))
        self.bandwidth = bandwidth
        model.to(self.device).eval()

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode mono float32 clips, `(num_samples,)`, into int64 codes, `(num_frames, num_codebooks)`."""
        codes = []
        self.model.set_target_bandwidth(self.bandwidth)
        with full_precision(self.device):
            for waveform in waveforms:
                ((frame, _),) = self.model.encode(torch.from_numpy(waveform)[None, None].to(self.device))
                codes.append(frame[0, : self.num_codebooks].T.cpu().numpy())
        return codes

    @staticmethod
    def check(model: Any, sampling_rate: int, codebook_size: int, bandwidth: float, last_codebook: int) -> None:
        """Refuse a model that does not fit the extractor's settings.

        Raises:
            ValueError: If sampling rate, architecture, codebook size, bandwidth or codebooks do not fit; the message
                says which.
        """
        if model.sample_rate != sampling_rate:
            raise ValueError(
                f"The codec works at {model.sample_rate} Hz, the extractor at {sampling_rate} Hz: they must be equal."
            )
        if model.channels != 1 or model.normalize or model.segment is not None:
            raise ValueError("The codec is not supported: it must be the mono EnCodec of 24 kHz.")
        if model.quantizer.bins != codebook_size:
            raise ValueError(
                f"The codec has {model.quantizer.bins} entries per codebook, but {codebook_size} are expected."
            )
        if bandwidth not in model.target_bandwidths:
            known = ", ".join(map(str, model.target_bandwidths))
            raise ValueError(f"The codec has no bandwidth of {bandwidth} kb/s, only {known}.")
        num_codebooks = model.quantizer.get_num_quantizers_for_bandwidth(model.frame_rate, bandwidth)
        if last_codebook >= num_codebooks:
            raise ValueError(
                f"`codebooks` contains {last_codebook}, but at {bandwidth} kb/s the codec has the codebooks 0 to "
                f"{num_codebooks - 1}."
            )
