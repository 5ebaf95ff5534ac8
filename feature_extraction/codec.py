"""The codec of the feature extractor: loading, checking, and running it."""

import hashlib
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, EncodecModel, PreTrainedConfig, PreTrainedModel
from transformers.utils.hub import constants

from .audio_tokenizers import CODEC_CLASSES, ClipwiseCodec, CodecFacts, codec_class, codec_facts, is_codec
from .convert_encodec_checkpoint import convert_encodec_state_dict
from .encodec_encoder import FoldedEncodecEncoder, codebook_entries
from .encodec_package import EncodecPackageCodec, is_encodec_package_model, load_encodec_package_model

CODEC_SUBFOLDER = "codec"
"""Subfolder of a saved extractor that holds its codec."""

_IMPORTED_IN = os.getpid()


def use_one_thread_after_fork() -> None:
    """Limit torch to one thread in a worker process (`datasets.map(num_proc=...)`), which could hang otherwise.

    OpenMP threads do not survive a fork: if the parent has run a parallel loop, the first one of the child waits
    forever. Workers that were spawned would not hang, but with all cores each they would wait for each other. The
    workers of a `DataLoader` are limited in the same way.
    """
    is_worker = os.getpid() != _IMPORTED_IN or multiprocessing.parent_process() is not None
    if is_worker and torch.get_num_threads() > 1:
        torch.set_num_threads(1)


@dataclass
class CodecSource:
    """Where a codec comes from.

    Args:
        location (`str`, *optional*): Hub id or local folder.
        revision (`str`, *optional*): Branch, tag or commit, for a Hub id.
        subfolder (`str`, *optional*, defaults to `""`): Folder inside `location`.
        bundled (`bool`, *optional*, defaults to `False`): Whether the codec was saved with the extractor.
        codec_type (`str`, *optional*): Type of a codec on the Hub, a key of `CODEC_CLASSES`.
        backend (`str`, defaults to `"transformers"`): `"encodec"` for an original checkpoint, run by that package.
        model (*optional*): A loaded codec, which makes the other arguments unnecessary.
        hub_options (`dict`, *optional*): Arguments such as `cache_dir` or `token` for loading from the Hub.
    """

    location: str | None = None
    revision: str | None = None
    subfolder: str = ""
    bundled: bool = False
    codec_type: str | None = None
    backend: str = "transformers"
    model: Any = None
    hub_options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(
        cls, codec: Any, revision: str | None, codec_type: str | None = None, backend: str = "transformers"
    ) -> "CodecSource | None":
        """Interpret the extractor's arguments.

        Returns:
            `CodecSource`: Where the codec comes from, or `None` if `codec` is `None`.

        Raises:
            ValueError: If `codec` is not a Hub id, an existing folder or a loaded codec, or does not fit `codec_type`
                or `backend`.
        """
        if backend not in ("transformers", "encodec"):
            raise ValueError(f"`codec_backend` must be 'transformers' or 'encodec', got {backend!r}.")
        if codec_type is not None and codec_type not in CODEC_CLASSES:
            raise ValueError(f"`codec_type` must be one of {', '.join(CODEC_CLASSES)}, got {codec_type!r}.")
        if codec is None:
            return None
        if is_codec(codec) or is_encodec_package_model(codec):
            return cls(model=codec)
        if not isinstance(codec, (str, os.PathLike)):
            raise ValueError(
                "`codec` must be a Hub id, a local folder or a loaded `EncodecModel`, got "
                f"{type(codec).__name__} (`MimiModel`, `DacModel` and `Xcodec2Model` are accepted, too)."
            )
        location = os.fspath(codec)
        if backend == "encodec":
            if not os.path.isfile(location):
                raise ValueError(
                    f"`codec` must be the file of an original checkpoint (.th) with `codec_backend='encodec'`, got "
                    f"{location!r}."
                )
            return cls(location=os.path.abspath(location), backend=backend)
        if os.path.isdir(location):
            return cls(location=os.path.abspath(location))
        if not location or location.count("/") > 1 or location[0] in "/.~" or os.path.isabs(location):
            raise ValueError(f"`codec` names the folder {location!r}, which does not exist.")
        return cls(location=location, revision=revision, codec_type=codec_type)

    @property
    def local_folder(self) -> str | None:
        """Folder that contains the codec; `None` if `location` is not a folder."""
        if self.location is None or not os.path.isdir(self.location):
            return None
        return os.path.join(self.location, self.subfolder)

    @property
    def is_saved_with_extractor(self) -> bool:
        """Whether saving the extractor also writes the codec: always, unless the codec is a Hub id."""
        is_local = self.local_folder is not None
        return self.model is not None or self.bundled or is_local or self.backend == "encodec"

    def facts(self) -> CodecFacts | None:
        """Properties of the codec, read without loading it; `None` means those of the 24 kHz EnCodec."""
        if self.model is not None:
            return None if is_encodec_package_model(self.model) else codec_facts(self.model.config)
        if self.backend == "encodec":
            return None
        folder = self.local_folder
        if folder is not None:
            return codec_facts(AutoConfig.from_pretrained(folder)) if _has_config(folder) else None
        if self.codec_type in (None, "encodec"):
            return None
        return codec_facts(AutoConfig.from_pretrained(self._require_location(), **self._on_the_hub))

    def _require_location(self) -> str:
        if self.location is None:
            raise ValueError("A codec needs a location or a loaded model, got neither.")
        return self.location

    @property
    def _on_the_hub(self) -> dict[str, Any]:
        return {"subfolder": self.subfolder, "revision": self.revision, **self.hub_options}

    def load(self) -> Any:
        """Load the codec in float32 on the CPU, or return the loaded one."""
        if self.model is not None:
            return self.model
        location = self._require_location()
        if self.backend == "encodec":
            return load_encodec_package_model(location)
        if os.path.isdir(location) or os.path.isabs(location):
            folder = os.path.join(location, self.subfolder)
            if not _has_config(folder):
                raise ValueError(f"There is no codec in {folder!r}: its config.json is missing.")
            config = AutoConfig.from_pretrained(folder)
            codec_facts(config)
            return codec_class(config.model_type).from_pretrained(folder, dtype=torch.float32).eval()
        model_class = codec_class(self.codec_type or "encodec")
        return model_class.from_pretrained(location, dtype=torch.float32, **self._on_the_hub).eval()

    def for_pickling(self) -> "CodecSource":
        """The same codec by location, without weights and without the token."""
        if is_encodec_package_model(self.model):
            return CodecSource(location=store_codec(convert_encodec_state_dict(self.model.state_dict())))
        if self.model is not None:
            return CodecSource(location=store_codec(self.model))
        return replace(self, hub_options={k: v for k, v in self.hub_options.items() if k != "token"})


