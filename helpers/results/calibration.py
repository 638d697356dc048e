"""Whether a score of 0.8 means that 8 parts in 10 are bad, and a temperature that mends it.

Labels and scores as in `helpers.results.metrics`; here the scores must be probabilities.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from helpers.results.metrics import check_both_classes, check_scores

# Scores of exactly 0 or 1 have no logit; float64 tells 1 - 1e-15 from 1.
NEAREST_TO_CERTAIN = 1e-15
TEMPERATURE_LIMITS = (0.05, 20.0)  # perfectly separated validation sets would drive it to 0


class CalibrationBins(NamedTuple):
    """Per filled bin: mean score, fraction of bad parts, and number of parts, each (bins,)."""

    mean_score: np.ndarray
    bad_fraction: np.ndarray
    n_parts: np.ndarray


def _check_probabilities(scores: np.ndarray) -> None:
    if scores.min() < 0 or scores.max() > 1:
        raise ValueError(
            f"scores run from {scores.min():.3g} to {scores.max():.3g}; calibration needs "
            "probabilities from 0 to 1, put decision values through a sigmoid first"
        )


def brier(labels: ArrayLike, scores: ArrayLike) -> float:
    """Mean squared difference between score and label (Brier 1950); 0 is best."""
    labels, scores = check_scores(labels, scores)
    _check_probabilities(scores)
    return float(np.mean((scores - labels) ** 2))


def calibration_bins(labels: ArrayLike, scores: ArrayLike, n_bins: int = 10) -> CalibrationBins:
    """The calibration curve in `n_bins` equally wide bins over 0 to 1; empty bins are left out."""
    labels, scores = check_scores(labels, scores)
    _check_probabilities(scores)
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], scores)
    count, score_sum, bad = (
        np.bincount(bins, weights, n_bins) for weights in (None, scores, labels)
    )
    filled = count > 0
    return CalibrationBins(
        score_sum[filled] / count[filled], bad[filled] / count[filled], count[filled].astype(int)
    )


def temperature_scale(labels: ArrayLike, scores: ArrayLike, bad_rate: float | None = None) -> float:
    """The temperature with the least cross-entropy of `apply_temperature` (Guo et al. 2017).

    Fit it on validation. Above 1 the model was too sure of itself, below 1 not sure enough.
    `bad_rate`, strictly between 0 and 1, weighs good and bad parts as they occur on the line where
    validation has another mix, as a balanced one has; None takes the mix as it is.
    """
    labels, scores = check_both_classes(labels, scores)
    _check_probabilities(scores)
    logits, weights = _logit(scores), _line_weights(labels, bad_rate)

    def cross_entropy(log_temperature: float) -> float:
        """Of labels and scaled scores, numerically safe from the logits."""
        z = logits / np.exp(log_temperature)
        return float(np.average(np.logaddexp(0, z) - labels * z, weights=weights))

    fit = optimize.minimize_scalar(
        cross_entropy, bounds=np.log(TEMPERATURE_LIMITS), method="bounded", options={"xatol": 1e-8}
    )
    return float(np.exp(fit.x))


def apply_temperature(scores: ArrayLike, temperature: float) -> np.ndarray:
    """Scores (N,) with their logits divided by `temperature`; the ranking, and so the AUC, stays
    (a temperature well below 1 may round the surest scores to 0 or 1)."""
    scores = np.asarray(scores, dtype=np.float64)
    _check_probabilities(scores)
    if not temperature > 0:
        raise ValueError(f"temperature is {temperature}, it must be above 0")
    return special.expit(_logit(scores) / temperature)


def _line_weights(labels: np.ndarray, bad_rate: float | None) -> np.ndarray:
    if bad_rate is None:
        return np.ones(labels.size)
    if not 0 < bad_rate < 1:
        raise ValueError(f"bad_rate is {bad_rate}, it must lie between 0 and 1")
    own = labels.mean()
    return np.where(labels == 1, bad_rate / own, (1 - bad_rate) / (1 - own))


def _logit(scores: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))
