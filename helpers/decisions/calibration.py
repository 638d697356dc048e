"""Calibration: scale the scores of a model by a temperature, so that they are probabilities.

Labels and scores are those of `helpers.core.metrics`; here the scores must be probabilities.
"""

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from helpers.core.metrics import check_both_classes

# Scores of exactly 0 or 1 have no logit; float64 distinguishes 1 - 1e-15 from 1.
NEAREST_TO_CERTAIN = 1e-15
TEMPERATURE_LIMITS = (0.05, 20.0)


def temperature_scale(labels: ArrayLike, scores: ArrayLike, bad_rate: float) -> float:
    """Return the temperature with the least cross-entropy of `apply_temperature`.

    Above 1 the model was overconfident (Guo et al. 2017). Labels and scores are those of
    validation, weighted as on a line where the fraction `bad_rate` is bad. The targets are Platt's
    (1999): (b + 1) / (b + 2) for each of b bad parts and 1 / (g + 2) for each of g good ones, as if
    one more of each class had been seen; so two parts that are separated are no certainty.
    """
    labels, scores = check_both_classes(labels, scores)
    logits, rate = _logit(scores), labels.mean()
    n_bad, n_good = labels.sum(), (1 - labels).sum()
    weights = np.where(labels == 1, bad_rate / rate, (1 - bad_rate) / (1 - rate))
    targets = np.where(labels == 1, (n_bad + 1) / (n_bad + 2), 1 / (n_good + 2))

    def cross_entropy(log_temperature: float) -> float:
        z = logits / np.exp(log_temperature)
        return float(np.average(np.logaddexp(0, z) - targets * z, weights=weights))

    fit = optimize.minimize_scalar(
        cross_entropy, bounds=np.log(TEMPERATURE_LIMITS), options={"xatol": 1e-8}
    )
    return float(np.exp(fit.x))


def apply_temperature(scores: ArrayLike, temperature: float) -> np.ndarray:
    """Return scores (N,) with their logits divided by `temperature`, which keeps the ranking."""
    scores = np.asarray(scores, dtype=np.float64)
    return special.expit(_logit(scores) / temperature)


def at_bad_rate(probabilities: ArrayLike, data_rate: float, line_rate: float) -> np.ndarray:
    """Return probabilities of bad (N,) on a line with another bad rate than that of the data.

    Good and bad parts are assumed to look as in the data. Then the odds are multiplied by those of
    `line_rate` over those of `data_rate` (Saerens, Latinne and Decaestecker 2002, equation 4).
    """
    # equal rates may be 0, whose logit is infinite
    ratio = 0.0 if line_rate == data_rate else special.logit(line_rate) - special.logit(data_rate)
    return special.expit(special.logit(np.asarray(probabilities, dtype=np.float64)) + ratio)


def _logit(scores: np.ndarray) -> np.ndarray:
    return special.logit(np.clip(scores, NEAREST_TO_CERTAIN, 1 - NEAREST_TO_CERTAIN))
