"""Labelled clips of a data set, whatever is known of their sound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from datasets import Dataset

from .report import DataReport


@dataclass(frozen=True)
class Clips:
    """Clips with labels, splits, folds and groups: what all model families train on.

    A clip is an entry of `dataset`: a listed clip, or one window of a longer one.

    Args:
        dataset (`datasets.Dataset` of `num_clips` rows): Has the columns `id`, `labels` (names), `split`, `fold`,
            `group`, `duration_s` (seconds) and `sampling_rate` (of the file, in Hz).
        labels (`list[str]`): Class names; their order gives the indices.
        multi_label (`bool`): Whether a clip can have several labels.
        label_ids (`dict[str, str]`): Machine ids of classes, where they have any.
        report ([`DataReport`]): What the whole data set contains.
    """

    dataset: Dataset
    labels: list[str]
    multi_label: bool
    label_ids: dict[str, str]
    report: DataReport

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def ids(self) -> list[str]:
        """Name of each clip."""
        return self.dataset["id"][:]

    @property
    def groups(self) -> list[str | None]:
        """Group of each clip; clips of one group must not be divided between training and testing."""
        return self.dataset["group"][:]

    def select(self, indices: Sequence[int] | np.ndarray) -> Self:
        """Return some of the clips, in the order of `indices`."""
        return replace(self, dataset=self.dataset.select(indices))

    def with_labels(self, labels: Sequence[str], multi_label: bool | None = None) -> Self:
        """Return the same clips with the class indices of a model that knows more classes, or in another order.

        Args:
            labels (sequence of `str`): Class names in the order of the model.
            multi_label (`bool`, *optional*): Whether a clip can have several labels; by default as before.
        """
        multi_label = self.multi_label if multi_label is None else multi_label
        return replace(self, labels=list(labels), multi_label=multi_label)

    @cached_property
    def targets(self) -> np.ndarray:
        """Class indices, int64 of shape `(num_clips,)`, or multi-hot vectors, uint8 `(num_clips, num_labels)`.

        One byte per entry: as floats, the 527 classes of AudioSet's two million clips would take four gigabytes in
        every process.

        Raises:
            ValueError: If a clip has a label that is not in `labels`, or not exactly one label where it must have one.
        """
        index_of = {label: index for index, label in enumerate(self.labels)}
        targets = np.zeros((len(self), len(self.labels)), dtype=np.uint8)
        for row, (name, labels) in enumerate(zip(self.dataset["id"], self.dataset["labels"], strict=True)):
            unknown = [label for label in labels if label not in index_of]
            if unknown:
                raise ValueError(
                    f"Clip {name!r} has labels that are not among the {len(self.labels)} known: {unknown}."
                )
            if not self.multi_label and len(labels) != 1:
                raise ValueError(f"Clip {name!r} must have one label, it has {list(labels)}.")
            targets[row, [index_of[label] for label in labels]] = 1
        return targets if self.multi_label else targets.argmax(axis=1)

    @property
    def strata(self) -> np.ndarray:
        """What to keep in proportion when clips are divided: `targets`, or zeros if no clip has labels."""
        if not any(self.dataset["labels"]):
            return np.zeros(len(self), dtype=np.int64)
        return self.targets
