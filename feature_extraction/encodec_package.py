"""The reference package `encodec` as backend: original checkpoints, run by the code they were published with."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .convert_encodec_checkpoint import read_encodec_checkpoint
from .encodec_encoder import full_precision


def is_encodec_package_model(model: Any) -> bool:
    """Whether this is an `encodec.EncodecModel`; the package is not imported to find out."""
    package = sys.modules.get("encodec")
    return package is not None and isinstance(model, package.EncodecModel)


def load_encodec_package_model(path: str) -> Any:
    """Load an original checkpoint of the 24 kHz EnCodec.

    Args:
        path (`str`): A `.th` file, read with `weights_only=True`.

    Returns:
        `encodec.EncodecModel`, in evaluation mode on the CPU.

    Raises:
        ImportError: If the package cannot be imported, for instance because torchaudio is missing or does not fit
            torch; with the way around it.
        ValueError: If the checkpoint is no such codec.
    """
    try:
        from encodec import EncodecModel
    except (ImportError, OSError) as error:
        raise ImportError(
            f"`codec_backend='encodec'` needs the package encodec and a torchaudio that fits torch ({error}). Either "
            "`pip install encodec` with them, or convert the checkpoint once, which needs neither: `python -m "
            "audioformer.feature_extraction.convert_encodec_checkpoint CHECKPOINT FOLDER`, and give the folder."
        ) from error
    model = EncodecModel.encodec_model_24khz(pretrained=False)
    try:
        model.load_state_dict(read_encodec_checkpoint(path))
    except RuntimeError as error:
        raise ValueError(f"{path!r} is no checkpoint of the 24 kHz EnCodec: {error}") from error
    return model.eval()


class EncodecPackageCodec:
    """A loaded, checked `encodec.EncodecModel`. Each clip is encoded by itself.

    Args:
        model (`encodec.EncodecModel`): The codec. It is moved to `device`: its weight norm forbids copies.
        num_rows (`int`): How many rows of codes to keep, beginning with the first.
        bandwidth (`float`): Bandwidth in kb/s.
        device (`str`): Where to encode.
    """

    is_causal = True

    def __init__(self, model: Any, num_rows: int, bandwidth: float, device: str):
        self.model, self.num_rows, self.device = model, num_rows, torch.device(device)
        self.hop_length = int(np.prod(model.encoder.ratios))
        self.bandwidth = bandwidth
        model.to(self.device).eval()

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode mono float32 clips of shape `(samples,)` into int64 codes of shape `(frames, num_rows)`."""
        codes = []
        self.model.set_target_bandwidth(self.bandwidth)
        with full_precision(self.device):
            for waveform in waveforms:
                ((frame, _),) = self.model.encode(torch.from_numpy(waveform)[None, None].to(self.device))
                codes.append(frame[0, : self.num_rows].T.cpu().numpy())
        return codes

    @staticmethod
    def check(model: Any, sampling_rate: int, codebook_size: int, bandwidth: float, last_row: int) -> None:
        """Refuse a model whose codes would not be what the extractor promises.

        Raises:
            ValueError: If rate, kind, codebook size, bandwidth or rows do not fit; the message says which.
        """
        if model.sample_rate != sampling_rate:
            raise ValueError(
                f"The codec works at {model.sample_rate} Hz, the extractor at {sampling_rate} Hz: they must be equal."
            )
        if model.channels != 1 or model.normalize or model.segment is not None:
            raise ValueError("The codec is of a kind that is not supported: only the mono EnCodec of 24 kHz is.")
        if model.quantizer.bins != codebook_size:
            raise ValueError(f"The codec has {model.quantizer.bins} entries a codebook, {codebook_size} are expected.")
        if bandwidth not in model.target_bandwidths:
            known = ", ".join(map(str, model.target_bandwidths))
            raise ValueError(f"The codec has no bandwidth of {bandwidth} kb/s, only {known}.")
        num_rows = model.quantizer.get_num_quantizers_for_bandwidth(model.frame_rate, bandwidth)
        if last_row >= num_rows:
            raise ValueError(
                f"`codebooks` asks for row {last_row}, but {bandwidth} kb/s give the rows 0 to {num_rows - 1}."
            )
