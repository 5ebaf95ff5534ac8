"""Baselines, against counts by hand and scikit-learn's own cross-validation."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from audioformer.evaluation.baselines import (
    code_histogram,
    code_histogram_accuracy,
    cross_validated_accuracies,
    fit_histogram_classifier,
    majority_accuracy,
)
from audioformer.evaluation.mfcc import mfcc, mfcc_statistics


@pytest.fixture
def clips() -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Sixty clips of unequal length whose classes prefer different codes, besides codes that all share."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    codes = [
        np.concatenate([rng.integers(0, 32, rng.integers(20, 40)), rng.integers(8 * label, 8 * label + 12, 6)])
        for label in labels
    ]
    return codes, labels, np.arange(60) // 15


def test_histogram_is_the_logarithm_of_counts() -> None:
    histogram = code_histogram([np.array([3, 3, 0]), np.array([], dtype=int)], codebook_size=4)
    np.testing.assert_allclose(histogram, np.log([[2, 1, 1, 3], [1, 1, 1, 1]]))


def test_histogram_does_not_depend_on_order() -> None:
    codes = np.random.default_rng(0).integers(0, 1024, 50)
    np.testing.assert_array_equal(code_histogram([codes]), code_histogram([codes[::-1]]))
    assert code_histogram([codes]).shape == (1, 1024)


@pytest.mark.parametrize("codes", [np.array([0, 4]), np.array([-1, 2])])
def test_codes_out_of_range_are_refused(codes: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"codes\[0\].*0\.\.3"):
        code_histogram([codes], codebook_size=4)


def test_several_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"codes\[1\].*\(2, 3\)"):
        code_histogram([np.zeros(3, dtype=int), np.zeros((2, 3), dtype=int)], codebook_size=4)


def test_histogram_accuracy_equals_scikit_learn_cross_validation(clips: tuple) -> None:
    codes, labels, folds = clips
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    predicted = cross_val_predict(classifier, code_histogram(codes, 32), labels, groups=folds, cv=LeaveOneGroupOut())
    expected = (predicted == labels).mean()
    assert code_histogram_accuracy(codes, labels, folds, codebook_size=32) == pytest.approx(expected)
    assert 0.5 < expected < 1.0


def test_histogram_classifier_takes_names_as_labels(clips: tuple) -> None:
    codes, labels, _ = clips
    names = np.array(["dog", "rain", "sea"])[labels]
    classifier = fit_histogram_classifier(code_histogram(codes, 32), names)
    assert set(classifier.predict(code_histogram(codes, 32))) == {"dog", "rain", "sea"}
    assert classifier.score(code_histogram(codes, 32), names) > 0.9


def test_majority_accuracy_equals_scikit_learn_dummy_classifier() -> None:
    rng = np.random.default_rng(1)
    labels = rng.choice(["a", "b", "c"], 40, p=[0.5, 0.3, 0.2])
    train, test = labels[:30], labels[30:]
    dummy = DummyClassifier(strategy="most_frequent").fit(np.zeros((30, 1)), train)
    assert majority_accuracy(train, test) == pytest.approx(dummy.score(np.zeros((10, 1)), test))
    assert majority_accuracy(["a", "b", "b"], ["a", "b"]) == 0.5
    assert majority_accuracy([1, 1, 0], [0, 0]) == 0.0


def test_unequal_lengths_no_labels_and_a_single_fold_are_refused(clips: tuple) -> None:
    codes, labels, folds = clips
    with pytest.raises(ValueError, match="59"):
        code_histogram_accuracy(codes, labels[:-1], folds, codebook_size=32)
    with pytest.raises(ValueError, match="two folds"):
        code_histogram_accuracy(codes, labels, np.zeros(60, dtype=int), codebook_size=32)
    with pytest.raises(ValueError, match="3 labels to train and 0 to test"):
        majority_accuracy([0, 1, 2], [])


def test_features_by_fold_give_the_accuracies_of_scikit_learns_own_cross_validation(clips) -> None:
    codes, labels, folds = clips
    features = code_histogram(codes)[:, :40]
    accuracies = cross_validated_accuracies(features, labels, folds, 0.3)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
    predicted = cross_val_predict(classifier, features, labels, groups=folds, cv=LeaveOneGroupOut())
    assert accuracies == {fold: (predicted == labels)[folds == fold].mean() for fold in range(4)}
    assert len(set(accuracies.values())) > 1
    with pytest.raises(ValueError, match="one length, got 60, 60 and 59"):
        cross_validated_accuracies(features, labels, folds[1:])
    with pytest.raises(ValueError, match=r"at least two folds, got \[0\]"):
        cross_validated_accuracies(features, labels, np.zeros(60, dtype=int))


def test_mfccs_are_the_cosine_transform_of_the_mel_spectrogram_of_transformers() -> None:
    waveform = np.random.default_rng(0).standard_normal(22050) * np.hanning(22050)
    found = mfcc(waveform)
    decibels = spectrogram(
        np.pad(waveform, 1024),
        window_function(2048, "hann"),
        frame_length=2048,
        hop_length=512,
        power=2.0,
        center=False,
        mel_filters=mel_filter_bank(1025, 128, 0.0, 11025.0, 22050, norm="slaney", mel_scale="slaney"),
        log_mel="dB",
        min_value=1e-10,
        db_range=80.0,
        dtype=np.float64,
    )
    bands = np.arange(128) + 0.5
    for index in (0, 1, 19):
        wave = np.cos(np.pi * index * bands / 128) * np.sqrt((1 if index == 0 else 2) / 128)
        np.testing.assert_allclose(found[index], wave @ decibels, atol=1e-3)
    assert found.shape == (20, decibels.shape[1])
    statistics = mfcc_statistics(waveform)
    np.testing.assert_allclose(statistics[:20], found.mean(axis=1))
    np.testing.assert_allclose(statistics[60:80], np.diff(found, axis=1, prepend=found[:, :1]).std(axis=1))
    np.testing.assert_allclose(statistics[80:100], found.min(axis=1))
    np.testing.assert_allclose(statistics[120:140], np.median(found, axis=1))
    np.testing.assert_allclose(statistics[160:], found.max(axis=1))
    assert np.isfinite(mfcc_statistics(np.zeros(1))).all()
    for wrong in (np.zeros((2, 9)), np.zeros(0), np.array([np.nan])):
        with pytest.raises(ValueError, match="`waveform` must"):
            mfcc(wrong)
