"""Probes on vectors made here, against scikit-learn and NumPy called by the tests themselves."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

from audioformer.evaluation.probes import knn_scores, linear_scores, mlp_scores

NUM_LABELS = 3
PROBES = [
    pytest.param(knn_scores, id="knn"),
    pytest.param(lambda *data: mlp_scores(*data, hidden_size=16, learning_rate=0.01, epochs=60), id="mlp"),
    pytest.param(linear_scores, id="linear"),
]


def separable(num_clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors close to one of three directions, and which; not centred, and of unequal scales."""
    rng = np.random.default_rng(seed)
    classes = np.arange(num_clips) % NUM_LABELS
    vectors = np.eye(8)[classes] + 0.05 * rng.standard_normal((num_clips, 8)) + 0.1
    return (vectors * [1, 1, 1, 1, 1, 1, 1, 2]).astype(np.float32), classes


@pytest.mark.parametrize("probe", PROBES)
def test_separable_classes_are_all_right(probe):
    (train, classes), (test, expected) = separable(60, 0), separable(30, 1)
    scores = probe(train, classes, test, NUM_LABELS)
    assert scores.shape == (30, NUM_LABELS) and (scores.argmax(axis=1) == expected).all()
    np.testing.assert_allclose(scores.sum(axis=1), 1.0, rtol=1e-5)


@pytest.mark.parametrize("probe", PROBES)
def test_separable_labels_of_which_clips_have_several_are_ranked_first(probe):
    rng = np.random.default_rng(2)
    targets = rng.integers(0, 2, (150, NUM_LABELS)).astype(np.uint8)
    vectors = np.concatenate([targets, 1 - targets], axis=1) + 0.05 * rng.standard_normal((150, 6))
    scores = probe(vectors[:100], targets[:100], vectors[100:], NUM_LABELS)
    precisions = [average_precision_score(targets[100:, label], scores[:, label]) for label in range(NUM_LABELS)]
    assert np.mean(precisions) > 0.999 and scores.min() >= 0 and scores.max() <= 1


@pytest.mark.parametrize("probe", PROBES)
def test_shuffled_labels_are_near_chance(probe):
    (train, classes), (test, expected) = separable(300, 3), separable(300, 4)
    rng = np.random.default_rng(5)
    scores = probe(train, rng.permutation(classes), test, NUM_LABELS)
    accuracy = (scores.argmax(axis=1) == rng.permutation(expected)).mean()
    # Four standard deviations of the share of 300 clips that are right by chance.
    assert abs(accuracy - 1 / 3) < 0.11


def test_the_perceptron_is_that_of_scikit_learn_on_vectors_standardized_by_the_training_clips():
    rng = np.random.default_rng(6)
    train, test = rng.normal(3, 5, (80, 6)), rng.normal(-2, 1, (40, 6))
    classes = rng.integers(0, NUM_LABELS, 80)
    scaler = StandardScaler().fit(train)
    expected = MLPClassifier((12,), learning_rate_init=0.02, max_iter=15, random_state=7)
    with pytest.warns(match="iterations"):
        expected.fit(scaler.transform(train), classes)
    scores = mlp_scores(train, classes, test, NUM_LABELS, hidden_size=12, learning_rate=0.02, epochs=15, seed=7)
    np.testing.assert_allclose(scores, expected.predict_proba(scaler.transform(test)), rtol=1e-6)
    other = mlp_scores(train, classes, test, NUM_LABELS, hidden_size=12, learning_rate=0.02, epochs=15, seed=8)
    assert np.abs(other - scores).max() > 1e-3


@pytest.mark.parametrize("several", [False, True])
def test_logistic_regression_is_that_of_scikit_learn(several):
    rng = np.random.default_rng(8)
    train, test = rng.normal(3, 5, (80, 6)), rng.normal(-2, 1, (40, 6))
    targets = rng.integers(0, 2, (80, NUM_LABELS)) if several else rng.integers(0, NUM_LABELS, 80)
    scaler = StandardScaler().fit(train)
    columns = targets.T if several else [targets]
    fitted = [LogisticRegression(C=0.3, max_iter=2000).fit(scaler.transform(train), column) for column in columns]
    probabilities = [classifier.predict_proba(scaler.transform(test)) for classifier in fitted]
    expected = np.stack([entry[:, 1] for entry in probabilities], axis=1) if several else probabilities[0]
    np.testing.assert_allclose(linear_scores(train, targets, test, NUM_LABELS, 0.3), expected, rtol=1e-5)


@pytest.mark.parametrize("several", [False, True])
def test_neighbours_are_nearest_by_angle_and_count_the_same(several):
    rng = np.random.default_rng(9)
    train, test = rng.standard_normal((50, 4)) * rng.uniform(0.1, 10, (50, 1)), rng.standard_normal((20, 4))
    targets = rng.integers(0, 2, (50, NUM_LABELS)) if several else rng.integers(0, NUM_LABELS, 50)
    unit = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (train, test)]
    nearest = np.argsort(-unit[1] @ unit[0].T, axis=1)[:, :7]
    expected = (targets if several else np.eye(NUM_LABELS)[targets])[nearest].mean(axis=1)
    np.testing.assert_allclose(knn_scores(train, targets, test, NUM_LABELS, k=7), expected, atol=1e-12)


@pytest.mark.parametrize("probe", PROBES)
def test_a_class_without_training_clips_has_the_lowest_score(probe):
    train, classes = separable(60, 10)
    scores = probe(train[classes != 1], classes[classes != 1], train, NUM_LABELS)
    assert (scores[:, 1] == 0).all() and (scores.argmax(axis=1)[classes != 1] == classes[classes != 1]).all()


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.filterwarnings("error")
def test_a_label_without_training_clips_has_a_low_score(probe):
    targets = np.zeros((60, NUM_LABELS), dtype=np.uint8)
    train, classes = separable(60, 11)
    targets[np.arange(60), classes] = 1
    targets[:, 1] = 0
    assert probe(train, targets, train, NUM_LABELS)[:, 1].max() < 0.1


@pytest.mark.parametrize("k", [0, 61])
def test_more_neighbours_than_training_clips_are_refused(k):
    train, classes = separable(60, 12)
    with pytest.raises(ValueError, match=rf"`k` must be at least 1 and at most the 60 training clips, got {k}"):
        knn_scores(train, classes, train, NUM_LABELS, k=k)
