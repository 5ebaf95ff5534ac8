"""Crops of clips for tests of models that were trained on crops."""

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from audioformer.evaluation import merge_windows

from .codes import CodeExamples


class EvaluationCrops(Dataset[dict[str, Any]]):
    """Evenly spaced crops of each clip, from its beginning to its end; clips that are no longer than a crop stay.

    Args:
        examples ([`CodeExamples`]): Whole clips.
        crop_frames (`int`): Frames of a crop.
        num_crops (`int`): Crops of each longer clip, which overlap or not; a single one is in the middle.

    Attributes:
        clips (`np.ndarray` of shape `(num_items,)`): Index of the clip that each crop belongs to.
        starts (`np.ndarray` of shape `(num_items,)`): First frame of each crop.
        frames (`np.ndarray` of shape `(num_items,)`): Number of its frames.
    """

    def __init__(self, examples: CodeExamples, crop_frames: int, num_crops: int) -> None:
        self.examples = examples
        lengths = examples.lengths - 2
        starts = [crop_starts(int(length), crop_frames, num_crops) for length in lengths]
        self.clips = np.repeat(np.arange(len(lengths)), [len(clip_starts) for clip_starts in starts])
        self.starts = np.concatenate(starts)
        self.frames = np.minimum(lengths, crop_frames)[self.clips]

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self.examples[int(self.clips[index])]
        ids, start = item["input_ids"], int(self.starts[index]) + 1
        return {**item, "input_ids": torch.cat([ids[:1], ids[start : start + int(self.frames[index])], ids[-1:]])}

    def merge(self, scores: np.ndarray, multi_label: bool) -> np.ndarray:
        """Average the probabilities of the crops of each clip by the rule of windows, see [`merge_windows`].

        Args:
            scores (`np.ndarray` of shape `(num_items, num_labels)`): Logits of each crop.
            multi_label (`bool`): Whether the probabilities are sigmoids of the logits; otherwise their softmax.

        Returns:
            `np.ndarray` of shape `(num_clips, num_labels)`: Logits of each clip.
        """
        names = [str(clip) for clip in self.clips]
        same = np.zeros(len(names))
        return merge_windows(names, scores, same, self.frames, self.starts, multi_label=multi_label).scores


def crop_starts(num_frames: int, crop_frames: int, num_crops: int) -> np.ndarray:
    """First frames of evenly spaced crops of a clip, int64, ascending; fewer than `num_crops` in a short clip."""
    last = max(0, num_frames - crop_frames)
    if num_crops == 1:
        return np.array([last // 2])
    return np.unique(np.round(np.linspace(0, last, num_crops)).astype(np.int64))
