"""Vectors of clips from frozen encoders, computed once and kept in files."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from filelock import FileLock
from huggingface_hub import constants
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from audioformer.data.audio.clips import AudioClips
from audioformer.data.audio.windows import window_start_s
from audioformer.data.clips import Clips
from audioformer.data.listing import Listing, listing_fingerprint
from audioformer.data.progress import hides_bars
from audioformer.evaluation.windows import mean_vectors, rows_of_clips

from ..classifiers import read_config
from ..families import Settings
from ..results import names_of_clips, published_name
from ..trainers.vector_file import VectorFile

CLIPS_PER_BLOCK = 256
"""Clips whose vectors are computed and written together; a killed run loses at most these."""

NAME = "vectors"
"""What the names of the files begin with."""

SAYS_NOTHING = (
    *("_name_or_path", "transformers_version", "architectures", "auto_map", "dtype", "torch_dtype", "output_dir"),
    *("id2label", "label2id", "problem_type", "classification_loss", "bce_reduction"),
    *("calibration_temperature", "calibration_bias"),
)
"""Fields of configurations and extractors that have no effect on vectors."""


def default_vectors_dir() -> Path:
    """`audioformer/vectors` in the Hugging Face home folder."""
    return Path(constants.HF_HOME) / "audioformer" / "vectors"


@dataclass(frozen=True)
class Encoder:
    """A frozen encoder without its head.

    Args:
        settings (`Settings`): Where it comes from.
        model (`PreTrainedModel`): The family's backbone, in float32 and eval mode.
        extractor: Its feature extractor.
    """

    settings: Settings
    model: PreTrainedModel
    extractor: Any

    @classmethod
    def load(cls, settings: Settings, extractor: Any) -> "Encoder":
        """Load the encoder of a base model, a pre-trained model or a classifier.

        Raises:
            ValueError: If the checkpoint is of another family, does not fit the extractor, or lacks weights of the
                encoder, which would be random numbers.
        """
        family, name = settings.family, str(settings.model.model)
        config = read_config(family, name, settings.model.model_revision)
        if family.check_extractor is not None:
            family.check_extractor(config, extractor)
        loaded: Any = family.backbone.from_pretrained(
            name, **settings.model.loading_options, dtype=torch.float32, output_loading_info=True
        )
        model, report = loaded
        missing = sorted(report["missing_keys"])
        if missing:
            raise ValueError(
                f"`model` {name!r} must hold every weight of {family.backbone.__name__}, but lacks {len(missing)}, "
                f"such as {', '.join(missing[:3])}."
            )
        return cls(settings, model.eval().requires_grad_(False), extractor)

    def key(self, clips: Clips) -> str:
        """SHA-256 of all that the vectors of some clips depend on: weights, settings, and the clips with their sound.

        Args:
            clips ([`Clips`]): The clips, as the family opened them.
        """
        deciding = {
            "audioformer": version("audioformer"),
            "config": _without(self.model.config.to_dict()),
            "extractor": _without(json.loads(self.extractor.to_json_string())),
            "clips": clips.digest,
            # Codes are part of the digest; of audio, the sizes and times of the files tell whether it is the same.
            "sound": listing_fingerprint(_listing_of(clips)) if isinstance(clips, AudioClips) else None,
        }
        digest = hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode())
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(json.dumps([name, str(weight.dtype), list(weight.shape)]).encode())
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
        return digest.hexdigest()


def vectors_of(encoder: Encoder, clips: Clips, folder: Path) -> np.ndarray:
    """Compute the vector of every clip, or read what was computed before.

    The work is done in blocks of 256 clips; a killed run goes on after the blocks that it has finished. Several runs
    may use one folder at the same time.

    Args:
        encoder ([`Encoder`]): The frozen encoder.
        clips ([`Clips`]): The clips, as its family opened them; windows of long clips are clips.
        folder (`Path`): Where the file is kept; created if it does not exist.

    Returns:
        `np.ndarray` of shape `(num_clips, hidden_size)`: float32, mapped from the file. What the encoder returns as
        `pooler_output`: the mean over the real frames or patches of its last hidden state, unless its configuration
        says otherwise.

    Raises:
        ValueError: If a clip is damaged, or the encoder returns no such vector or one that is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = encoder.key(clips)
    path = folder / f"{NAME}-{key[:32]}.npy"
    with FileLock(path.with_suffix(".lock")):
        if not path.exists():
            compute = _Computation(encoder, clips)
            file = VectorFile(folder, key, (len(clips), compute.hidden_size), CLIPS_PER_BLOCK, name=NAME)
            for block, vectors in compute(file.unfinished_blocks()):
                file.write(block, vectors)
            model = published_name(encoder.settings.model.model)
            file.finish({"model": model, "data": clips.report.source, "key": key})
    return np.load(path, mmap_mode="r")


