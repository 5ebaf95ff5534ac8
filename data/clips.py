"""Labelled clips of a data set, whatever is known of their sound."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Generic, NoReturn, Self, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from scipy.sparse import csr_array

from .report import DataReport

_ROWS_AT_ONCE = 100_000

NOT_JUDGED = -1
"""Target of a class of which nobody said whether it applies to a clip: losses and metrics leave it out."""


@dataclass(frozen=True)
class GroupCounts:
    """How many clips have a group; the windows of a clip count as one clip.

    Args:
        clips (`int`): Number of clips.
        with_group (`int`): Number of clips with a group that the data or a pattern gave them.
        groups (`int`): Number of such groups.
    """

    clips: int
    with_group: int
    groups: int

    @property
    def all_grouped(self) -> bool:
        """Whether every clip has a group."""
        return self.with_group == self.clips


@dataclass(frozen=True)
class Clips:
    """Clips with labels, splits, folds and groups: what all model families train on.

    A clip is an entry of `dataset`: a listed clip, or one window of a longer one.

    Args:
        dataset (`datasets.Dataset` of `num_clips` rows): Has the columns `id`, `labels` (names), `split`, `fold`,
            `group`, `duration_s` (seconds) and `sampling_rate` (of the file, in Hz). It may have `judged`: names of
            the classes of which it is known whether they apply, or `None` for all.
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
    def label_matrix(self) -> csr_array:
        """Which clip has which labels: ones in a sparse uint8 matrix of shape `(num_clips, num_labels)`.

        Raises:
            ValueError: If a clip has a label that is not in `labels`.
        """
        known = pa.array(self.labels, type=pa.string())
        lengths, indices = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int32)]
        for batch in self._batches("labels"):
            for labels in batch.chunks:
                found = pc.index_in(labels.flatten().cast(pa.string()), value_set=known)
                if found.null_count:
                    self._raise_unknown()
                lengths.append(labels.value_lengths().fill_null(0).to_numpy().astype(np.int64))
                indices.append(found.to_numpy())
        starts = np.concatenate([[0], *lengths]).cumsum()
        ones = np.ones(int(starts[-1]), dtype=np.uint8)
        return csr_array((ones, np.concatenate(indices), starts), shape=(len(self), len(self.labels)))

    @cached_property
    def targets(self) -> np.ndarray:
        """Class indices, int64 of shape `(num_clips,)`, or multi-hot vectors, uint8 `(num_clips, num_labels)`.

        One byte per entry: as floats, the 527 classes of AudioSet's two million clips would take four gigabytes in
        every process. Where clips were judged in part, vectors are int8 and `NOT_JUDGED` (-1) at classes of which
        nothing is known.

        Raises:
            ValueError: If a clip has a label that is not in `labels`, or not exactly one label where it must have one.
        """
        if self.multi_label:
            targets = np.minimum(self.label_matrix.toarray(), 1)
            return self._without_unjudged(targets) if "judged" in self.dataset.column_names else targets
        self._check_single_labels()
        return self.label_matrix.indices.astype(np.int64)

    @property
    def strata(self) -> csr_array:
        """What to keep in proportion when clips are divided: `label_matrix`, which may be empty.

        Raises:
            ValueError: As for `targets`, unless no clip has labels.
        """
        if not self.multi_label and self.label_matrix.nnz:
            self._check_single_labels()
        return self.label_matrix

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what the clips are: classes, columns, order, and where they come from."""
        digest = hashlib.sha256(json.dumps([self.labels, self.multi_label, self.origin]).encode())
        for column in ("id", "labels", "duration_s", "judged"):
            if column not in self.dataset.column_names:
                continue
            for batch in self._batches(column):
                # Lengths first: "ab", "c" and "a", "bc" have the same letters.
                values = batch.combine_chunks()
                if pa.types.is_list(values.type):
                    digest.update(values.value_lengths().fill_null(-1).to_numpy().tobytes())
                    values = values.flatten().cast(pa.string())
                if pa.types.is_string(values.type):
                    digest.update(pc.binary_length(values).to_numpy(zero_copy_only=False).tobytes())
                    digest.update("".join(values.to_pylist()).encode())
                else:
                    digest.update(values.to_numpy(zero_copy_only=False).tobytes())
        return digest.hexdigest()

    @property
    def origin(self) -> str:
        """What stands for the sound of the clips in `digest`: nothing, where only the list of clips is known."""
        return ""

    @property
    def group_column(self) -> pa.ChunkedArray:
        """`groups` as an Arrow array of strings, which two million clips have room in."""
        return self._text_column("group")

    @property
    def id_column(self) -> pa.ChunkedArray:
        """`ids` as an Arrow array of strings."""
        return self._text_column("id")

    def count_groups(self) -> GroupCounts:
        """Count the clips that have a group. Windows of one clip, which belong together anyway, are no group."""
        ids, groups = self.id_column, self.group_column
        stripped = pc.replace_substring_regex(ids, pattern=r"#\d+(\.\d+)?$", replacement="")
        has_group = pc.is_valid(groups)
        is_own = pc.and_(pc.not_equal(ids, stripped), pc.fill_null(pc.equal(groups, stripped), False))
        given = pc.and_(has_group, pc.invert(is_own))
        names = pc.if_else(has_group, stripped, ids)
        columns = (names, names.filter(given), groups.filter(given))
        return GroupCounts(*(pc.count_distinct(column).as_py() for column in columns))

    def _without_unjudged(self, targets: np.ndarray) -> np.ndarray:
        column = {label: index for index, label in enumerate(self.labels)}
        known = np.zeros_like(targets, dtype=bool)
        for row, names in enumerate(self.dataset["judged"]):
            known[row, slice(None) if names is None else [column[name] for name in names]] = True
        return np.where(known, targets, NOT_JUDGED).astype(np.int8)

    def _text_column(self, name: str) -> pa.ChunkedArray:
        chunks = [chunk.cast(pa.string()) for batch in self._batches(name) for chunk in batch.chunks]
        return pa.chunked_array(chunks, type=pa.string())

    def _batches(self, column: str) -> Iterator[pa.ChunkedArray]:
        # Of a selection of clips, `datasets` would first copy the column as a whole.
        rows = self.dataset.select_columns([column]).with_format("arrow")
        return (batch[column] for batch in rows.iter(batch_size=_ROWS_AT_ONCE))

    def _check_single_labels(self) -> None:
        wrong = np.flatnonzero(np.diff(self.label_matrix.indptr) != 1)
        if len(wrong):
            row = self.dataset[int(wrong[0])]
            raise ValueError(f"Clip {row['id']!r} must have one label, it has {list(row['labels'])}.")

    def _raise_unknown(self) -> NoReturn:
        known = set(self.labels)
        for name, labels in zip(self.dataset["id"], self.dataset["labels"], strict=True):
            unknown = [label for label in labels if label not in known]
            if unknown:
                raise ValueError(
                    f"Clip {name!r} has labels that are not among the {len(self.labels)} known: {unknown}."
                )
        raise AssertionError("every label is known")


def check_multi_label(wanted: bool, found: bool) -> None:
    """Check that clips can be used as `wanted`.

    Args:
        wanted (`bool`): Whether the targets are for several labels per clip.
        found (`bool`): Whether clips of the data have several.

    Raises:
        ValueError: If one label per clip is asked for and clips have several.
    """
    if found and not wanted:
        raise ValueError("`multi_label` is false, but clips of the data have several labels.")


ClipsT = TypeVar("ClipsT", bound=Clips)


@dataclass(frozen=True)
class ClipSplits(Generic[ClipsT]):
    """The clips of a run by their use.

    Args:
        train (`Clips`): They determine the weights.
        held_out (`Clips`, *optional*): They select the checkpoint; without them the test clips do.
        test (`Clips`, *optional*): They are measured once, at the end.
        drawn ([`GroupCounts`], *optional*): Groups of the held-out clips, where they were drawn at random from the
            training clips; `None` where the data say which clips are held out, or none are.
        synthetic (`Clips`, *optional*): They determine the weights too, without labels, beside those of the data.
        shared_groups (sequence of `str`): Groups, such as speakers, that have clips among those that train and among
            those that the data hold out or test.
    """

    train: ClipsT
    held_out: ClipsT | None
    test: ClipsT | None
    drawn: GroupCounts | None = None
    synthetic: ClipsT | None = None
    shared_groups: Sequence[str] = ()

    @property
    def selecting(self) -> ClipsT:
        """The clips that select the checkpoint.

        Raises:
            ValueError: If no clips are held out and there are no test clips.
        """
        clips = self.test if self.held_out is None else self.held_out
        if clips is None:
            raise ValueError("No clips select the checkpoint: none are held out, and there are no test clips.")
        return clips

    @property
    def selects_on_test(self) -> bool:
        """Whether the clips that select the checkpoint are those that are measured at the end."""
        return self.selecting is self.test

    def as_multi_label(self, multi_label: bool) -> "ClipSplits[ClipsT]":
        """The same clips with targets for several labels per clip, or for one.

        Raises:
            ValueError: If one label per clip is asked for and clips have several.
        """
        check_multi_label(multi_label, self.train.multi_label)

        def change(clips: ClipsT) -> ClipsT:
            return clips.with_labels(self.train.labels, multi_label)

        held_out, test = (None if clips is None else change(clips) for clips in (self.held_out, self.test))
        return replace(self, train=change(self.train), held_out=held_out, test=test)
