"""Baselines that a model has to beat: the most common label, and a linear classifier on histograms of codes."""

from collections.abc import Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler


def code_histogram(codes: Sequence[np.ndarray], codebook_size: int = 1024) -> np.ndarray:
    r"""
    How often each code occurs in each clip, as `log(1 + count)`. The order of the frames is lost.

    Args:
        codes (`Sequence[np.ndarray]`):
            One integer array of shape `(num_frames,)` per clip: the codes of one codebook, 0 to `codebook_size - 1`,
            without special ids.
        codebook_size (`int`, *optional*, defaults to 1024):
            Entries of the codebook.

    Returns:
        `np.ndarray` of shape `(num_clips, codebook_size)`, float64.

    Raises:
        `ValueError`: if an array is not one-dimensional or a code is out of range.
    """
    histograms = np.zeros((len(codes), codebook_size))
    for index, clip in enumerate(codes):
        clip = np.asarray(clip)
        if clip.ndim != 1:
            raise ValueError(f"`codes[{index}]` must have the shape (num_frames,), got {clip.shape}.")
        if clip.size and not (clip.min() >= 0 and clip.max() < codebook_size):
            raise ValueError(
                f"`codes[{index}]` must lie in 0..{codebook_size - 1}, got {clip.min()}..{clip.max()} (token ids of a "
                "model are codes + 3)."
            )
        histograms[index] = np.bincount(clip, minlength=codebook_size)
    return np.log1p(histograms)


def code_vector_statistics(codes: np.ndarray, vectors: Sequence[np.ndarray]) -> np.ndarray:
    r"""
    What is left of a clip's codes without the order of the frames, if it is known what the codes stand for.

    Args:
        codes (`np.ndarray` of shape `(num_codebooks, num_frames)`):
            Codes of the clip.
        vectors (sequence of `np.ndarray` of shape `(codebook_size, hidden_size)`):
            The codec's vectors for the codes of each codebook; those of a frame are added up, as its decoder does.

    Returns:
        `np.ndarray` of shape `(2 * hidden_size,)`: mean and standard deviation over the frames.

    Raises:
        `ValueError`: if there are not as many codebooks as vectors, or no frames.
    """
    if len(codes) != len(vectors) or not codes.shape[1]:
        raise ValueError(
            f"`codes` must have the shape ({len(vectors)}, num_frames) with at least one frame, got {codes.shape}."
        )
    frames = sum(entries[row] for entries, row in zip(vectors, codes, strict=True))
    return np.concatenate([np.mean(frames, axis=0), np.std(frames, axis=0)])


def fit_histogram_classifier(
    histograms: np.ndarray, labels: Sequence[int | str], regularization: float = 0.01
) -> Pipeline:
    r"""
    Multinomial logistic regression on standardized histograms.

    Args:
        histograms (`np.ndarray` of shape `(num_clips, codebook_size)`):
            Features from [`code_histogram`].
        labels (`Sequence[int | str]`):
            The class of each clip.
        regularization (`float`, *optional*, defaults to 0.01):
            scikit-learn's `C`. The default is small because there are usually more entries than clips.

    Returns:
        `sklearn.pipeline.Pipeline`: the fitted classifier, with `predict`, `predict_proba` and `score`.
    """
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=regularization, max_iter=2000))
    return classifier.fit(histograms, np.asarray(labels))


