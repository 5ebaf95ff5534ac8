"""The codec behind the feature extractor: where it comes from, whether it fits, and its fast encoder."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import EncodecModel
from transformers.utils.hub import constants

from .encodec_encoder import FoldedEncodecEncoder

CODEC_SUBFOLDER = "codec"
"""Name of the folder next to a saved extractor that holds its codec."""

_IMPORTED_IN = os.getpid()


def use_one_thread_after_fork() -> None:
    """Keep a forked worker (`datasets.map(num_proc=...)`) from hanging.

    The threads of OpenMP do not survive a fork, so the first parallel loop of a child waits for ever if its parent had
    run one; with one thread there is none. The workers of a `DataLoader` are limited in the same way.
    """
    if os.getpid() != _IMPORTED_IN and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@dataclass
class CodecSource:
    """Where a codec is taken from.

    Args:
        location (`str`, *optional*): Hub id of a repository, or a local folder.
        revision (`str`, *optional*): Branch, tag or commit, for a Hub id.
        subfolder (`str`, *optional*, defaults to `""`): Folder inside `location`.
        bundled (`bool`, *optional*, defaults to `False`): Whether the codec came with a saved extractor.
        model (`EncodecModel`, *optional*): A codec that is already loaded; nothing else is needed then.
        hub_options (`dict`, *optional*): Arguments such as `cache_dir` or `token` for loading from the Hub.
    """

    location: str | None = None
    revision: str | None = None
    subfolder: str = ""
    bundled: bool = False
    model: EncodecModel | None = None
    hub_options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, codec: Any, revision: str | None) -> "CodecSource | None":
        """Read the extractor's `codec` argument.

        Raises:
            ValueError: If `codec` is neither a Hub id, nor an existing folder, nor a loaded `EncodecModel`.
        """
        if codec is None:
            return None
        if isinstance(codec, EncodecModel):
            return cls(model=codec)
        if not isinstance(codec, (str, os.PathLike)):
            raise ValueError(
                f"`codec` must be a Hub id, a local folder or a loaded `EncodecModel`, got {type(codec).__name__}."
            )
        location = os.fspath(codec)
        if os.path.isdir(location):
            return cls(location=os.path.abspath(location))
        if not location or location.count("/") > 1 or location[0] in "/.~" or os.path.isabs(location):
            raise ValueError(f"`codec` names the folder {location!r}, which does not exist.")
        return cls(location=location, revision=revision)

    @property
    def is_local(self) -> bool:
        return self.location is not None and os.path.isdir(self.location)

    @property
    def travels(self) -> bool:
        """Whether saving the extractor writes the codec too: it does unless a Hub id says where to find it."""
        return self.model is not None or self.bundled or self.is_local

    def load(self) -> EncodecModel:
        """Load the codec in float32 on the CPU, or hand out the loaded one."""
        if self.model is not None:
            return self.model
        if self.is_local or (self.location is not None and os.path.isabs(self.location)):
            folder = os.path.join(self.location, self.subfolder)
            if not os.path.isfile(os.path.join(folder, "config.json")):
                raise ValueError(f"There is no codec in {folder!r}: its config.json is missing.")
            return EncodecModel.from_pretrained(folder, dtype=torch.float32).eval()
        return EncodecModel.from_pretrained(
            self.location, subfolder=self.subfolder, revision=self.revision, dtype=torch.float32, **self.hub_options
        ).eval()

    def for_pickling(self) -> "CodecSource":
        """The same codec by name: without weights, and without the token."""
        if self.model is not None:
            return CodecSource(location=store_codec(self.model))
        return replace(self, hub_options={k: v for k, v in self.hub_options.items() if k != "token"})


def codec_fingerprint(model: EncodecModel) -> str:
    """SHA-256 over the settings and weights of a codec: equal fingerprints give equal codes."""
    digest = hashlib.sha256(model.config.to_json_string().encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def store_codec(model: EncodecModel) -> str:
    """Write a loaded codec to the local cache once, under a name made from its content.

    Other processes (workers of a `DataLoader` or of `datasets.map`) then load it by name, and two pickles of the same
    codec are equal.

    Args:
        model (`EncodecModel`): The codec.

    Returns:
        `str`: The folder.
    """
    root = Path(constants.HF_HOME) / "audioformer"
    folder = root / f"codec-{codec_fingerprint(model)[:32]}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        scratch = tempfile.mkdtemp(dir=root)
        model.save_pretrained(scratch)
        try:
            # A rename is atomic: no process ever sees half a codec.
            os.rename(scratch, folder)
        except OSError:
            # Another process was first.
            shutil.rmtree(scratch)
            if not folder.is_dir():
                raise
    return str(folder)


def check_codec(
    model: EncodecModel, *, sampling_rate: int, codebook_size: int, bandwidth: float, codebooks: Sequence[int]
) -> None:
    """Refuse a codec whose codes would not be what the extractor promises.

    Args:
        model (`EncodecModel`): The codec.
        sampling_rate (`int`): Rate in Hz that the extractor resamples to.
        codebook_size (`int`): Entries of a codebook that the model's vocabulary has room for.
        bandwidth (`float`): Bandwidth in kb/s, which sets the number of rows.
        codebooks (sequence of `int`): The rows asked for, from 0.

    Raises:
        ValueError: If something does not fit; the message says what.
    """
    config = model.config
    if config.sampling_rate != sampling_rate:
        raise ValueError(
            f"The codec works at {config.sampling_rate} Hz, the extractor at {sampling_rate} Hz: they must be equal."
        )
    if config.codebook_size != codebook_size:
        raise ValueError(f"The codec has {config.codebook_size} entries a codebook, {codebook_size} are expected.")
    unsupported = {
        "`use_causal_conv=False` (codes would depend on the future)": not config.use_causal_conv,
        f"`norm_type={config.norm_type!r}` (only 'weight_norm' can be folded)": config.norm_type != "weight_norm",
        f"`pad_mode={config.pad_mode!r}` (only 'reflect' is)": config.pad_mode != "reflect",
        f"`chunk_length_s={config.chunk_length_s}` (chunks overlap)": config.chunk_length_s is not None,
        "`normalize=True` (codes would depend on the whole clip)": config.normalize,
        f"`audio_channels={config.audio_channels}` (only mono is)": config.audio_channels != 1,
    }
    reasons = [reason for reason, applies in unsupported.items() if applies]
    if reasons:
        raise ValueError(f"The codec is of a kind that is not supported: {'; '.join(reasons)}.")
    if bandwidth not in config.target_bandwidths:
        raise ValueError(
            f"The codec has no bandwidth of {bandwidth} kb/s, only {', '.join(map(str, config.target_bandwidths))}."
        )
    num_rows = min(model.quantizer.get_num_quantizers_for_bandwidth(bandwidth), len(model.quantizer.layers))
    if max(codebooks) >= num_rows:
        raise ValueError(
            f"`codebooks` asks for row {max(codebooks)}, but {bandwidth} kb/s give the rows 0 to {num_rows - 1}."
        )
    for row in range(max(codebooks) + 1):
        if not model.quantizer.layers[row].codebook.embed.any():
            raise ValueError(
                f"Codebook {row} of the codec is all zeros, so every code would be 0: the codec was never trained."
            )


class Codec:
    """A loaded, checked codec, ready to encode.

    Args:
        model (`EncodecModel`): The codec; it stays untouched.
        num_rows (`int`): How many codebooks to search, beginning with the first.
        device (`str`): Where to encode.
    """

    def __init__(self, model: EncodecModel, num_rows: int, device: str):
        self.model = model
        self.hop_length = model.config.hop_length
        self._encoder = FoldedEncodecEncoder(model, num_rows, device)

    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode mono float32 clips of shape `(samples,)` into int64 codes of shape `(frames, num_rows)`."""
        return self._encoder.encode(waveforms)