def _has_config(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, "config.json"))


_ENCODEC_SETTINGS = (
    "sampling_rate",
    "normalize",
    "chunk_length_s",
    "overlap",
    "upsampling_ratios",
    "norm_type",
    "dilation_growth_rate",
    "use_causal_conv",
    "pad_mode",
    "use_conv_shortcut",
)
"""Settings of an EnCodec that change its codes and do not follow from the shapes of its weights."""

_VERSIONS_IN_FINGERPRINTS = ("5.23.0",)
"""Versions of transformers that are part of fingerprints made by audioformer 0.1."""


def codec_fingerprint(model: Any) -> str:
    """SHA-256 of the weights of a codec and of those settings that change its codes.

    Equal fingerprints mean equal codes. Versions of libraries, the folder and the type of numbers in the configuration
    are no part of it.
    """
    if is_encodec_package_model(model):
        return _hash_codec(model, f"encodec package, {model.sample_rate} Hz")
    settings = model.config.to_dict()
    if isinstance(model, EncodecModel):
        names = set(_ENCODEC_SETTINGS)
    else:
        names = settings.keys() - PreTrainedConfig().to_dict().keys()
    deciding = {"model_type": model.config.model_type, **{name: settings[name] for name in names if name in settings}}
    return _hash_codec(model, json.dumps(deciding, sort_keys=True, default=str))


def accepted_fingerprints(model: Any) -> list[str]:
    """Fingerprints under which the codes of a codec may have been stored: its own, then those of earlier versions.

    The fingerprints of audioformer 0.1 contained the whole configuration, and in it transformers' version.
    """
    accepted = [codec_fingerprint(model)]
    if not is_encodec_package_model(model):
        settings = model.config.to_diff_dict()
        for version in dict.fromkeys((*_VERSIONS_IN_FINGERPRINTS, settings.get("transformers_version"))):
            text = json.dumps({**settings, "transformers_version": version}, indent=2, sort_keys=True) + "\n"
            accepted.append(_hash_codec(model, text))
    return accepted