def code_histogram_accuracy(
    codes: Sequence[np.ndarray], labels: Sequence[int | str], folds: Sequence[int], codebook_size: int = 1024
) -> float:
    r"""
    Cross-validated accuracy of [`fit_histogram_classifier`].

    Args:
        codes (`Sequence[np.ndarray]`):
            One integer array of shape `(num_frames,)` per clip.
        labels (`Sequence[int | str]`):
            The class of each clip.
        folds (`Sequence[int]`):
            The fold of each clip. Each fold in turn is tested with a classifier fitted on all others.
        codebook_size (`int`, *optional*, defaults to 1024):
            Entries of the codebook.

    Returns:
        `float`: share of all clips classified correctly.

    Raises:
        `ValueError`: if the arguments differ in length or there are fewer than two folds.
    """
    if not len(codes) == len(labels) == len(folds):
        raise ValueError(
            f"`codes`, `labels` and `folds` must be of one length, got {len(codes)}, {len(labels)} and {len(folds)}."
        )
    accuracies = cross_validated_accuracies(code_histogram(codes, codebook_size), labels, folds)
    clips = {fold: np.count_nonzero(np.asarray(folds) == fold) for fold in accuracies}
    return sum(accuracy * clips[fold] for fold, accuracy in accuracies.items()) / len(labels)


def cross_validated_accuracies(
    features: np.ndarray, labels: Sequence[int | str], folds: Sequence[int], regularization: float = 0.01
) -> dict[int, float]:
    r"""
    Accuracy in each fold of multinomial logistic regression, see [`cross_validated_predictions`] for the arguments.

    Returns:
        `dict[int, float]`: accuracy by fold, in the order of their numbers.

    Raises:
        `ValueError`: if the arguments differ in length or there are fewer than two folds.
    """
    correct = cross_validated_predictions(features, labels, folds, regularization) == np.asarray(labels)
    fold_of_clip = np.asarray(folds)
    return {fold: float(correct[fold_of_clip == fold].mean()) for fold in np.unique(fold_of_clip).tolist()}


def cross_validated_predictions(
    features: np.ndarray, labels: Sequence[int | str], folds: Sequence[int], regularization: float = 0.01
) -> np.ndarray:
    r"""
    The class that multinomial logistic regression predicts for each clip, fitted on all folds but the clip's own.

    Args:
        features (`np.ndarray` of shape `(num_clips, num_features)`):
            Features of each clip.
        labels (`Sequence[int | str]`):
            The class of each clip.
        folds (`Sequence[int]`):
            The fold of each clip.
        regularization (`float`, *optional*, defaults to 0.01):
            scikit-learn's `C`.

    Returns:
        `np.ndarray` of shape `(num_clips,)`: predicted classes, of the type of `labels`.

    Raises:
        `ValueError`: if the arguments differ in length or there are fewer than two folds.
    """
    if not len(features) == len(labels) == len(folds):
        raise ValueError(
            f"`features`, `labels` and `folds` must be of one length, got {len(features)}, {len(labels)} and "
            f"{len(folds)}."
        )
    classes, fold_of_clip = np.asarray(labels), np.asarray(folds)
    fold_names = np.unique(fold_of_clip).tolist()
    if len(fold_names) < 2:
        raise ValueError(f"Cross-validation needs at least two folds, got {fold_names}.")
    predicted = np.empty_like(classes)
    for fold in fold_names:
        test = fold_of_clip == fold
        classifier = fit_histogram_classifier(features[~test], classes[~test], regularization)
        predicted[test] = classifier.predict(features[test])
    return predicted


def majority_accuracy(train_labels: Sequence[int | str], test_labels: Sequence[int | str]) -> float:
    r"""
    Accuracy of always predicting the most common label of the training set.

    Args:
        train_labels (`Sequence[int | str]`):
            The classes of the training clips.
        test_labels (`Sequence[int | str]`):
            The classes of the test clips.

    Returns:
        `float`: share of the test clips predicted correctly. Of equally common labels the first in sorted order is
        predicted.

    Raises:
        `ValueError`: if either is empty.
    """
    if not len(train_labels) or not len(test_labels):
        raise ValueError(
            f"Neither set may be empty, got {len(train_labels)} labels to train and {len(test_labels)} to test."
        )
    names, counts = np.unique(train_labels, return_counts=True)
    return float((np.asarray(test_labels) == names[counts.argmax()]).mean())
