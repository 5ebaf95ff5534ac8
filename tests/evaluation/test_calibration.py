"""Calibration against logistic regression, and on scores that only rank."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss

from audioformer.evaluation import fit_calibration


def ranking_case(num_clips: int, seed: int, num_labels: int = 5):
    """Log-odds that are known, and logits that are three times as large and moved for each class."""
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-1.5, 1.5, (num_clips, num_labels))
    targets = (rng.random(log_odds.shape) < expit(log_odds)).astype(int)
    return 3.0 * log_odds + np.linspace(-4, 8, num_labels), targets, log_odds


def test_one_class_equals_logistic_regression():
    logits, targets, _ = ranking_case(500, seed=0, num_labels=1)
    calibration = fit_calibration(logits, targets, prior_clips=0)
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, targets[:, 0])
    assert 1 / calibration.temperature == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert calibration.bias[0] == pytest.approx(reference.intercept_[0], abs=1e-3)


def test_other_clips_are_predicted_better_and_as_well_as_can_be():
    logits, targets, _ = ranking_case(800, seed=1)
    calibration = fit_calibration(logits, targets)
    logits, targets, log_odds = ranking_case(4000, seed=2)
    scores = {"raw": expit(logits), "calibrated": expit(calibration.apply(logits)), "best": expit(log_odds)}
    losses = {name: log_loss(targets.ravel(), score.ravel()) for name, score in scores.items()}
    briers = {name: brier_score_loss(targets.ravel(), score.ravel()) for name, score in scores.items()}
    for measured in (losses, briers):
        assert measured["calibrated"] < 0.6 * measured["raw"]
        assert measured["calibrated"] < 1.02 * measured["best"]


def test_the_ranking_within_a_class_stays():
    logits, targets, _ = ranking_case(100, seed=3)
    after = fit_calibration(logits, targets).apply(logits)
    for label in range(logits.shape[1]):
        before_ap = average_precision_score(targets[:, label], logits[:, label])
        assert before_ap == average_precision_score(targets[:, label], after[:, label])


@pytest.mark.parametrize("value", [0, 1])
def test_classes_without_or_with_nothing_but_positives_stay_finite(value):
    logits, targets, _ = ranking_case(60, seed=4)
    targets[:, 2] = value
    calibration = fit_calibration(logits, targets)
    assert np.isfinite(calibration.bias).all() and calibration.temperature > 0
    mean = expit(calibration.apply(logits))[:, 2].mean()
    assert (mean < 0.1) if value == 0 else (mean > 0.8)


def test_few_clips_do_not_make_the_scores_extreme():
    logits, targets, log_odds = ranking_case(3000, seed=5)
    few = fit_calibration(logits[:12], targets[:12])
    measured = log_loss(targets.ravel(), expit(few.apply(logits)).ravel())
    assert measured < 2 * log_loss(targets.ravel(), expit(log_odds).ravel())


def test_scores_that_separate_perfectly_have_a_finite_temperature():
    targets = np.array([[0], [0], [1], [1]])
    calibration = fit_calibration(targets * 10.0 - 5, targets)
    assert 0 < calibration.temperature < np.inf and np.isfinite(calibration.bias).all()


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"\(3, 2\).*\(2, 2\)"):
        fit_calibration(np.zeros((3, 2)), np.zeros((2, 2)))


@pytest.mark.parametrize("prior_clips", [None, 0.5, 7.0])
def test_imaginary_clips_have_the_share_of_positives_of_all_classes(prior_clips):
    """Scores that are equal in all clips of a class say nothing: its frequency is left, and two imaginary clips."""
    targets = np.zeros((8, 3))
    targets[:4, 0] = targets[:1, 1] = 1
    calibration = fit_calibration(
        np.tile([3.0, -1.0, 0.5], (8, 1)), targets, **({} if prior_clips is None else {"prior_clips": prior_clips})
    )
    prior = 2.0 if prior_clips is None else prior_clips
    expected = (targets.sum(axis=0) + prior * 5 / 24) / (8 + prior)
    scores = expit(calibration.apply(np.array([[3.0, -1.0, 0.5]])))[0]
    np.testing.assert_allclose(scores, expected, rtol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_scores_that_rank_the_wrong_way_are_flattened_and_not_turned_round(scale):
    """The temperature has no finite best value either: it ends at 100, whatever the scale of the scores."""
    logits, targets, _ = ranking_case(400, seed=6)
    assert fit_calibration(-scale * logits, targets).temperature == pytest.approx(100)
