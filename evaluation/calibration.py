"""Calibration of ranking scores, so that their sigmoids are usable: one temperature, and one bias per class."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

PRIOR_CLIPS = 2.0
"""Number of imaginary clips that each class's bias is shrunk by."""
MAX_LOG_TEMPERATURE = np.log(100.0)
"""Scores that rank held-out clips without a mistake have no finite best temperature; this is the limit."""


@dataclass(frozen=True)
class Calibration:
    """Logits become `logits / temperature + bias`, which keeps the order of the clips within each class.

    Args:
        temperature (`float`): Positive.
        bias (`np.ndarray` of shape `(num_labels,)`): One value per class.
    """

    temperature: float
    bias: np.ndarray

    def apply(self, logits: np.ndarray) -> np.ndarray:
        return logits / self.temperature + self.bias


def fit_calibration(logits: np.ndarray, targets: np.ndarray, prior_clips: float = PRIOR_CLIPS) -> Calibration:
    r"""
    Fit a calibration on held-out clips.

    This minimizes the binary cross-entropy of `sigmoid(logits / temperature + bias)` over all clips and classes, in
    float64. LSEP ranks the classes of a clip and leaves their level open (arXiv 2308.07221, Eq. 7), so its logits are
    not log-odds. The bias of a class with few positives would overfit, and that of a class without any would run to
    minus infinity. Each class therefore also counts `prior_clips` imaginary clips of average score, whose share of
    positives is that of all classes together.

    Args:
        logits (`np.ndarray` of shape `(num_clips, num_labels)`): Raw logits.
        targets (`np.ndarray` of shape `(num_clips, num_labels)`): Zeros and ones.
        prior_clips (`float`, defaults to 2.0): Number of imaginary clips per class; 0 gives the plain fit (logistic
            regression with a common slope).

    Returns:
        [`Calibration`]: The fitted temperature and biases.

    Raises:
        ValueError: If the shapes differ or there are no clips.
    """
    logits, targets = np.asarray(logits, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if logits.ndim != 2 or logits.shape != targets.shape or not len(logits):
        raise ValueError(
            f"`logits` and `targets` must both have the shape (num_clips, num_labels), got {logits.shape} and "
            f"{targets.shape}."
        )
    num_clips, num_labels = logits.shape
    # On centred scores the slope and the biases hardly depend on each other, so the search converges faster.
    centre = logits.mean(axis=0)
    spread = max(logits.std(), 1e-6)
    centred = (logits - centre) / spread
    share = np.clip(targets.mean(), 1e-6, 1 - 1e-6)

    def objective(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        slope, bias = np.exp(parameters[0]), parameters[1:]
        scores = slope * centred + bias
        loss = np.logaddexp(0, scores).sum() - (targets * scores).sum()
        loss += prior_clips * (np.logaddexp(0, bias) - share * bias).sum()
        error = expit(scores) - targets
        gradient = np.concatenate(
            [[slope * (error * centred).sum()], error.sum(axis=0) + prior_clips * (expit(bias) - share)]
        )
        return loss / num_clips, gradient / num_clips

    frequencies = (targets.sum(axis=0) + prior_clips * share + 1e-3) / (num_clips + prior_clips + 2e-3)
    start = np.concatenate([[0.0], logit(frequencies)])
    # In units of the logits: slope = spread / temperature.
    bounds = [(np.log(spread) - MAX_LOG_TEMPERATURE, np.log(spread) + MAX_LOG_TEMPERATURE)] + [
        (-40.0, 40.0)
    ] * num_labels
    fitted = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-9},
    )
    temperature = spread / float(np.exp(fitted.x[0]))
    return Calibration(temperature, fitted.x[1:] - centre / temperature)