class _Computation:
    """The forward passes of an encoder over clips."""

    def __init__(self, encoder: Encoder, clips: Clips) -> None:
        settings, self.clips = encoder.settings, clips
        config = encoder.model.config
        family = settings.family.examples
        self.examples: Any = family.examples(settings, clips, encoder.extractor, config, labels=False)
        # The trainer of the family knows how its clips become a batch.
        self.collate = family.trainer(settings, encoder.model, encoder.extractor, None).data_collator
        self.model, self.arguments = encoder.model.to(settings.training.device), settings.training
        lengths = getattr(self.examples, "lengths", None)
        self.lengths = np.zeros(len(clips), dtype=np.int64) if lengths is None else np.asarray(lengths)
        self.hidden_size = self._forward(self.collate([self.examples[0]])).shape[1]

    def __call__(self, blocks: Sequence[tuple[int, int]]) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        size = self.arguments.per_device_eval_batch_size
        # Clips of similar length in a batch, so that little is padded.
        orders = [start + np.argsort(self.lengths[start:stop], kind="stable") for start, stop in blocks]
        batches = [order[first : first + size].tolist() for order in orders for first in range(0, len(order), size)]
        workers = self.arguments.dataloader_num_workers
        loader = iter(DataLoader(self.examples, batch_sampler=batches, collate_fn=self.collate, num_workers=workers))
        planned = iter(batches)
        total = sum(map(len, orders))
        with tqdm(total=total, desc="Computing vectors", unit="clip", disable=hides_bars()) as progress:
            for (start, stop), order in zip(blocks, orders, strict=True):
                vectors = np.empty((stop - start, self.hidden_size), dtype=np.float32)
                for _ in range(0, len(order), size):
                    rows = np.array(next(planned))
                    vectors[rows - start] = self._forward(next(loader))
                    progress.update(len(rows))
                wrong = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
                if len(wrong):
                    name = self.clips.ids[start + int(wrong[0])]
                    model = self.model.config.name_or_path
                    raise ValueError(f"`model` {model!r} computes no finite vector for the clip {name!r}.")
                yield (start, stop), vectors

    @torch.no_grad()
    def _forward(self, batch: dict[str, Any]) -> np.ndarray:
        outputs = self.model(**send_to_device(batch, self.arguments.device))
        pooled = outputs if isinstance(outputs, torch.Tensor) else getattr(outputs, "pooler_output", None)
        if pooled is None or pooled.ndim != 2:
            raise ValueError(
                f"{type(self.model).__name__} must return a vector per clip as `pooler_output`, of shape (batch_size, "
                f"hidden_size), got {None if pooled is None else tuple(pooled.shape)}."
            )
        return pooled.float().cpu().numpy()


@dataclass(frozen=True)
class ClipVectors:
    """A vector for each clip; the windows of a long clip count as one clip, with their mean over time.

    Args:
        names (`list[str]`): Name of each clip.
        clips ([`Clips`]): The first window of each clip: its labels, groups, splits and folds are those of the clip.
        vectors (`np.ndarray` of shape `(num_clips, hidden_size)`): float32.
    """

    names: list[str]
    clips: Clips
    vectors: np.ndarray

    @classmethod
    def of_windows(cls, clips: Clips, vectors: np.ndarray) -> "ClipVectors":
        """Merge the windows of clips.

        Args:
            clips ([`Clips`]): Clips and windows.
            vectors (`np.ndarray` of shape `(num_windows, hidden_size)`): A vector for each.
        """
        names = names_of_clips(clips)
        rows = rows_of_clips(names, clips.targets)
        starts_s = np.array([window_start_s(name) for name in clips.ids])
        durations_s = np.asarray(clips.dataset["duration_s"][:], dtype=float)
        merged = mean_vectors(rows, vectors, starts_s, durations_s)
        firsts = [int(windows[0]) for windows in rows]
        return cls([names[row] for row in firsts], clips.select(firsts), merged)

    @property
    def keys(self) -> list[tuple[str, tuple[str, ...]]]:
        """Name and labels of each clip, which no two clips share."""
        return list(zip(self.names, map(tuple, self.clips.dataset["labels"][:]), strict=True))

    def select(self, indices: Sequence[int]) -> "ClipVectors":
        """Return some of the clips, in the order of `indices`."""
        return ClipVectors([self.names[index] for index in indices], self.clips.select(indices), self.vectors[indices])


def common_clips(sources: Sequence[ClipVectors]) -> list[ClipVectors]:
    """Reduce the clips of several models to those that all have, in the order of the first.

    Families differ in what they leave out: silent clips have no codes, but a spectrogram.

    Raises:
        ValueError: If the models see other labels, or no clip in common.
    """
    first = sources[0]
    for other in sources[1:]:
        if (other.clips.labels, other.clips.multi_label) != (first.clips.labels, first.clips.multi_label):
            raise ValueError(
                f"All models must be probed on the same labels, got {first.clips.labels[:5]} and "
                f"{other.clips.labels[:5]}: the sources of their clips differ."
            )
    rows_of = [{key: row for row, key in enumerate(source.keys)} for source in sources]
    shared = [key for key in first.keys if all(key in rows for rows in rows_of)]
    if not shared:
        raise ValueError(f"No clip is common to all models, such as {first.names[0]!r}.")
    return [source.select([rows[key] for key in shared]) for source, rows in zip(sources, rows_of, strict=True)]


def _without(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in SAYS_NOTHING}


def _listing_of(clips: AudioClips) -> Listing:
    report = clips.report
    return Listing(report.source, report.layout, "", clips.listed, clips.labels, clips.multi_label)
