"""The data of a run: encoded, and divided into the parts that train, select and test."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from accelerate import PartialState

from audioformer.data.audio.windows import ReadingSettings
from audioformer.data.codes.cache import encode_listing
from audioformer.data.codes.encoded import EncodedData, load_codes
from audioformer.data.readers import read_listing
from audioformer.data.splits import held_out_split, select_split
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

from .arguments import DataArguments
from .classifiers import check_known

EXTRACTOR_FILE = "preprocessor_config.json"
TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class Parts:
    """Which clips of a run do what. `held_out` is `None` where the test clips select, `test` where there is none."""

    train: EncodedData
    held_out: EncodedData | None
    test: EncodedData | None

    def as_multi_label(self, multi_label: bool) -> "Parts":
        """The same parts with targets for several labels a clip, or for one.

        Raises:
            ValueError: If one label is asked for and clips have several.
        """
        if self.train.multi_label and not multi_label:
            raise ValueError("`multi_label` is false, but clips of the data have several labels.")
        change = {"labels": self.train.labels, "multi_label": multi_label}
        parts = (self.train, self.held_out, self.test)
        return Parts(*(part if part is None else part.with_labels(**change) for part in parts))


def open_extractor(data: DataArguments, model: str | None, codebook: int) -> AudioFormerFeatureExtractor:
    """The extractor of one row: the codec that was asked for, else the model's own, else the bundled tiny one.

    Args:
        data (`DataArguments`): Those of the codec, and `num_codebooks`, are read.
        model (`str`, *optional*): Folder or Hub id of the model to start from.
        codebook (`int`): Row that the model reads, from 0.

    Raises:
        ValueError: If the row is not among those that are encoded.
    """
    if codebook >= data.num_codebooks:
        raise ValueError(f"`codebooks` must be below `num_codebooks` ({data.num_codebooks}), got {codebook}.")
    if data.codec is None and model is not None:
        folder = Path(model)
        if not folder.is_dir() or (folder / EXTRACTOR_FILE).is_file():
            return AudioFormerFeatureExtractor.from_pretrained(model, codebooks=codebook)
    codec = data.codec or str(TINY_CODEC)
    return AudioFormerFeatureExtractor(
        codec=codec,
        codec_revision=data.codec_revision,
        codec_type=data.codec_type,
        codec_backend=data.codec_backend,
        codebooks=codebook,
    )


def extractor_of_row(extractor: AudioFormerFeatureExtractor, codebook: int) -> AudioFormerFeatureExtractor:
    """The same extractor for another row; the codec is shared."""
    other = copy.deepcopy(extractor)
    other.codebooks = codebook
    return other


CheckLabels = Callable[[Sequence[str]], None]
"""Raises where a model does not fit the labels of some data; called before any audio is read."""


def open_data(
    data: DataArguments,
    extractor: AudioFormerFeatureExtractor,
    *,
    test_source: bool = False,
    check_labels: CheckLabels | None = None,
) -> EncodedData:
    """Encode `data` (or `eval_data`) on first use, or open `codes` (or `eval_codes`).

    Raises:
        ValueError: If neither or both are given, or the codes were made by another codec than the extractor's.
    """
    prefix = "eval_" if test_source else ""
    source, folder = getattr(data, f"{prefix}data"), getattr(data, f"{prefix}codes")
    if (source is None) == (folder is None):
        raise ValueError(f"Give exactly one of `{prefix}data` and `{prefix}codes`, got {source} and {folder}.")
    if folder is not None:
        encoded = load_codes(folder)
        if check_labels is not None:
            check_labels(encoded.labels)
        encoded.check_codec(extractor)
        return encoded
    listing = read_listing(
        source,
        data.layout,
        audio_column=data.audio_column,
        label_column=data.label_column,
        label_delimiter=data.label_delimiter,
    )
    if check_labels is not None:
        check_labels(listing.labels)
    device = PartialState().device
    return encode_listing(
        listing,
        copy.deepcopy(extractor).to(device) if device.type == "cuda" else extractor,
        data.cache_dir,
        ReadingSettings(max_length_s=data.max_length_s, long_files="cut", keep_silent=True),
        num_codebooks=data.num_codebooks,
        max_rejected_share=data.max_rejected_share,
    )


def open_parts(
    data: DataArguments,
    extractor: AudioFormerFeatureExtractor,
    seed: int,
    *,
    hold_out: bool,
    check_labels: CheckLabels | None = None,
) -> Parts:
    """Divide the data of a run.

    Where the data come with a validation part and no `train_split` was given, that part is what is held out.

    Args:
        data (`DataArguments`): Where the clips are, and which of them train and test.
        extractor (`AudioFormerFeatureExtractor`): What encodes them.
        seed (`int`): Decides which training clips are held out.
        hold_out (`bool`): Whether to keep clips back that select the checkpoint.
        check_labels (function, *optional*): Raises if the labels of the data don't fit.
    """
    encoded = _open_and_report(data, extractor, check_labels=check_labels)
    train = encoded.select(_train_indices(data, encoded))
    separate = data.eval_data is not None or data.eval_codes is not None
    if separate:
        test = _open_and_report(data, extractor, test_source=True)
        check_known(test.labels, encoded.labels, "`eval_data`")
        test = test.with_labels(encoded.labels, encoded.multi_label)
    else:
        test = _test_part(data, encoded)
    if data.max_train_clips is not None:
        train = train.select(np.arange(min(data.max_train_clips, len(train))))
    if not hold_out:
        return Parts(train, None, test)
    if data.train_split is None and VALIDATION in _splits(encoded):
        return Parts(train, encoded.select(select_split(encoded.dataset, [VALIDATION])), test)
    chosen, held_out = held_out_split(train.strata, data.held_out_share, seed, train.groups)
    return Parts(train.select(chosen), train.select(held_out), test)


def _splits(encoded: EncodedData) -> set[str]:
    return {split for split in encoded.dataset.unique("split") if split is not None}


def _train_indices(data: DataArguments, encoded: EncodedData) -> np.ndarray:
    splits, folds = data.train_split, data.train_folds
    if splits is None and _splits(encoded):
        splits = [TRAIN]
    if folds is None and data.eval_folds is not None:
        # What is not tested trains.
        folds = [fold for fold in encoded.dataset.unique("fold") if fold is not None and fold not in data.eval_folds]
    return select_split(encoded.dataset, splits, folds)


def open_test(data: DataArguments, extractor: AudioFormerFeatureExtractor, check_labels: CheckLabels) -> EncodedData:
    """The clips to measure a finished model on: the test part of the data, or all of it where it has no such part."""
    if data.eval_data is not None or data.eval_codes is not None:
        return _open_and_report(data, extractor, test_source=True, check_labels=check_labels)
    encoded = _open_and_report(data, extractor, check_labels=check_labels)
    part = _test_part(data, encoded)
    return encoded if part is None else part


def _open_and_report(
    data: DataArguments,
    extractor: AudioFormerFeatureExtractor,
    *,
    test_source: bool = False,
    check_labels: CheckLabels | None = None,
) -> EncodedData:
    encoded = open_data(data, extractor, test_source=test_source, check_labels=check_labels)
    if PartialState().is_main_process:
        print(encoded.report.to_text())
    return encoded


def _test_part(data: DataArguments, encoded: EncodedData) -> EncodedData | None:
    splits = data.eval_split
    if splits is None and TEST in _splits(encoded):
        splits = [TEST]
    if splits is None and data.eval_folds is None:
        return None
    return encoded.select(select_split(encoded.dataset, splits, data.eval_folds))
