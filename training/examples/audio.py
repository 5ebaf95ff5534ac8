"""Examples straight from audio: decoded, resampled and turned into features in the workers of the loader.

A model family whose models read spectrograms needs no more than this: its feature extractor makes the features of a
whole batch at once, and the clips of training are rolled, mixed and masked as the settings say.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import FeatureExtractionMixin, PreTrainedConfig, PreTrainedModel

from audioformer.data.audio.augmentation import Augmentation
from audioformer.data.audio.clips import AudioClips, list_audio_clips
from audioformer.data.audio.windows import ReadingSettings
from audioformer.data.clips import ClipSplits
from audioformer.evaluation import build_compute_metrics

from ..arguments import FINETUNE
from ..families import CheckLabels, Settings
from ..spectrogram_arguments import SpectrogramTrainingArguments
from ..trainers import ClassificationTrainer
from ..trainers.spectrogram_classification import SpectrogramClassificationTrainer
from .codes import draw_seed
from .listings import find_groups, open_listing
from .spectrogram_augmentation import (
    EDGES,
    GAIN,
    HIDE,
    MASK,
    ROLL,
    BatchChanges,
    amplify_waveform,
    draw_mel_edges,
    hide_stretches,
    mask_spectrogram,
    mix_spectrograms,
    mix_waveforms,
    roll_waveform,
)


class AudioExamples(Dataset[dict[str, Any]]):
    """Clips as waveforms, read on demand.

    Which version of a clip an item is depends on `(seed, epoch, index)` alone. The trainer calls `set_epoch`.

    Args:
        clips (`AudioClips`): The clips.
        sampling_rate (`int`): Rate in Hz that they are resampled to.
        labels (`bool`, defaults to `True`): Whether items have `labels`: a class index, or a multi-hot vector.
        augmentation ([`Augmentation`], *optional*): How augmented copies of the clips differ from them.
        num_copies (`int`, defaults to 0): Copies of each clip. In every epoch, the clip itself or one of them is
            drawn, and made when it is read.
        max_length_s (`float`, *optional*): Longest copy in seconds.
        roll (`bool`, defaults to `False`): Whether a clip begins at a random sample, and what precedes it follows.
        roll_samples (`int`, defaults to 0): At most so many samples earlier or later it begins, without `roll`.
        gain_db (`tuple[float, float]`, *optional*): Lowest and highest random gain in dB.
        is_drawn (`bool`, defaults to `False`): Whether items have a `draw_seed`, from which the collator draws.
        seed (`int`, defaults to 0): Seed of the draws.
    """

    def __init__(
        self,
        clips: AudioClips,
        sampling_rate: int,
        labels: bool = True,
        *,
        augmentation: Augmentation | None = None,
        num_copies: int = 0,
        max_length_s: float | None = None,
        roll: bool = False,
        roll_samples: int = 0,
        gain_db: tuple[float, float] | None = None,
        is_drawn: bool = False,
        seed: int = 0,
    ) -> None:
        self.clips, self.sampling_rate = clips, sampling_rate
        self.labels = clips.targets if labels else None
        self.augmentation, self.num_copies, self.seed = augmentation, num_copies, seed
        self.roll, self.roll_samples, self.gain_db, self.is_drawn = roll, roll_samples, gain_db, is_drawn
        self.max_samples = None if max_length_s is None else round(max_length_s * sampling_rate)
        self.names = None if augmentation is None else clips.dataset.select_columns(["id"])
        # In shared memory, for workers that live on through the epochs.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.clips)

    def set_epoch(self, epoch: int) -> None:
        """Draw other versions of the clips from now on."""
        self._epoch.fill_(epoch)

    @property
    def lengths(self) -> np.ndarray:
        """Number of samples of each clip, int64 of shape `(num_clips,)`, for batches of clips of similar length."""
        return np.asarray(np.asarray(self.clips.dataset["duration_s"][:]) * self.sampling_rate, dtype=np.int64)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"waveform": self._read(index)}
        seed = draw_seed(self.seed, int(self._epoch), index)
        if self.roll or self.roll_samples:
            rng = np.random.default_rng([seed, ROLL])
            item["waveform"] = roll_waveform(item["waveform"], rng, None if self.roll else self.roll_samples)
        if self.gain_db is not None:
            rng = np.random.default_rng([seed, GAIN])
            item["waveform"] = amplify_waveform(item["waveform"], *self.gain_db, rng)
        if self.is_drawn:
            item["draw_seed"] = seed
        if self.labels is not None:
            item["labels"] = torch.as_tensor(self.labels[index])
        return item

    def _read(self, index: int) -> np.ndarray:
        waveform = self.clips.read(index, self.sampling_rate)
        if self.augmentation is None or self.names is None:
            return waveform
        rng = np.random.default_rng(draw_seed(self.seed, int(self._epoch), index))
        number = int(rng.integers(self.num_copies + 1))
        if number == 0:
            return waveform
        return self.augmentation.copy_of(waveform, self.names[int(index)]["id"], number, self.max_samples)


class DataCollatorForAudio:
    """Turns the waveforms of a batch into the features of a model, padded to one length.

    Items with a `draw_seed`, those of training, are mixed and masked if that is set. Batches of mixed waveforms have
    `mixup_partners` and `mixup_shares`, both of shape `(batch_size,)`, see [`mix_waveforms`]; those of mixed
    spectrograms have `spectrogram_mixup_partners` and `spectrogram_mixup_shares`.

    Args:
        extractor: Feature extractor of the model; called with the list of waveforms and `sampling_rate`, and with
            `mel_edges` where the edges of its mel bins change. If it has `mask_values`, these stand in masks of fixed
            sizes, else the mean.
        changes ([`BatchChanges`], *optional*): What changes. For changes of spectrograms, the features must be
            `input_features` of shape `(batch_size, num_frames, num_bins)`.
    """

    def __init__(self, extractor: Any, changes: BatchChanges | None = None) -> None:
        self.extractor, self.changes = extractor, changes or BatchChanges()

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        waveforms = [item["waveform"] for item in items]
        seeds = [item["draw_seed"] for item in items if "draw_seed" in item]
        changes, rate = self.changes, self.extractor.sampling_rate
        mixed: dict[str, Any] = {}
        if seeds and changes.mixup_alpha:
            waveforms, partners, shares = mix_waveforms(
                waveforms, seeds, changes.mixup_alpha, changes.mixup_probability
            )
            mixed = {"mixup_partners": torch.from_numpy(partners), "mixup_shares": torch.from_numpy(shares)}
        edges: dict[str, Any] = {}
        if seeds and changes.mel_jitter is not None:
            mel_range = self.extractor.mel_range
            rngs = [np.random.default_rng([seed, EDGES]) for seed in seeds]
            edges = {"mel_edges": [draw_mel_edges(mel_range, changes.mel_jitter, rate / 2, rng) for rng in rngs]}
        features = self.extractor(waveforms, sampling_rate=rate, padding=True, return_tensors="pt", **edges)
        batch = {**features, **mixed}
        if seeds:
            self._change_spectrograms(batch, list(map(len, waveforms)), seeds)
        if "labels" in items[0]:
            batch["labels"] = torch.stack([item["labels"] for item in items])
        return batch

    def _change_spectrograms(self, batch: dict[str, Any], lengths: Sequence[int], seeds: Sequence[int]) -> None:
        """Mask, then mix the spectrograms of a batch, whose clips have so many samples."""
        changes = self.changes
        if not (changes.spec_augment or changes.mask_frames or changes.mask_bins or changes.spectrogram_mixup_alpha):
            return
        features = batch["input_features"]
        num_frames = [-(-features.shape[1] * length // max(lengths)) for length in lengths]
        values = getattr(self.extractor, "mask_values", None)
        for clip, real, seed in zip(features, num_frames, seeds, strict=True):
            if changes.spec_augment:
                mask_spectrogram(clip[:real], changes.spec_augment, np.random.default_rng([seed, MASK]))
            if changes.mask_frames or changes.mask_bins:
                rng = np.random.default_rng([seed, HIDE])
                hide_stretches(clip[:real], changes.mask_frames, changes.mask_bins, values, rng)
        if changes.spectrogram_mixup_alpha:
            mixed, partners, shares = mix_spectrograms(features, num_frames, seeds, changes.spectrogram_mixup_alpha)
            batch["input_features"] = mixed
            batch["spectrogram_mixup_partners"] = torch.from_numpy(partners)
            batch["spectrogram_mixup_shares"] = torch.from_numpy(shares)


class AudioExampleSource:
    """The examples of a family whose models read features of the audio itself.

    Args:
        extractor_class (type): Its feature extractor; fresh models get one with default settings.
    """

    def __init__(self, extractor_class: type[FeatureExtractionMixin]) -> None:
        self.extractor_class = extractor_class

    def open_extractor(self, settings: Settings) -> Any:
        """The extractor of the model that the run starts from, or one with the defaults."""
        model = settings.model
        if model.model is None:
            return self.extractor_class()
        return self.extractor_class.from_pretrained(model.model, revision=model.model_revision or "main")

    def open_clips(
        self, settings: Settings, extractor: Any, *, test_source: bool, check_labels: CheckLabels | None
    ) -> AudioClips:
        """List the clips of the data; only the headers of files are read.

        Raises:
            ValueError: If the source is missing or cannot be read, the labels or the pattern for groups do not fit, or
                too many clips are unreadable.
        """
        data = settings.data
        name = "eval_data" if test_source else "data"
        source = getattr(data, name)
        if source is None:
            raise ValueError(f"`{name}` must be given: a folder, a manifest, or a data set.")
        listing = open_listing(settings, source)
        if check_labels is not None:
            check_labels(listing.labels, listing.multi_label)
        loss = settings.model.classification_loss
        if listing.partly_judged and settings.command == FINETUNE and loss != "bce":
            raise ValueError(
                f"`classification_loss` must be 'bce' for {listing.name}, of whose clips not all classes were judged, "
                f"got {loss!r}."
            )
        groups = find_groups(settings, listing, test_source=test_source)
        clips = list_audio_clips(listing, reading_settings(settings), max_rejected_share=data.max_rejected_share)
        return clips if groups is None else groups.apply(clips)

    def examples(
        self, settings: Settings, clips: AudioClips, extractor: Any, config: PreTrainedConfig, *, labels: bool
    ) -> AudioExamples:
        """Clips as waveforms."""
        return AudioExamples(clips, extractor.sampling_rate, labels)

    def trainer(
        self, settings: Settings, model: PreTrainedModel, extractor: Any, splits: ClipSplits[AudioClips] | None
    ) -> ClassificationTrainer:
        """A `ClassificationTrainer` on the splits of a run; without splits, one that only evaluates."""
        data_sets: dict[str, Any] = {}
        arguments = settings.training
        # A family may have arguments of its own without the augmentations.
        augmented = isinstance(arguments, SpectrogramTrainingArguments)
        changes = BatchChanges.of(arguments) if augmented else BatchChanges()
        of_clips: dict[str, Any] = {}
        if augmented:
            gain_db = None if arguments.gain_db is None else tuple(arguments.gain_db)
            of_clips = {"roll": arguments.roll, "roll_samples": arguments.roll_samples, "gain_db": gain_db}
        if splits is not None:
            data = settings.data
            train = AudioExamples(
                splits.train,
                extractor.sampling_rate,
                augmentation=data.augmentation,
                num_copies=data.augment_copies,
                max_length_s=data.max_length_s,
                is_drawn=changes.changes_anything,
                seed=arguments.seed,
                **of_clips,
            )
            data_sets = {
                "train_dataset": train,
                "eval_dataset": AudioExamples(splits.selecting, extractor.sampling_rate),
                "compute_metrics": build_compute_metrics(splits.train.multi_label),
            }
        collator = DataCollatorForAudio(extractor, changes)
        return SpectrogramClassificationTrainer(model=model, args=arguments, data_collator=collator, **data_sets)


def reading_settings(settings: Settings) -> ReadingSettings:
    """How the clips of a run are read."""
    data = settings.data
    return ReadingSettings(
        max_length_s=data.max_length_s,
        long_files=data.long_files,
        hop_s=data.hop_s,
        keep_silent=data.keep_silent,
        gain_db=settings.gain_db,
    )
