"""Feature extractor of AudioFormer: waveforms become sequences of EnCodec codes."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .codec import CODEC_SUBFOLDER, Codec, CodecSource, check_codec, use_one_thread_after_fork
from .waveforms import prepare_waveforms

BOA_TOKEN_ID = 0
EOA_TOKEN_ID = 2
CODE_OFFSET = 3
"""Code `c` has the id `c + CODE_OFFSET`, after the three special ids BOA, PAD and EOA."""

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
        codec (`str` or `EncodecModel`, *optional*, defaults to `"facebook/encodec_24khz"`):
            A Hub id, a local folder or a loaded model, which is taken as frozen: causal, mono and unchunked, as the
            24 kHz EnCodec is. It runs in float32.
        codebooks (`int` or `list[int]`, *optional*, defaults to 0):
            Rows of residual quantization to return, from 0 (called C1 in the paper). An `int` gives `input_ids` of
            shape `(batch, length)`, a list gives `(batch, length, rows)` in the order of the list.
        bandwidth (`float`, *optional*, defaults to 3.0):
            Bandwidth in kb/s; 3.0 has four rows. It must be among the codec's `target_bandwidths`.
        sampling_rate (`int`, *optional*, defaults to 24000):
            Rate in Hz that audio is resampled to, which must be the codec's.
        codec_revision (`str`, *optional*):
            Branch, tag or commit of a Hub id.
        padding_value (`int`, *optional*, defaults to 1):
            Id to pad with.
        codebook_size (`int`, *optional*, defaults to 1024):
            Entries of a codebook; a codec with any other number is refused.
        codec_subfolder (`str`, *optional*):
            Set by `save_pretrained` when the codec lies next to the extractor; `codec` is `None` then.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether to return `attention_mask`: 1 for BOA, codes and EOA, 0 for padding.
        padding_side (`str`, *optional*, defaults to `"right"`):
            `"right"` or `"left"`.

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
        sampling_rate: int = 24000,
        codec_revision: str | None = None,
        padding_value: int = 1,
        codebook_size: int = 1024,
        codec_subfolder: str | None = None,
        return_attention_mask: bool = True,
        padding_side: str = "right",
        **kwargs: Any,
    ):
        kwargs.pop("feature_size", None)
        kwargs.pop("feature_extractor_type", None)
        if padding_side not in ("right", "left"):
            raise ValueError(f"`padding_side` must be 'right' or 'left', got {padding_side!r}.")
        super().__init__(
            feature_size=1,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            padding_side=padding_side,
            **kwargs,
        )
        self.codebooks = _check_codebooks(codebooks)
        self.bandwidth = float(bandwidth)
        self.codebook_size = codebook_size
        self.codec_subfolder = codec_subfolder
        self._source = CodecSource.parse(codec, codec_revision)
        self._device = "cpu"
        self._codec: Codec | None = None
        self._codec_settings: tuple | None = None
        if self._source is not None and self._source.model is not None:
            self._check(self._source.model)

    @property
    def codec(self) -> Any:
        """The codec, an `EncodecModel` in float32, loaded when first asked for. Take it as frozen."""
        return self._load_codec().model

    def to(self, device: Any) -> "AudioFormerFeatureExtractor":
        """Encode on `device` (`str`, `int` or `torch.device`) from now on; ids are still returned on the CPU."""
        self._device = str(torch.device(device))
        return self

    @property
    def _rows(self) -> list[int]:
        return [self.codebooks] if isinstance(self.codebooks, int) else list(self.codebooks)

    def _check(self, model: Any) -> None:
        check_codec(
            model,
            sampling_rate=self.sampling_rate,
            codebook_size=self.codebook_size,
            bandwidth=self.bandwidth,
            codebooks=self._rows,
        )

    def _load_codec(self) -> Codec:
        """The codec for the present settings: made once, and again only if they were changed."""
        use_one_thread_after_fork()
        settings = (max(self._rows), self.bandwidth, self.sampling_rate, self.codebook_size, self._device)
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
                self._codec = Codec(model, max(self._rows) + 1, self._device)
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
        codec = self._load_codec()
        waveforms = prepare_waveforms(raw_speech, sampling_rate, self.sampling_rate)
        max_frames = None
        if truncation:
            max_frames = _round_up(_check_max_length(max_length), pad_to_multiple_of) - 2
            if max_frames < 1:
                raise ValueError(f"`max_length` must be at least 3 (BOA, one code, EOA), got {max_length}.")
            max_samples = max(max_frames, _MIN_FRAMES_TO_ENCODE) * codec.hop_length
            waveforms = [waveform[:max_samples] for waveform in waveforms]
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False):
            codes = codec.encode(waveforms)
            ids = [self._add_special_ids(clip_codes[:max_frames]) for clip_codes in codes]
            return self.pad(
                {"input_ids": ids},
                padding=padding,
                max_length=max_length,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )

    def _add_special_ids(self, codes: np.ndarray) -> np.ndarray:
        """Ids (frames + 2,) or (frames + 2, rows) of codes (frames, all rows)."""
        codes = codes[:, self.codebooks]
        ids = np.empty((len(codes) + 2, *codes.shape[1:]), dtype=np.int64)
        ids[0] = BOA_TOKEN_ID
        ids[1:-1] = codes + CODE_OFFSET
        ids[-1] = EOA_TOKEN_ID
        return ids

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
        features = _to_columns(processed_features)
        name = self.model_input_names[0]
        if name not in features:
            raise ValueError(f"The features to pad must have {name!r}, got only {sorted(features)}.")
        if return_tensors is None and len(features[name]) and torch.is_tensor(features[name][0]):
            return_tensors = TensorType.PYTORCH
        if return_attention_mask is None:
            return_attention_mask = self.return_attention_mask
        strategy = self._get_padding_strategies(padding=padding, max_length=max_length)

        sequences = [_to_numpy(sequence) for sequence in features.pop(name)]
        masks = features.pop("attention_mask", None)
        masks = [np.ones(len(x), np.int64) for x in sequences] if masks is None else [_to_numpy(x) for x in masks]
        for key, values in {"attention_mask": masks, **features}.items():
            if len(values) != len(sequences):
                raise ValueError(f"{key!r} has {len(values)} entries for {len(sequences)} sequences of {name!r}.")

        if truncation:
            limit = _round_up(_check_max_length(max_length), pad_to_multiple_of)
            sequences = [_truncate(sequence, limit) for sequence in sequences]
            masks = [mask[:limit] for mask in masks]
        if strategy != PaddingStrategy.DO_NOT_PAD and sequences:
            longest = max(len(sequence) for sequence in sequences)
            target = _round_up(longest if strategy == PaddingStrategy.LONGEST else max_length, pad_to_multiple_of)
            sequences = [self._pad_to(sequence, target, self.padding_value) for sequence in sequences]
            masks = [self._pad_to(mask, target, 0) for mask in masks]

        batch = {name: sequences}
        if return_attention_mask:
            batch["attention_mask"] = masks
        batch.update(features)
        if return_tensors is None:
            batch = {key: _stack(values) for key, values in batch.items()}
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
                self.codec.save_pretrained(target)
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


def _check_codebooks(codebooks: Any) -> int | list[int]:
    rows = list(codebooks) if isinstance(codebooks, (Sequence, np.ndarray)) else [codebooks]
    valid = all(isinstance(row, (int, np.integer)) and not isinstance(row, bool) and row >= 0 for row in rows)
    if not rows or not valid or len(set(rows)) != len(rows):
        raise ValueError(f"`codebooks` must be a row from 0 up, or a list of different rows, got {codebooks!r}.")
    rows = [int(row) for row in rows]
    return rows if isinstance(codebooks, (Sequence, np.ndarray)) else rows[0]


def _check_max_length(max_length: int | None) -> int:
    if max_length is None:
        raise ValueError("`truncation=True` needs `max_length`, in ids.")
    return max_length


def _round_up(length: int, multiple: int | None) -> int:
    return length if multiple is None else -(-length // multiple) * multiple


def _truncate(sequence: np.ndarray, limit: int) -> np.ndarray:
    if len(sequence) <= limit:
        return sequence
    cut = sequence[:limit].copy()
    if np.all(sequence[-1] == EOA_TOKEN_ID):
        cut[-1] = EOA_TOKEN_ID
    return cut


def _to_columns(features: Any) -> dict[str, Any]:
    """A dict of lists, whichever way round the features come."""
    if isinstance(features, (list, tuple)):
        if not features or not all(isinstance(feature, Mapping) for feature in features):
            raise ValueError("The features to pad must be a dict of lists or a non-empty list of dicts.")
        return {key: [feature[key] for feature in features] for key in features[0]}
    return dict(features.items())


def _to_numpy(sequence: Any) -> np.ndarray:
    return sequence.detach().cpu().numpy() if torch.is_tensor(sequence) else np.asarray(sequence)


def _stack(values: Any) -> Any:
    same_shape = isinstance(values, list) and len({np.shape(value) for value in values}) == 1
    return np.stack([_to_numpy(value) for value in values]) if same_shape else values
