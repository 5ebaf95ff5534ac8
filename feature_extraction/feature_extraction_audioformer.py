"""Feature extractor of AudioFormer: waveforms to token ids of a neural audio codec."""

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from .codec import (
    CODEC_SUBFOLDER,
    Codec,
    CodecSource,
    check_codebooks,
    check_codec,
    open_codec,
    use_one_thread_after_fork,
)
from .convert_encodec_checkpoint import convert_encodec_state_dict
from .encodec_package import is_encodec_package_model
from .level import NORMALIZATION_SETTINGS, check_normalization, normalize_rms
from .sequences import TokenIdFeatureExtractor, check_max_length, round_up
from .token_ids import CODE_OFFSET, PAD_TOKEN_ID, codes_to_ids
from .waveforms import prepare_waveforms

# The reflection at the start of a clip and the first convolutions read at most this many frames: if a clip were cut to
# fewer, its first codes could differ from those of the whole clip.
_MIN_FRAMES_TO_ENCODE = 16

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "proxies")


class AudioFormerFeatureExtractor(TokenIdFeatureExtractor):
    r"""
    Constructs an AudioFormer feature extractor: audio -> EnCodec codes -> token ids.

    A clip of `num_samples` samples at 24 kHz becomes `num_frames = ceil(num_samples / 320)` codes per codebook (75 per
    second), shifted by 3 and placed between `<BOA>` (0) and `<EOA>` (2); shorter clips of a batch are padded with
    `<PAD>` (1). See AudioFormer (arXiv 2308.07221), sections 3.1 and 4.2. A clip has the same ids alone and in any
    batch.

    The codec is loaded when it is first needed. Pickles never contain it: a loaded codec is written to the Hugging
    Face cache once, and the pickle refers to that folder.

    Args:
        codec (`str` or model, *optional*, defaults to `"facebook/encodec_24khz"`):
            A Hub id, a local folder or a loaded model, which must not change afterwards and runs in float32. It can
            be an EnCodec that is causal, mono and unchunked (such as the 24 kHz one), or a Mimi, DAC or X-Codec 2
            model of transformers.
        codebooks (`int` or `list[int]`, *optional*, defaults to 0):
            Indices of the codebooks to read; index 0 is what the paper calls C1. An `int` gives `input_ids` of shape
            `(batch_size, sequence_length)`, a list `(batch_size, sequence_length, num_codebooks)` in its order.
        bandwidth (`float`, *optional*, defaults to 3.0):
            Bandwidth of an EnCodec in kb/s; 3.0 gives four codebooks. It must be among the codec's
            `target_bandwidths`.
        sampling_rate (`int`, *optional*):
            Rate in Hz that audio is resampled to, which must be the codec's. By default 24000 for EnCodec, and the
            rate in the codec's configuration for others.
        codec_revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        padding_value (`int`, *optional*, defaults to 1):
            Id used for padding.
        codebook_size (`int`, *optional*):
            Number of entries per codebook; a codec with another number is refused. By default 1024 for EnCodec, and
            the number in the codec's configuration for others.
        codec_subfolder (`str`, *optional*):
            Set by `save_pretrained` when the codec is saved with the extractor; `codec` is then `None`.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether to return `attention_mask`: 1 for BOA, codes and EOA, 0 for padding.
        padding_side (`str`, *optional*, defaults to `"right"`):
            `"right"` or `"left"`.
        codec_type (`str`, *optional*, defaults to `"encodec"`):
            Type of a codec on the Hub: `"encodec"`, `"mimi"`, `"dac"` or `"xcodec2"`. For a folder or a loaded model
            it is detected.
        codec_backend (`str`, *optional*, defaults to `"transformers"`):
            `"encodec"` runs an original checkpoint (`codec` is its `.th` file) in the package `encodec`. It is saved
            as an `EncodecModel`, which does not need that package.
        normalize (`str`, *optional*):
            `"rms"` multiplies each clip, after resampling, so that its root mean square is `target_rms`: codes then
            do not depend on how loud a recording is. The whole clip counts, also where `max_length` cuts it; what is
            passed as a clip of its own, such as a window of a longer file, has a level of its own. Samples beyond 1
            are not clipped. By default waveforms are encoded as they are, as in the paper. A model must be used with
            the setting that it was trained with.
        target_rms (`float`, *optional*, defaults to 0.1):
            Root mean square after `normalize="rms"`, in amplitude, where 1 is full scale; 0.1 is -20 dBFS.
        min_rms (`float`, *optional*, defaults to 0.001):
            A clip whose root mean square is lower is amplified as one of this level, by `target_rms / min_rms`, so
            that silence stays silence; 0.001 is -60 dBFS.

    Raises:
        ValueError: If `codebooks`, `codec`, `normalize` or a level is invalid, or, when the codec is loaded, if its
            sampling rate, codebook size, bandwidths, number of codebooks or architecture do not fit, or its codebooks
            were never trained.

    Example:

    ```python
    >>> from audioformer import AudioFormerFeatureExtractor

    >>> extractor = AudioFormerFeatureExtractor(codec="path/to/codec")
    >>> inputs = extractor([first_clip, second_clip], sampling_rate=44100, return_tensors="pt")
    >>> inputs["input_ids"].shape  # 10 s: BOA, 750 codes, EOA
    torch.Size([2, 752])
    ```"""

    def __init__(
        self,
        codec: Any = "facebook/encodec_24khz",
        codebooks: int | Sequence[int] = 0,
        bandwidth: float = 3.0,
        sampling_rate: int | None = None,
        codec_revision: str | None = None,
        padding_value: int = PAD_TOKEN_ID,
        codebook_size: int | None = None,
        codec_subfolder: str | None = None,
        return_attention_mask: bool = True,
        padding_side: str = "right",
        codec_type: str | None = None,
        codec_backend: str = "transformers",
        normalize: str | None = None,
        target_rms: float = 0.1,
        min_rms: float = 0.001,
        **kwargs: Any,
    ):
        kwargs.pop("feature_size", None)
        kwargs.pop("feature_extractor_type", None)
        if padding_side not in ("right", "left"):
            raise ValueError(f"`padding_side` must be 'right' or 'left', got {padding_side!r}.")
        self._source = CodecSource.parse(codec, codec_revision, codec_type, codec_backend)
        sampling_rate, codebook_size = self._fill_in(sampling_rate, codebook_size)
        super().__init__(
            feature_size=1,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            padding_side=padding_side,
            **kwargs,
        )
        self.codebooks = check_codebooks(codebooks)
        self.bandwidth = float(bandwidth)
        self.codebook_size = codebook_size
        self.codec_subfolder = codec_subfolder
        self.normalize, self.target_rms, self.min_rms = check_normalization(normalize, target_rms, min_rms)
        self._device = "cpu"
        self._codec: Codec | None = None
        self._codec_settings: tuple | None = None
        if self._source is not None and self._source.model is not None:
            self._check(self._source.model)

    def _fill_in(self, sampling_rate: int | None, codebook_size: int | None) -> tuple[int, int]:
        """The given values, else those of the codec's configuration, else those of EnCodec."""
        if sampling_rate is not None and codebook_size is not None:
            return sampling_rate, codebook_size
        facts = None if self._source is None else self._source.facts()
        rate, size = (24000, 1024) if facts is None or facts.is_encodec else (facts.sampling_rate, facts.codebook_size)
        return (rate if sampling_rate is None else sampling_rate, size if codebook_size is None else codebook_size)

    @property
    def codec(self) -> Any:
        """The codec in float32, loaded on first use. It must not be changed."""
        return self._load_codec().model

    @property
    def hop_length(self) -> int:
        """Number of samples per frame. Loads the codec."""
        return self._load_codec().hop_length

    @property
    def frame_rate(self) -> float:
        """Number of frames per second. Loads the codec."""
        return self.sampling_rate / self.hop_length

    @property
    def device(self) -> str:
        """Device that the codec runs on."""
        return self._device

    @property
    def normalization(self) -> dict[str, Any]:
        """The settings that decide the level of what is encoded; empty if waveforms are encoded as they are."""
        return {} if self.normalize is None else {name: getattr(self, name) for name in NORMALIZATION_SETTINGS}

    def model_config(self) -> dict[str, Any]:
        """Arguments of an `AudioFormerConfig` that fits these ids: vocabulary, rates, and codebook or codebooks."""
        indices = self._codebooks
        reads: dict[str, Any] = {"codebook": indices[0]} if len(indices) == 1 else {"codebooks": indices}
        return {
            "codebook_size": self.codebook_size,
            "mask_token_id": self.codebook_size + CODE_OFFSET,
            "vocab_size": self.codebook_size + CODE_OFFSET + 1,
            "sampling_rate": self.sampling_rate,
            "hop_length": self.hop_length,
            **reads,
        }

    def to(self, device: Any) -> "AudioFormerFeatureExtractor":
        """Encode on `device` (`str`, `int` or `torch.device`) from now on. Ids are still returned on the CPU."""
        self._device = str(torch.device(device))
        return self

    @property
    def _codebooks(self) -> list[int]:
        return [self.codebooks] if isinstance(self.codebooks, int) else list(self.codebooks)

    def _check(self, model: Any) -> None:
        check_codec(
            model,
            sampling_rate=self.sampling_rate,
            codebook_size=self.codebook_size,
            bandwidth=self.bandwidth,
            codebooks=self._codebooks,
        )

    def _load_codec(self) -> Codec:
        """The codec for the current settings, set up again only if they have changed."""
        use_one_thread_after_fork()
        settings = (max(self._codebooks), self.bandwidth, self.sampling_rate, self.codebook_size, self._device)
        if self._codec is None or self._codec_settings != settings:
            if self._source is None:
                raise ValueError(
                    "This feature extractor has no codec: pass `codec=...`, or load it with `from_pretrained` from the"
                    " folder it was saved to."
                )
            # Weights loaded in inference mode could not be trained or saved later.
            with torch.inference_mode(False):
                model = self._source.load() if self._codec is None else self._codec.model
                self._check(model)
                self._codec = open_codec(model, max(self._codebooks) + 1, self.bandwidth, self._device)
            self._codec_settings = settings
        return self._codec

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: float | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | TensorType | None = None,
        return_attention_mask: bool | None = None,
    ) -> BatchFeature:
        """
        Encode one clip or a list of clips.

        Args:
            raw_speech (`np.ndarray`, `torch.Tensor`, `list[float]`, `dict`, decoder, or a list of these):
                A clip has the shape `(num_samples,)`, or `(num_channels, num_samples)`, of which the mean is taken. It
                holds floating-point samples, or integer PCM (uint8, int8, int16, int32), which is scaled to [-1, 1).
                It can also be a dict with `"array"` (or `"raw"`) and `"sampling_rate"`, or an item decoded by
                `datasets`. Pass several clips as a list; a single array is always one clip, and gives a batch of one.
                Read files with `audioformer.load_audio`.
            sampling_rate (`float`, *optional*):
                Rate in Hz of the clips that do not carry their own. Without it the extractor's rate is assumed, with a
                warning. Clips of another rate are resampled (soxr, high quality).
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `True` or `"longest"`, `"max_length"`, or `False`.
            max_length (`int`, *optional*):
                Length in ids, BOA and EOA included, to pad to with `padding="max_length"` and to cut to with
                `truncation=True`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer clips. The remaining codes are those of the uncut clip, followed by EOA.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`; `None` gives NumPy arrays, in a list if their lengths differ.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; by default the extractor's setting.

        Returns:
            [`BatchFeature`]: `input_ids` of shape `(batch_size, sequence_length)`, or `(batch_size, sequence_length,
            num_codebooks)` for a list of codebooks, and `attention_mask` of shape `(batch_size, sequence_length)`;
            both are int64.

        Raises:
            ValueError: If a clip is empty, is not finite, or has a wrong rank, type or rate (the message names the
                clip), or if `max_length` leaves no room for a code.
        """
        max_frames = None
        if truncation:
            max_frames = round_up(check_max_length(max_length), pad_to_multiple_of) - 2
            if max_frames < 1:
                raise ValueError(f"`max_length` must be at least 3 (BOA, one code, EOA), got {max_length}.")
        codes = self._encode(raw_speech, sampling_rate, max_frames)
        if isinstance(self.codebooks, int):
            codes = [clip_codes[:, 0] for clip_codes in codes]
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False):
            return self.pad(
                {"input_ids": [codes_to_ids(clip_codes) for clip_codes in codes]},
                padding=padding,
                max_length=max_length,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )

    def encode(self, waveforms: Any, sampling_rate: float | None = None) -> list[np.ndarray]:
        """
        Encode one clip or a list of clips into codes, without special ids or padding.

        Args:
            waveforms (`np.ndarray`, `torch.Tensor`, `list[float]`, `dict`, decoder, or a list of these):
                Clips as in `__call__`.
            sampling_rate (`float`, *optional*):
                Rate in Hz of the clips that do not carry their own, as in `__call__`.

        Returns:
            `list[np.ndarray]`: Per clip the codes of the extractor's codebooks, int64 of shape `(num_frames,
            num_codebooks)`, with `num_codebooks` 1 if `codebooks` is an `int`.

        Raises:
            ValueError: If a clip is empty, is not finite, or has a wrong rank, type or rate; the message names it.
        """
        return self._encode(waveforms, sampling_rate)

    def _encode(self, clips: Any, sampling_rate: float | None, max_frames: int | None = None) -> list[np.ndarray]:
        codec = self._load_codec()
        waveforms = prepare_waveforms(clips, sampling_rate, self.sampling_rate)
        if self.normalize == "rms":
            # Before clips are cut: the remaining codes are those of the uncut clip.
            waveforms = [normalize_rms(waveform, self.target_rms, self.min_rms) for waveform in waveforms]
        if max_frames is not None and codec.is_causal:
            max_samples = max(max_frames, _MIN_FRAMES_TO_ENCODE) * codec.hop_length
            waveforms = [waveform[:max_samples] for waveform in waveforms]
        with torch.inference_mode(False):
            return [clip_codes[:max_frames, self._codebooks] for clip_codes in codec.encode(waveforms)]

    def with_codebooks(self, codebooks: int | Sequence[int]) -> "AudioFormerFeatureExtractor":
        """
        Make a copy that reads other codebooks and shares the codec, if it is loaded.

        Args:
            codebooks (`int` or `list[int]`): Codebook indices, as in the constructor.

        Returns:
            `AudioFormerFeatureExtractor`: The copy; this extractor is not changed.

        Raises:
            ValueError: If `codebooks` is invalid, or the codec is loaded and does not have them.
        """
        other = copy.deepcopy(self)
        other.codebooks = check_codebooks(codebooks)
        if other._codec is not None:
            other._check(other._codec.model)
        elif other._source is not None and other._source.model is not None:
            other._check(other._source.model)
        return other

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved: plain values without weights or local paths."""
        output = copy.deepcopy({key: value for key, value in self.__dict__.items() if not key.startswith("_")})
        is_bundled = self._source is not None and self._source.is_saved_with_extractor
        # A codec that is saved with the extractor is found there, wherever it was loaded from.
        named = CodecSource() if self._source is None or is_bundled else self._source
        output["codec"] = named.location
        output["codec_revision"] = named.revision
        output["codec_type"] = named.codec_type
        output["codec_subfolder"] = CODEC_SUBFOLDER if is_bundled else None
        output["feature_extractor_type"] = type(self).__name__
        return output

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """
        Save the extractor, together with the codec in the subfolder `codec/` unless the codec is a Hub id.

        Args:
            save_directory (`str` or `os.PathLike`): The folder, created if necessary.
            push_to_hub (`bool`, *optional*, defaults to `False`): Whether to upload the saved files.
            kwargs: Arguments of `push_to_hub`, such as `repo_id` (by default the folder's name).

        Returns:
            `list[str]`: The JSON file that was written.
        """
        files = super().save_pretrained(save_directory)
        if self._source is not None and self._source.is_saved_with_extractor:
            target = os.path.join(save_directory, CODEC_SUBFOLDER)
            here = self._source.local_folder
            # Loaded weights may still be memory-mapped from the very file that would be overwritten.
            if not (here is not None and os.path.isdir(target) and os.path.samefile(here, target)):
                model = self.codec
                if is_encodec_package_model(model):
                    model = convert_encodec_state_dict(model.state_dict())
                model.save_pretrained(target)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", os.path.basename(os.path.normpath(save_directory)))
            self.push_to_hub(repo_id, **kwargs)
        return files

    # The parent names some of the arguments; here they are all in `kwargs`, so that defaults are left to the parent.
    @classmethod
    def from_pretrained(  # type: ignore[override]
        cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any
    ) -> Any:
        """
        Load an extractor from a folder or a Hub repository. Its codec is loaded when it is first needed.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                A Hub id, a folder written by `save_pretrained`, or the JSON file in it.
            kwargs:
                As in [`~feature_extraction_utils.FeatureExtractionMixin.from_pretrained`], for instance `revision`,
                `subfolder`, `token`, or settings to override, including `codec`.

        Returns:
            `AudioFormerFeatureExtractor`: The extractor, in a tuple with the unused arguments if
            `return_unused_kwargs=True`.
        """
        hub_options = {name: kwargs[name] for name in _HUB_OPTIONS if kwargs.get(name) is not None}
        revision, subfolder = kwargs.get("revision"), kwargs.get("subfolder") or ""
        loaded = super().from_pretrained(pretrained_model_name_or_path, **kwargs)
        extractor = loaded[0] if isinstance(loaded, tuple) else loaded
        if extractor._source is not None:
            extractor._source.hub_options = hub_options
        elif extractor.codec_subfolder is not None:
            location = os.fspath(pretrained_model_name_or_path)
            if os.path.isfile(location):
                location = os.path.dirname(location)
            if os.path.isdir(location):
                location, revision = os.path.abspath(location), None
            extractor._source = CodecSource(
                location=location,
                revision=revision,
                subfolder="/".join(filter(None, (subfolder, extractor.codec_subfolder))),
                bundled=True,
                hub_options=hub_options,
            )
        return loaded

    def __getstate__(self) -> dict[str, Any]:
        # Weights would slow down every worker, and fingerprints would depend on whether the codec is loaded.
        source = None if self._source is None else self._source.for_pickling()
        return {**self.__dict__, "_source": source, "_codec": None, "_codec_settings": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "AudioFormerFeatureExtractor":
        # The codec is never changed, so copies can share it.
        duplicate = type(self).__new__(type(self))
        shared = ("_source", "_codec")
        duplicate.__dict__.update({k: v if k in shared else copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return duplicate
