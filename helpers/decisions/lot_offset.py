"""Move the scores of a lot by what a few of its labelled parts tell: a random-intercept model.

    logit P(bad) = a + b s + d,    d ~ N(0, tau^2) of each lot,    s = logit of the score

A lot's bad rate differs from that of the lots in training, and no pixel of a part tells by how much
(notebook 06). Its labelled parts do: the posterior mean of d, given them, moves all its scores by
d / b on the scale of s. The order inside a lot stays. Parts may be chosen by their score (`review`
does), because the likelihood is that of labels given scores; not by their looks.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special

from helpers.core import metrics
from helpers.decisions.decision import logits

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)  # of the standard normal distribution
LOG_WEIGHTS = np.log(WEIGHTS / WEIGHTS.sum())
LIMITS = ((-20.0, 20.0), (-5.0, 3.0), (-7.0, 2.0))  # of a, log b, log tau
CERTAIN = 1e-5  # scores nearer to 0 or 1 are taken as this for the fit
FEWEST_LOTS = 5  # with both classes over all; fewer say nothing about the spread of lots


class LotModel(NamedTuple):
    """The random-intercept model of lots: a, b, tau."""

    intercept: float
    slope: float
    spread: float


class Offset(NamedTuple):
    """What the labelled parts of one lot say: `shift` is added to the logits of its scores."""

    shift: float
    error: float  # posterior standard deviation of the shift
    parts: int  # labelled ones


def moved(scores: ArrayLike, shift: ArrayLike) -> np.ndarray:
    """Return scores (N,) with `shift` added to their logits; where it is 0, exactly the same."""
    return np.where(np.equal(shift, 0), scores, special.expit(logits(scores) + shift))


def finite_logits(scores: ArrayLike) -> np.ndarray:
    """Return the logits s (N,) of scores that are not nearer to 0 or 1 than `CERTAIN`."""
    return special.logit(np.clip(np.asarray(scores, dtype=np.float64), CERTAIN, 1 - CERTAIN))


def _log_likelihoods(values: np.ndarray, labels: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Return log P(labels | values + at) summed over the parts (N,): (T,) for `at` (T,)."""
    signed = np.where(labels == 1, 1, -1)[:, None] * (values[:, None] + at)
    return -np.logaddexp(0, -signed).sum(axis=0)


def fit(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> LotModel | None:
    """Return a, b and tau with the largest marginal likelihood; None with fewer than five lots.

    The integral over d of each lot is a Gauss-Hermite sum of 61 nodes.
    """
    labels, scores = metrics.check_both_classes(labels, scores)
    number = metrics.group_numbers(groups, labels.size)
    lots = [np.flatnonzero(number == lot) for lot in range(number.max() + 1)]
    if len(lots) < FEWEST_LOTS:
        return None
    s = finite_logits(scores)

    def loss(parameters: np.ndarray) -> float:
        a, log_b, log_tau = parameters
        values, at = a + np.exp(log_b) * s, np.exp(log_tau) * NODES
        each = (_log_likelihoods(values[lot], labels[lot], at) + LOG_WEIGHTS for lot in lots)
        return -sum(float(special.logsumexp(one)) for one in each) / labels.size

    best = optimize.minimize(loss, (0.0, 0.0, 0.0), method="L-BFGS-B", bounds=LIMITS).x
    return LotModel(float(best[0]), *np.exp(best[1:]).tolist())


def offset(model: LotModel, labels: ArrayLike, scores: ArrayLike) -> Offset:
    """Return the posterior mean of d / b of a lot, given its labelled parts (N,); 0 without any."""
    labels = np.asarray(labels)
    if not labels.size:
        return Offset(0.0, model.spread / model.slope, 0)
    at = model.spread * np.linspace(-8, 8, 1601)
    s = finite_logits(scores)
    values = model.intercept + model.slope * s
    weight = special.softmax(_log_likelihoods(values, labels, at) - (at / model.spread) ** 2 / 2)
    mean = float(weight @ at)
    error = float(np.sqrt(weight @ (at - mean) ** 2))
    return Offset(mean / model.slope, error / model.slope, labels.size)
