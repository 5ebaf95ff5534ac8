"""Iterative stratification in two parts, over groups, with sparse labels: linear in the labels of all clips.

Labels are divided one by one, whichever has the fewest clips left first, since a frequent label can still be balanced
later by clips that have it alone (Sechidis et al., On the Stratification of Multi-Label Data, ECML PKDD 2011). Here
all groups with a label are divided at once.
"""

import numpy as np
from scipy.sparse import csr_array


def stratified_holdout(labels: csr_array, groups: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Choose clips to hold out such that each label, and the whole, is divided in the same proportion.

    Groups stay whole, and at least one group of each label is left.

    Args:
        labels (`scipy.sparse.csr_array` of shape `(num_clips, num_labels)`): Non-zero where a clip has a label.
        groups (`np.ndarray` of shape `(num_clips,)`): Index of the group of each clip, from 0 without gaps.
        share (`float`): Share to hold out, in (0, 1).
        seed (`int`): Determines which groups are held out.

    Returns:
        `np.ndarray` of shape `(num_clips,)`: Whether a clip is held out.
    """
    sizes = np.bincount(groups)
    counts = _labels_of_groups(labels, groups, len(sizes))
    # A random order of the groups makes "the first ones" below a random choice.
    order = np.random.default_rng(seed).permutation(len(sizes))
    return _hold_out(counts[order], sizes[order], share)[np.argsort(order)][groups]


def _labels_of_groups(labels: csr_array, groups: np.ndarray, num_groups: int) -> csr_array:
    """Number of clips with each label in each group; clips without labels share one more, to be divided as well."""
    unlabelled = (np.diff(labels.indptr) == 0).nonzero()[0]
    clips = np.repeat(np.arange(labels.shape[0], dtype=np.int32), np.diff(labels.indptr))
    rows = np.concatenate([groups[clips], groups[unlabelled]])
    columns = np.concatenate([labels.indices, np.full(len(unlabelled), labels.shape[1])])
    # Entries of the same group and label are added up.
    ones = np.ones(len(rows), dtype=np.int32)
    counts = csr_array((ones, (rows, columns)), shape=(num_groups, labels.shape[1] + 1))
    counts.sum_duplicates()
    return counts


def _hold_out(counts: csr_array, sizes: np.ndarray, share: float) -> np.ndarray:
    """Divide groups in the order in which they come.

    Args:
        counts (`csr_array` of shape `(num_groups, num_labels)`): Clips of each group with each label.
        sizes (`np.ndarray` of shape `(num_groups,)`): Clips of each group.
        share (`float`): Share of the clips to hold out.

    Returns:
        `np.ndarray` of shape `(num_groups,)`: Whether a group is held out.
    """
    by_label = counts.tocsc()
    num_labels = counts.shape[1]
    wanted = share * np.asarray(counts.sum(axis=0), dtype=np.float64)
    held = np.zeros(num_labels, dtype=np.int64)
    is_open, is_held = np.ones(len(sizes), dtype=bool), np.zeros(len(sizes), dtype=bool)
    num_groups_left = np.diff(by_label.indptr)
    # What only one group has must be trained on.
    only = np.flatnonzero(num_groups_left == 1)
    is_open[by_label.indices[by_label.indptr[only]]] = False
    left = np.asarray(counts[is_open].sum(axis=0), dtype=np.int64)
    # How many clips too few were held out so far, of all that were divided.
    lacking = 0.0
    for _ in range(num_labels):
        label = int(np.argmin(np.where(left > 0, left, np.iinfo(np.int64).max)))
        if left[label] == 0:
            break
        entries = slice(by_label.indptr[label], by_label.indptr[label + 1])
        members, weights = by_label.indices[entries], by_label.data[entries]
        members, weights = members[is_open[members]], weights[is_open[members]]
        lacking += share * sizes[members].sum()
        chosen = _first_that_fit(weights, wanted[label] - held[label])
        lacking -= sizes[members[chosen]].sum()
        # Rounding down is made good as soon as one more group brings the whole closer to its share.
        rest = np.flatnonzero(~chosen & (sizes[members] <= 2 * lacking))
        if len(rest) and (~chosen).sum() > 1:
            chosen[rest[0]] = True
            lacking -= sizes[members[rest[0]]]
        is_held[members[chosen]] = True
        is_open[members] = False
        divided = counts[members]
        left -= np.asarray(divided.sum(axis=0), dtype=np.int64)
        held += np.asarray(divided[np.flatnonzero(chosen)].sum(axis=0), dtype=np.int64)
    return is_held


def _first_that_fit(weights: np.ndarray, capacity: float) -> np.ndarray:
    """Take items in order as long as they fit, leaving out those that are too heavy for what is left.

    Args:
        weights (`np.ndarray` of shape `(num_items,)`): Positive weights.
        capacity (`float`): What the chosen items may weigh together.

    Returns:
        `np.ndarray` of shape `(num_items,)`: Whether an item is chosen.
    """
    chosen = np.zeros(len(weights), dtype=bool)
    candidates = np.arange(len(weights))
    # Weights are whole numbers; a sum of shares such as 0.1 may lie just below one.
    capacity += 1e-6
    while len(candidates := candidates[weights[candidates] <= capacity]):
        total = np.cumsum(weights[candidates])
        number = int(np.searchsorted(total, capacity, side="right"))
        chosen[candidates[:number]] = True
        capacity -= total[number - 1]
        candidates = candidates[number:]
    return chosen
