"""Calibration that turns sigmoids of ranking scores into probabilities: one temperature, and a bias per class."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

PRIOR_CLIPS = 2.0
"""Number of clips that the shrinkage of a class's bias is worth."""
MAX_LOG_TEMPERATURE = math.log(100.0)
"""Limit of the search: scores that rank held-out clips without a mistake have no finite best temperature."""


@dataclass(frozen=True)
class Calibration:
    """Logits become `logits / temperature + bias`. The ranking of the clips within a class stays the same.

    Args:
        temperature (`float`): Above 0.
        bias (`np.ndarray` of shape `(num_labels,)`): One value per class.
    """

    temperature: float
    bias: np.ndarray

    def apply(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated logits of the same shape, `(num_clips, num_labels)`."""
        return logits / self.temperature + self.bias


def fit_calibration(logits: np.ndarray, targets: np.ndarray, prior_clips: float = PRIOR_CLIPS) -> Calibration:
    r"""
    Fit a calibration on held-out clips.

    Minimizes the binary cross-entropy of `sigmoid(logits / temperature + bias)` over all clips and classes, in
    float64. LSEP ranks the classes of a clip and does not determine their level (arXiv 2308.07221, Eq. 7), so its
    logits are not log-odds. The bias of a class with few positives would fit noise, and that of a class without any
    would run to minus infinity. Each class therefore also accounts for `prior_clips` imaginary clips that have the
    average score and the share of positives of all classes together.

    Args:
        logits (`np.ndarray` of shape `(num_clips, num_labels)`): Raw logits.
        targets (`np.ndarray` of shape `(num_clips, num_labels)`): Zeros and ones.
        prior_clips (`float`, *optional*, defaults to 2.0): Number of imaginary clips per class. With 0 this is
            logistic regression with a common slope.

    Returns:
        [`Calibration`]: the fitted temperature and biases.

    Raises:
        `ValueError`: if the shapes differ or there are no clips.
    """
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if logits.ndim != 2 or logits.shape != targets.shape or not len(logits):
        raise ValueError(
            f"`logits` and `targets` must both have the shape (num_clips, num_labels), got {logits.shape} and "
            f"{targets.shape}."
        )
    num_clips, num_labels = logits.shape
    # With centered logits the slope and the biases hardly depend on each other, and the search converges sooner.
    center = logits.mean(axis=0)
    spread = max(float(logits.std()), 1e-6)
    centered = (logits - center) / spread
    share = min(max(float(targets.mean()), 1e-6), 1 - 1e-6)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = np.exp(parameters[0]), parameters[1:]
        scores = slope * centered + bias
        loss = np.logaddexp(0, scores).sum() - (targets * scores).sum()
        loss += prior_clips * (np.logaddexp(0, bias) - share * bias).sum()
        error = expit(scores) - targets
        gradient = np.concatenate(
            [[slope * (error * centered).sum()], error.sum(axis=0) + prior_clips * (expit(bias) - share)]
        )
        return float(loss) / num_clips, gradient / num_clips

    frequencies = (targets.sum(axis=0) + prior_clips * share + 1e-3) / (num_clips + prior_clips + 2e-3)
    start = np.concatenate([[0.0], logit(frequencies)])
    # The slope is spread / temperature.
    log_spread = math.log(spread)
    slope_bounds = (log_spread - MAX_LOG_TEMPERATURE, log_spread + MAX_LOG_TEMPERATURE)
    bounds = [slope_bounds, *[(-40.0, 40.0)] * num_labels]
    fitted = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9},
    )
    temperature = spread / math.exp(fitted.x[0])
    return Calibration(temperature, fitted.x[1:] - center / temperature)
