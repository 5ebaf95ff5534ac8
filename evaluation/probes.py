"""Probes: small classifiers on frozen vectors of clips, which tell what the vectors hold. scikit-learn fits them."""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def knn_scores(train: np.ndarray, targets: np.ndarray, test: np.ndarray, num_labels: int, k: int = 10) -> np.ndarray:
    """
    Share of each label among the `k` nearest training clips by cosine distance, each with the same weight.

    Args:
        train (`np.ndarray` of shape `(num_train, hidden_size)`): Vectors to learn from, used as they are.
        targets (`np.ndarray`): `(num_train,)` classes, or `(num_train, num_labels)` zeros and ones.
        test (`np.ndarray` of shape `(num_test, hidden_size)`): Vectors to score.
        num_labels (`int`): Number of classes; some may have no training clip.
        k (`int`, *optional*, defaults to 10): Number of neighbours.

    Returns:
        `np.ndarray` of shape `(num_test, num_labels)`: Scores in [0, 1]. Of classes with equal shares the first has
        the highest score.

    Raises:
        ValueError: If there are fewer than `k` training clips.
    """
    if not 1 <= k <= len(train):
        raise ValueError(f"`k` must be at least 1 and at most the {len(train)} training clips, got {k}.")
    options = {"n_neighbors": k, "metric": "cosine", "algorithm": "brute"}
    if targets.ndim == 2:
        return KNeighborsRegressor(**options).fit(train, targets.astype(np.float64)).predict(test)
    classifier = KNeighborsClassifier(**options).fit(train, targets)
    return _in_columns(classifier.predict_proba(test), classifier.classes_, num_labels)


def mlp_scores(
    train: np.ndarray,
    targets: np.ndarray,
    test: np.ndarray,
    num_labels: int,
    *,
    hidden_size: int = 1024,
    learning_rate: float = 1e-3,
    epochs: int = 200,
    seed: int = 0,
) -> np.ndarray:
    """
    Probabilities of a perceptron with one hidden layer of ReLUs, trained with Adam on standardized vectors.

    Mean and deviation are those of the training clips. Training ends after `epochs`, or when the loss of the training
    clips has not fallen for ten epochs; no other clip decides anything.

    Args:
        train, targets, test, num_labels: As in [`knn_scores`].
        hidden_size (`int`, *optional*, defaults to 1024): Width of the hidden layer.
        learning_rate (`float`, *optional*, defaults to 1e-3): Learning rate.
        epochs (`int`, *optional*, defaults to 200): Most passes over the training clips.
        seed (`int`, *optional*, defaults to 0): Seed of the weights and of the order of the clips.

    Returns:
        `np.ndarray` of shape `(num_test, num_labels)`: Softmax for one class per clip, sigmoids for several.
    """
    perceptron = MLPClassifier((hidden_size,), learning_rate_init=learning_rate, max_iter=epochs, random_state=seed)
    classifier = make_pipeline(StandardScaler(), perceptron)
    with warnings.catch_warnings():
        # The number of epochs is a setting.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(train, targets)
    probabilities = classifier.predict_proba(test)
    return probabilities if targets.ndim == 2 else _in_columns(probabilities, classifier.classes_, num_labels)


def linear_scores(
    train: np.ndarray, targets: np.ndarray, test: np.ndarray, num_labels: int, regularization: float = 1.0
) -> np.ndarray:
    """
    Probabilities of a logistic regression on standardized vectors.

    Args:
        train, targets, test, num_labels: As in [`knn_scores`].
        regularization (`float`, *optional*, defaults to 1.0): scikit-learn's `C`; smaller values regularize more.

    Returns:
        `np.ndarray` of shape `(num_test, num_labels)`: Of one multinomial regression for one class per clip, of one
        regression per class for several.
    """
    regression = LogisticRegression(C=regularization, max_iter=2000)
    if targets.ndim == 1:
        classifier = make_pipeline(StandardScaler(), regression).fit(train, targets)
        return _in_columns(classifier.predict_proba(test), classifier.classes_, num_labels)
    classifier = make_pipeline(StandardScaler(), OneVsRestClassifier(regression))
    with warnings.catch_warnings():
        # A class that no training clip has, or all have, is not an error of the user: its score is constant.
        warnings.filterwarnings("ignore", message="Label .* is present in all training examples")
        warnings.filterwarnings("ignore", message="Label not .* is present in all training examples")
        return classifier.fit(train, targets).predict_proba(test)


def _in_columns(probabilities: np.ndarray, classes: np.ndarray, num_labels: int) -> np.ndarray:
    """Put the columns of the classes that were seen where their indices say; the others get 0."""
    scores = np.zeros((len(probabilities), num_labels))
    scores[:, classes] = probabilities
    return scores
