"""The examples of AudioFormer: codes from shards, encoded on first use."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedConfig

from audioformer.data.clips import ClipSplits
from audioformer.data.codes.cache import encode_listing
from audioformer.data.codes.copies import encode_copies
from audioformer.data.codes.encoded import EncodedClips, describe_normalization, load_codes, read_codes_info
from audioformer.data.listing import check_judged
from audioformer.evaluation import build_compute_metrics
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.level import NORMALIZATION_SETTINGS
from audioformer.files import PREPROCESSOR_CONFIG, TEACHER_CACHE
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification

from ..arguments import PRETRAIN, READING
from ..codebooks import check_same_codebooks
from ..families import CheckLabels, Settings
from ..trainers import AudioFormerClassificationTrainer, AudioFormerMPCTrainer
from ..trainers.multi_positive import check_source_of_positives
from ..trainers.teachers import build_positives, load_teachers
from .audio import reading_settings
from .codes import CodeExamples
from .listings import find_groups, open_listing, tested_part
from .synthetic_codes import encode_synthetic_clips, on_device_of_process


class CodeExampleSource:
    """How listed clips become sequences of codes: encoded once, all codebooks, into shards that every run reads."""

    def open_extractor(self, settings: Settings) -> AudioFormerFeatureExtractor:
        """The extractor of the codebooks that the settings name, else of the model's own, else of codebook 0.

        Raises:
            ValueError: As for [`open_extractor`], or if teachers of FT2 read codes of another level.
        """
        options = settings.options
        extractor = open_extractor(settings, options.codebook if options.codebooks is None else options.codebooks)
        if settings.options.method == "ft2":
            check_level_of_teachers(settings.options.teachers, extractor)
        return extractor

    def open_clips(
        self,
        settings: Settings,
        extractor: AudioFormerFeatureExtractor,
        *,
        test_source: bool,
        check_labels: CheckLabels | None,
    ) -> EncodedClips:
        """Encode `data` (or `eval_data`) on first use, or open `codes` (or `eval_codes`).

        Without either, pre-training opens the synthetic clips that the settings ask for.

        Raises:
            ValueError: If neither or both are given, if the codes were made by another codec than the extractor's, or
                if they lack the extractor's codebook or one that the settings name.
        """
        data, options = settings.data, settings.options
        prefix = "eval_" if test_source else ""
        source, folder = getattr(data, f"{prefix}data"), getattr(options, f"{prefix}codes")
        if source is None and folder is None and not test_source and settings.command == PRETRAIN:
            synthetic = encode_synthetic_clips(settings, extractor)
            if synthetic is not None:
                return synthetic
        if (source is None) == (folder is None):
            raise ValueError(f"Give exactly one of `{prefix}data` and `{prefix}codes`, got {source} and {folder}.")
        if folder is not None:
            clips = load_codes(folder)
            state_reading_of_codes(settings, folder, is_main=not test_source or settings.command == "evaluate")
            if check_labels is not None:
                check_labels(clips.labels, clips.multi_label)
            clips.check_codec(extractor)
            wanted = {*np.atleast_1d(extractor.codebooks).tolist(), *(getattr(options, "codebooks", None) or [])}
            clips.check_codebooks(sorted(wanted))
            return clips
        listing = open_listing(settings, source)
        if settings.command != PRETRAIN:
            check_judged(listing)
        if check_labels is not None:
            check_labels(listing.labels, listing.multi_label)
        if settings.gain_db and not test_source:
            # Each gain has codes of its own, and no other run needs those of the other clips.
            listing = tested_part(settings, listing)
        # Before encoding, so that a wrong pattern costs nothing. Codes do not depend on groups: those in the cache are
        # used, whatever the pattern is.
        groups = find_groups(settings, listing, test_source=test_source)
        clips = encode_listing(
            listing,
            on_device_of_process(extractor),
            options.cache_dir,
            num_codebooks=options.num_codebooks,
            reading=reading_settings(settings),
            max_rejected_share=data.max_rejected_share,
        )
        return clips if groups is None else groups.apply(clips)

    def examples(
        self,
        settings: Settings,
        clips: EncodedClips,
        extractor: AudioFormerFeatureExtractor,
        config: PreTrainedConfig,
        *,
        labels: bool,
    ) -> CodeExamples:
        """The codes of the codebooks that a model reads, whole clips, in a fixed order."""
        targets = clips.targets if labels else None
        return CodeExamples(clips.codes, targets, codebook=config.codebook_indices, seed=settings.training.seed)

    def trainer(
        self,
        settings: Settings,
        model: AudioFormerForAudioClassification,
        extractor: AudioFormerFeatureExtractor,
        splits: ClipSplits[EncodedClips] | None,
    ) -> AudioFormerClassificationTrainer:
        """The trainer of FT1 or FT2 on the splits of a run; without splits, one that only evaluates."""
        arguments, config = settings.training, model.config
        if splits is None:
            return AudioFormerClassificationTrainer(model=model, args=arguments)
        splits = with_copies(settings, splits, extractor)

        def examples(clips: EncodedClips, **options: Any) -> CodeExamples:
            return CodeExamples(
                clips.versions, clips.targets, codebook=config.codebook_indices, seed=arguments.seed, **options
            )

        shared: dict[str, Any] = {
            "model": model,
            "args": arguments,
            "eval_dataset": examples(splits.selecting),
            "compute_metrics": build_compute_metrics(splits.train.multi_label),
        }
        crop = arguments.crop_frames
        if settings.options.method == "ft1":
            return AudioFormerClassificationTrainer(train_dataset=examples(splits.train, crop_frames=crop), **shared)
        check_source_of_positives(arguments)
        teachers = load_teachers(settings.options.teachers, config)
        splits.train.check_codebooks([teacher.config.codebook for teacher in teachers])
        if arguments.online_teachers:
            codebooks = [teacher.config.codebook for teacher in teachers]
            train = examples(splits.train, crop_frames=crop, positive_codebooks=codebooks)
            return AudioFormerMPCTrainer(train_dataset=train, teachers=teachers, **shared)
        positives: np.ndarray = build_positives(
            teachers,
            splits.train.codes,
            splits.train.ids,
            arguments.teacher_cache_dir or Path(arguments.output_dir) / TEACHER_CACHE,
            splits.train.codec_fingerprint,
        )
        return AudioFormerMPCTrainer(train_dataset=examples(splits.train, positives=positives), **shared)


def with_copies(
    settings: Settings, splits: ClipSplits[EncodedClips], extractor: AudioFormerFeatureExtractor
) -> ClipSplits[EncodedClips]:
    """Give training clips, and no others, the augmented copies that the settings ask for.

    Raises:
        ValueError: If a copy cannot be made.
    """
    data = settings.data
    if data.augmentation is None or data.data is None:
        return splits
    train = encode_copies(
        open_listing(settings, data.data),
        splits.train,
        on_device_of_process(extractor),
        settings.options.cache_dir,
        reading_settings(settings),
        data.augmentation,
        data.augment_copies,
    )
    return replace(splits, train=train)


def state_reading_of_codes(settings: Settings, folder: str, is_main: bool = True) -> None:
    """Let the settings say how the audio of a folder of codes was read, whatever a recipe says.

    Args:
        settings (`Settings`): Changed in place, so that results and card state what was done.
        folder (`str`): Folder of codes.
        is_main (`bool`, defaults to `True`): Whether these are the codes that the settings describe.

    Raises:
        ValueError: If the caller asked for another reading than that of the codes; the message names both.
    """
    stored = read_codes_info(folder).get("settings", {})
    for name in READING:
        if name not in stored:
            continue
        if name in settings.given and getattr(settings.data, name) != stored[name]:
            raise ValueError(
                f"`{name}` {settings.given[name]!r} does not fit the codes in {folder}, which were made with "
                f"{stored[name]!r}: leave it out, or encode the audio again with --data."
            )
        if is_main:
            setattr(settings.data, name, stored[name])


def open_extractor(settings: Settings, codebooks: int | list[int] | None = None) -> AudioFormerFeatureExtractor:
    """The extractor of one or several codebooks, with the requested codec, else the model's own, else the bundled one.

    With `codec`, the extractor is a fresh one. The `normalize` of a recipe counts where nothing else decides the
    level: neither the caller, nor the model to start from, nor a folder of codes.

    Args:
        settings (`Settings`): Those of the codec, `normalize` and `num_codebooks` are read.
        codebooks (`int` or `list[int]`, *optional*): Codebook that the model reads, from 0, or those that it reads
            together; by default those of the model to start from, else 0.

    Raises:
        ValueError: If a codebook is not among those that are encoded, the model to start from reads other ones and
            either reads several, `normalize` is not that of the model's own extractor, or there is a
            `codebook_dropout` for one codebook.
    """
    options, model = settings.options, settings.model
    own_codebooks = None if model.model is None else _config_of(model.model, model.model_revision).codebook_indices
    if codebooks is None:
        codebooks = 0 if own_codebooks is None else own_codebooks
    elif own_codebooks is not None:
        check_same_codebooks(str(model.model), own_codebooks, codebooks)
    highest = int(np.max(codebooks))
    if highest >= options.num_codebooks:
        raise ValueError(f"`codebook` must be below `num_codebooks` ({options.num_codebooks}), got {highest}.")
    if options.codebook_dropout and isinstance(codebooks, int):
        raise ValueError(
            f"`codebook_dropout` {options.codebook_dropout} needs a model of several codebooks, this one reads "
            f"codebook {codebooks} alone."
        )
    if options.codec is None and model.model is not None and _has_extractor(model.model):
        own = AudioFormerFeatureExtractor.from_pretrained(
            model.model, revision=model.model_revision or "main", codebooks=codebooks
        )
        if options.normalize not in (None, own.normalize) and "normalize" in settings.given:
            raise ValueError(
                f"`normalize` {options.normalize!r} does not fit `model` {model.model!r}, whose feature extractor has "
                f"{own.normalize!r}: leave it out, or add --codec for a fresh feature extractor."
            )
        return own
    normalization: dict[str, Any] = {"normalize": options.normalize}
    is_default = options.normalize is None or "normalize" not in settings.given
    if is_default and model.model is not None:
        # Another codec does not change the level that the model was trained with.
        normalization = _normalization_of(model.model, model.model_revision) or {}
    elif is_default and options.codes is not None:
        # The level of codes is decided, whatever a recipe says.
        info = read_codes_info(options.codes)
        normalization = {name: info[name] for name in NORMALIZATION_SETTINGS if name in info}
    return AudioFormerFeatureExtractor(
        codec=options.codec or str(TINY_CODEC),
        codec_revision=options.codec_revision,
        codec_type=options.codec_type,
        codec_backend=options.codec_backend,
        codebooks=codebooks,
        **normalization,
    )


def _has_extractor(model: str) -> bool:
    """Whether a folder holds a feature extractor; of a model on the Hub it is expected."""
    folder = Path(model)
    return not folder.is_dir() or (folder / PREPROCESSOR_CONFIG).is_file()


def _normalization_of(model: str, revision: str | None = None) -> dict[str, Any] | None:
    """The level that the feature extractor of a model gives waveforms; `None` without a feature extractor."""
    if not _has_extractor(model):
        return None
    try:
        saved, _ = AudioFormerFeatureExtractor.get_feature_extractor_dict(model, revision=revision or "main")
    except OSError:
        return None
    if saved.get("normalize") is None:
        return {}
    return {name: saved[name] for name in NORMALIZATION_SETTINGS}


def check_level_of_teachers(teachers: Sequence[str], extractor: AudioFormerFeatureExtractor) -> None:
    """Check that the frozen models of FT2 were pre-trained on codes of the level that they are to read.

    Args:
        teachers (sequence of `str`): Folders or Hub ids; models without a feature extractor pass.
        extractor (`AudioFormerFeatureExtractor`): Makes the codes that they are to read.

    Raises:
        ValueError: If a model was pre-trained with another `normalize`.
    """
    for teacher in teachers:
        own = _normalization_of(teacher)
        if own is not None and own != extractor.normalization:
            raise ValueError(
                f"Teacher {teacher!r} was pre-trained with {describe_normalization(own)}, but the feature extractor "
                f"has {describe_normalization(extractor.normalization)}: teachers must have the setting of the model."
            )


def _config_of(model: str, revision: str | None) -> AudioFormerConfig:
    try:
        return AudioFormerConfig.from_pretrained(model, revision=revision or "main")
    except OSError as error:
        raise ValueError(f"`model` {model!r} cannot be opened: {error}") from error