def _hash_codec(model: Any, settings: str) -> str:
    digest = hashlib.sha256(settings.encode())
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def store_codec(model: PreTrainedModel) -> str:
    """Write a loaded codec to the local cache, once, under a name derived from its content.

    Other processes (workers of a `DataLoader` or of `datasets.map`) then load it by name, and two pickles of the same
    codec are equal.

    Args:
        model (`PreTrainedModel`): The codec.

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
            # A rename is atomic: no process sees an incomplete codec.
            os.rename(scratch, folder)
        except OSError:
            # Another process was first.
            shutil.rmtree(scratch)
            if not folder.is_dir():
                raise
    return str(folder)


def check_codebooks(codebooks: Any) -> int | list[int]:
    """Check the setting `codebooks` of the extractor.

    Args:
        codebooks (`int` or sequence of `int`): One codebook index from 0, or several different ones.

    Returns:
        `int` or `list[int]`: The same as plain integers.

    Raises:
        ValueError: If it is anything else.
    """
    is_list = isinstance(codebooks, (Sequence, np.ndarray))
    indices = list(codebooks) if is_list else [codebooks]
    valid = all(isinstance(i, (int, np.integer)) and not isinstance(i, bool) and i >= 0 for i in indices)
    if not indices or not valid or len(set(indices)) != len(indices):
        raise ValueError(
            f"`codebooks` must be a codebook index of at least 0 or a list of different indices, got {codebooks!r}."
        )
    return [int(i) for i in indices] if is_list else int(codebooks)


def check_codec(
    model: Any, *, sampling_rate: int, codebook_size: int, bandwidth: float, codebooks: Sequence[int]
) -> None:
    """Refuse a codec that does not fit the extractor's settings.

    Args:
        model: The codec.
        sampling_rate (`int`): Rate in Hz that the extractor resamples to.
        codebook_size (`int`): Number of entries per codebook that the model's vocabulary has room for.
        bandwidth (`float`): Bandwidth of an EnCodec in kb/s, which decides how many codebooks it has.
        codebooks (sequence of `int`): Indices of the codebooks to read.

    Raises:
        ValueError: If the codec does not fit; the message says why.
    """
    if is_encodec_package_model(model):
        EncodecPackageCodec.check(model, sampling_rate, codebook_size, bandwidth, max(codebooks))
        return
    facts = codec_facts(model.config)
    if facts.sampling_rate != sampling_rate:
        raise ValueError(
            f"The codec works at {facts.sampling_rate} Hz, the extractor at {sampling_rate} Hz: they must be equal."
        )
    if facts.codebook_size != codebook_size:
        raise ValueError(
            f"The codec has {facts.codebook_size} entries per codebook, but {codebook_size} are expected."
        )
    if isinstance(model, EncodecModel):
        _check_encodec(model, bandwidth, max(codebooks))
    elif max(codebooks) >= facts.num_codebooks:
        raise ValueError(
            f"`codebooks` contains {max(codebooks)}, but the codec has the codebooks 0 to {facts.num_codebooks - 1}."
        )


def _check_encodec(model: EncodecModel, bandwidth: float, last_codebook: int) -> None:
    """Check what the folded encoder needs, and that the codebooks exist and were trained."""
    config = model.config
    unsupported = {
        "`use_causal_conv=False` (codes would depend on later samples)": not config.use_causal_conv,
        f"`norm_type={config.norm_type!r}` (must be 'weight_norm')": config.norm_type != "weight_norm",
        f"`pad_mode={config.pad_mode!r}` (must be 'reflect')": config.pad_mode != "reflect",
        f"`chunk_length_s={config.chunk_length_s}` (must be `None`, because chunks overlap)": config.chunk_length_s
        is not None,
        "`normalize=True` (codes would depend on the whole clip)": config.normalize,
        f"`audio_channels={config.audio_channels}` (must be 1)": config.audio_channels != 1,
    }
    reasons = [reason for reason, applies in unsupported.items() if applies]
    if reasons:
        raise ValueError(f"The codec is not supported: {'; '.join(reasons)}.")
    if bandwidth not in config.target_bandwidths:
        raise ValueError(
            f"The codec has no bandwidth of {bandwidth} kb/s, only {', '.join(map(str, config.target_bandwidths))}."
        )
    num_codebooks = min(model.quantizer.get_num_quantizers_for_bandwidth(bandwidth), len(model.quantizer.layers))
    if last_codebook >= num_codebooks:
        raise ValueError(
            f"`codebooks` contains {last_codebook}, but at {bandwidth} kb/s the codec has the codebooks 0 to "
            f"{num_codebooks - 1}."
        )
    for codebook in range(last_codebook + 1):
        if not codebook_entries(model, codebook).any():
            raise ValueError(
                f"Codebook {codebook} of the codec is all zeros, so every code would be 0: the codec was never "
                "trained, or is not an EnCodec (for another codec on the Hub give its `codec_type`)."
            )


class EncodecCodec:
    """A loaded, checked `EncodecModel`, ready to encode.

    Args:
        model (`EncodecModel`): The codec; it is not changed.
        num_codebooks (`int`): Number of codebooks to search, starting with the first.
        device (`str`): Device to encode on.
    """

    is_causal = True

    def __init__(self, model: EncodecModel, num_codebooks: int, device: str):
        self.model = model
        self.hop_length = model.config.hop_length
        self._encoder = FoldedEncodecEncoder(model, num_codebooks, device)

    def encode(self, waveforms: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Encode mono float32 clips, `(num_samples,)`, into int64 codes, `(num_frames, num_codebooks)`."""
        return self._encoder.encode(waveforms)


Codec = EncodecCodec | ClipwiseCodec | EncodecPackageCodec
"""All have `model`, `hop_length`, `is_causal` (no code depends on later samples) and `encode`."""


def open_codec(model: Any, num_codebooks: int, bandwidth: float, device: str) -> Codec:
    """Set up a loaded, checked codec for encoding."""
    if is_encodec_package_model(model):
        return EncodecPackageCodec(model, num_codebooks, bandwidth, device)
    codec_class = EncodecCodec if isinstance(model, EncodecModel) else ClipwiseCodec
    return codec_class(model, num_codebooks, device)
