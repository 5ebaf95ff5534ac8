"""Feature extractor of AudioFormer: waveforms become sequences of EnCodec codes."""

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
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
from .sequences import check_max_length, round_up, stack, to_columns, to_numpy, truncate
from .token_ids import CODE_OFFSET, PAD_TOKEN_ID, codes_to_ids
from .waveforms import prepare_waveforms

# Left reflection and the convolutions see at most this much of a clip's beginning: with fewer frames than this, the
# first codes of a cut clip would not be those of the whole clip.
_MIN_FRAMES_TO_ENCODE = 16

_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "proxies")


class AudioFormerFeatureExtractor(SequenceFeatureExtractor):
    r"""
    Constructs an AudioFormer feature extractor: audio -> EnCodec codes -> token ids.

    A clip of `samples` samples at 24 kHz becomes `ceil(samples / 320)` codes of each requested codebook (75 a second),
    shifted by 3 and set between `<BOA>` (0) and `<EOA>` (2); shorter clips of a batch are filled up with `<PAD>` (1).
    See AudioFormer (arXiv 2308.07221), sections 3.1 and 4.2. The ids of a clip are the same alone and in any batch.

    The codec is loaded when it is first needed. It never enters a pickle: a loaded one is written to the Hugging Face
    cache once, and its folder takes its place.

    Args:
        codec (`str` or model, *optional*, defaults to `"facebook/encodec_24khz"`):
            A Hub id, a local folder or a loaded model, which is taken as frozen and runs in float32: an EnCodec that
            is causal, mono and unchunked, as the one of 24 kHz is, or a Mimi, DAC or X-Codec 2 of transformers.
        codebooks (`int` or `list[int]`, *optional*, defaults to 0):
            Rows of residual quantization to return, from 0 (called C1 in the paper). An `int` gives `input_ids` of
            shape `(batch, length)`, a list gives `(batch, length, rows)` in the order of the list.
        bandwidth (`float`, *optional*, defaults to 3.0):
            Bandwidth of an EnCodec in kb/s; 3.0 has four rows. It must be among the codec's `target_bandwidths`.
        sampling_rate (`int`, *optional*):
            Rate in Hz that audio is resampled to, which must be the codec's. 24000 for EnCodec, that of the codec's
            configuration for others.
        codec_revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        padding_value (`int`, *optional*, defaults to 1):
            Id to pad with.
        codebook_size (`int`, *optional*):
            Entries of a codebook; a codec with any other number is refused. 1024 for EnCodec, that of the codec's
            configuration for others.
        codec_subfolder (`str`, *optional*):
            Set by `save_pretrained` when the codec lies next to the extractor; `codec` is `None` then.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether to return `attention_mask`: 1 for BOA, codes and EOA, 0 for padding.
        padding_side (`str`, *optional*, defaults to `"right"`):
            `"right"` or `"left"`.
        codec_type (`str`, *optional*, defaults to `"encodec"`):
            Kind of a codec on the Hub: `"encodec"`, `"mimi"`, `"dac"` or `"xcodec2"`. Of a folder or a loaded model it
            is found out.
        codec_backend (`str`, *optional*, defaults to `"transformers"`):
            `"encodec"` runs an original checkpoint (`codec` is its `.th` file) in the package `encodec`. Saving writes
            it as an `EncodecModel`, so that what is saved needs that package no more.

    Raises:
        ValueError: If `codebooks`, `bandwidth` or `codec` make no sense, or, when the codec is loaded, if its sampling
            rate, codebook size, bandwidths or kind do not fit, or its codebooks were never trained.

    Example:

    ```python
    >>> from audioformer import AudioFormerFeatureExtractor

    >>> extractor = AudioFormerFeatureExtractor(codec="path/to/codec")
    >>> inputs = extractor([first_clip, second_clip], sampling_rate=44100, return_tensors="pt")
    >>> inputs["input_ids"].shape  # 10 s: BOA, 750 codes, EOA
    torch.Size([2, 752])
    ```"""

    model_input_names = ["input_ids", "attention_mask"]

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
        self._device = "cpu"
        self._codec: Codec | None = None
        self._codec_settings: tuple | None = None
        if self._source is not None and self._source.model is not None:
            self._check(self._source.model)

    def _fill_in(self, sampling_rate: int | None, codebook_size: int | None) -> tuple[int, int]:
        """What was given, else what the codec's configuration says, else what EnCodec has."""
        if sampling_rate is not None and codebook_size is not None:
            return sampling_rate, codebook_size
        facts = None if self._source is None else self._source.facts()
        rate, size = (24000, 1024) if facts is None or facts.is_encodec else (facts.sampling_rate, facts.codebook_size)
        return (rate if sampling_rate is None else sampling_rate, size if codebook_size is None else codebook_size)

    @property
    def codec(self) -> Any:
        """The codec in float32, loaded when first asked for. Take it as frozen."""
        return self._load_codec().model

    @property
    def hop_length(self) -> int:
        """Samples that become one frame; the codec is loaded to find out."""
        return self._load_codec().hop_length

    @property
    def frame_rate(self) -> float:
        """Frames a second; the codec is loaded to find out."""
        return self.sampling_rate / self.hop_length

    @property
    def device(self) -> str:
        """Where the codec runs."""
        return self._device

    def model_config(self) -> dict[str, int]:
        """Arguments of an `AudioFormerConfig` that reads these ids: vocabulary, special ids, rates and row."""
        return {
            "codebook_size": self.codebook_size,
            "mask_token_id": self.codebook_size + CODE_OFFSET,
            "vocab_size": self.codebook_size + CODE_OFFSET + 1,
            "sampling_rate": self.sampling_rate,
            "hop_length": self.hop_length,
            "codebook": self._codebooks[0],
        }

    def to(self, device: Any) -> "AudioFormerFeatureExtractor":
        """Encode on `device` (`str`, `int` or `torch.device`) from now on; ids are still returned on the CPU."""
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
        """The codec for the present settings: made once, and again only if they were changed."""
        use_one_thread_after_fork()
        settings = (max(self._codebooks), self.bandwidth, self.sampling_rate, self.codebook_size, self._device)
        if self._codec is None or self._codec_settings != settings:
            if self._source is None:
                raise ValueError(
                    "This feature extractor has no codec: pass `codec=...`, or load it with `from_pretrained` from the"
                    " folder that it was saved to."
                )
            # A codec loaded in inference mode could not be trained or saved later.
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
                A clip is of shape `(samples,)`, or `(channels, samples)`, which is averaged: floating point, or
                integer PCM (uint8, int8, int16, int32), which is scaled to [-1, 1). Also a dict with `"array"` (or
                `"raw"`) and `"sampling_rate"`, or an item that `datasets` decoded. Several clips make a list; a single
                array is always one clip, and gives a batch of one.
            sampling_rate (`float`, *optional*):
                Rate in Hz of the clips that do not carry their own. Without it the extractor's rate is assumed, with a
                warning. Any other rate is resampled (soxr, high quality).
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `True` or `"longest"`, `"max_length"`, or `False`.
            max_length (`int`, *optional*):
                Length in ids, BOA and EOA included, to pad to with `padding="max_length"` and to cut to with
                `truncation=True`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer clips. The codes that stay are those of the uncut clip, and EOA stays last.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`; `None` gives NumPy arrays, in a list if their lengths differ.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; the extractor's setting if not given.

        Returns:
            [`BatchFeature`]: `input_ids` of shape `(batch, length)`, or `(batch, length, rows)` for a list of
            codebooks, and `attention_mask` of shape `(batch, length)`, both int64.

        Raises:
            ValueError: If a clip is empty, not finite, of a wrong rank, type or rate (the message names the clip), or
                `max_length` leaves no room for a code.
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
            ValueError: If a clip is empty, not finite, or of a wrong rank, type or rate; the message names the clip.
        """
        return self._encode(waveforms, sampling_rate)

    def _encode(self, clips: Any, sampling_rate: float | None, max_frames: int | None = None) -> list[np.ndarray]:
        codec = self._load_codec()
        waveforms = prepare_waveforms(clips, sampling_rate, self.sampling_rate)
        if max_frames is not None and codec.is_causal:
            max_samples = max(max_frames, _MIN_FRAMES_TO_ENCODE) * codec.hop_length
            waveforms = [waveform[:max_samples] for waveform in waveforms]
        with torch.inference_mode(False):
            return [clip_codes[:max_frames, self._codebooks] for clip_codes in codec.encode(waveforms)]

    def with_codebooks(self, codebooks: int | Sequence[int]) -> "AudioFormerFeatureExtractor":
        """
        Make an extractor that differs in its codebooks only and shares the codec, if it is loaded.

        Args:
            codebooks (`int` or `list[int]`): Codebook indices, as in the constructor.

        Returns:
            `AudioFormerFeatureExtractor`: The other extractor; this one stays as it is.

        Raises:
            ValueError: If `codebooks` makes no sense, or the codec is loaded and does not have them.
        """
        other = copy.deepcopy(self)
        other.codebooks = check_codebooks(codebooks)
        if other._codec is not None:
            other._check(other._codec.model)
        elif other._source is not None and other._source.model is not None:
            other._check(other._source.model)
        return other

    def pad(
        self,
        processed_features: Any,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """
        Pad sequences of ids to one length, as a collator does.

        Args:
            processed_features ([`BatchFeature`], `dict` of lists, or list of `dict`):
                Sequences `input_ids` of shape `(length,)` or `(length, rows)`, and optionally `attention_mask` of
                shape `(length,)`. Any other entry, such as labels, is passed on with one value a sequence.
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`): As in `__call__`.
            max_length (`int`, *optional*): As in `__call__`.
            truncation (`bool`, *optional*, defaults to `False`): Whether to cut longer sequences; a last EOA stays.
            pad_to_multiple_of (`int`, *optional*): As in `__call__`.
            return_attention_mask (`bool`, *optional*): As in `__call__`.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                As in `__call__`; `None` gives tensors if `input_ids` were tensors.

        Returns:
            [`BatchFeature`]: The padded batch.

        Raises:
            ValueError: If there are no `input_ids`, entries differ in number, or `max_length` is missing.
        """
        features = to_columns(processed_features)
        name = self.model_input_names[0]
        if name not in features:
            raise ValueError(f"The features to pad must have {name!r}, got only {sorted(features)}.")
        if return_tensors is None and len(features[name]) and torch.is_tensor(features[name][0]):
            return_tensors = TensorType.PYTORCH
        if return_attention_mask is None:
            return_attention_mask = self.return_attention_mask
        strategy = self._get_padding_strategies(padding=padding, max_length=max_length)

        sequences = [to_numpy(sequence) for sequence in features.pop(name)]
        masks = features.pop("attention_mask", None)
        masks = [np.ones(len(x), np.int64) for x in sequences] if masks is None else [to_numpy(x) for x in masks]
        for key, values in {"attention_mask": masks, **features}.items():
            if len(values) != len(sequences):
                raise ValueError(f"{key!r} has {len(values)} entries for {len(sequences)} sequences of {name!r}.")

        if truncation:
            limit = round_up(check_max_length(max_length), pad_to_multiple_of)
            sequences = [truncate(sequence, limit) for sequence in sequences]
            masks = [mask[:limit] for mask in masks]
        if strategy != PaddingStrategy.DO_NOT_PAD and sequences:
            longest = max(len(sequence) for sequence in sequences)
            target = round_up(longest if strategy == PaddingStrategy.LONGEST else max_length, pad_to_multiple_of)
            sequences = [self._pad_to(sequence, target, self.padding_value) for sequence in sequences]
            masks = [self._pad_to(mask, target, 0) for mask in masks]

        batch = {name: sequences}
        if return_attention_mask:
            batch["attention_mask"] = masks
        batch.update(features)
        if return_tensors is None:
            batch = {key: stack(values) for key, values in batch.items()}
        return BatchFeature(batch, tensor_type=return_tensors)

    def _pad_to(self, sequence: np.ndarray, length: int, value: float) -> np.ndarray:
        missing = max(0, length - len(sequence))
        widths = (0, missing) if self.padding_side == "right" else (missing, 0)
        return np.pad(sequence, [widths] + [(0, 0)] * (sequence.ndim - 1), constant_values=value)

    def to_dict(self) -> dict[str, Any]:
        """The settings, as they are saved: plain values, no weights, no path of this machine."""
        output = copy.deepcopy({key: value for key, value in self.__dict__.items() if not key.startswith("_")})
        source = self._source
        by_name = source is not None and not source.travels
        output["codec"] = source.location if by_name else None
        output["codec_revision"] = source.revision if by_name else None
        output["codec_type"] = source.codec_type if by_name else None
        output["codec_subfolder"] = CODEC_SUBFOLDER if source is not None and source.travels else None
        output["feature_extractor_type"] = type(self).__name__
        return output

    def save_pretrained(
        self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs: Any
    ) -> list[str]:
        """
        Save the extractor, and with it the codec in the subfolder `codec/` unless a Hub id says where to find it.

        Args:
            save_directory (`str` or `os.PathLike`): The folder, made if missing.
            push_to_hub (`bool`, *optional*, defaults to `False`): Whether to upload the same files.
            kwargs: Arguments of `push_to_hub`, such as `repo_id` (the folder's name by default).

        Returns:
            `list[str]`: The JSON file written.
        """
        files = super().save_pretrained(save_directory)
        if self._source is not None and self._source.travels:
            target = os.path.join(save_directory, CODEC_SUBFOLDER)
            here = self._source.is_local and os.path.join(self._source.location, self._source.subfolder)
            # Loaded weights may still be mapped from this very file.
            if not (here and os.path.isdir(target) and os.path.samefile(here, target)):
                model = self.codec
                if is_encodec_package_model(model):
                    model = convert_encodec_state_dict(model.state_dict())
                model.save_pretrained(target)
        if push_to_hub:
            repo_id = kwargs.pop("repo_id", os.path.basename(os.path.normpath(save_directory)))
            self.push_to_hub(repo_id, **kwargs)
        return files

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | os.PathLike, **kwargs: Any) -> Any:
        """
        Load an extractor from a folder or a Hub repository; its codec follows when it is first needed.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                A Hub id, a folder written by `save_pretrained`, or the JSON file in it.
            kwargs:
                As in [`~feature_extraction_utils.FeatureExtractionMixin.from_pretrained`], for instance `revision`,
                `subfolder`, `token`, or settings to change, `codec` among them.

        Returns:
            `AudioFormerFeatureExtractor`, with the unused arguments if `return_unused_kwargs=True`.
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
        # Weights in a pickle would slow every worker down, and make fingerprints depend on what ran before.
        source = None if self._source is None else self._source.for_pickling()
        return {**self.__dict__, "_source": source, "_codec": None, "_codec_settings": None}

    def __deepcopy__(self, memo: dict[int, Any]) -> "AudioFormerFeatureExtractor":
        # The codec is never changed, so copies share it.
        duplicate = type(self).__new__(type(self))
        shared = ("_source", "_codec")
        duplicate.__dict__.update({k: v if k in shared else copy.deepcopy(v, memo) for k, v in self.__dict__.items()})
        return duplicate
