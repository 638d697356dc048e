"""Thresholds, and what they do to bad parts (escapes) and good ones (overkill).

Choose a threshold on validation, report `escape_and_overkill` on test. Labels, scores and rates
are those of `helpers.results.metrics`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from helpers.results.metrics import Interval, check_both_classes, exact_interval


class OperatingPoint(NamedTuple):
    """The effect of a threshold: bad parts let through, and good parts thrown away."""

    escape_rate: Interval
    overkill_rate: Interval
    n_escaped: int
    n_bad: int
    n_overkilled: int
    n_good: int


class Sweep(NamedTuple):
    """Every threshold that decides differently, ascending, with what escapes and is overkilled."""

    thresholds: np.ndarray
    n_escaped: np.ndarray
    n_overkilled: np.ndarray


def threshold_sweep(labels: ArrayLike, scores: ArrayLike) -> Sweep:
    """Return all thresholds worth trying, half-way between neighbouring scores.

    The first calls every part bad, the last every part good.
    """
    labels, scores = check_both_classes(labels, scores)
    values, group = np.unique(scores, return_inverse=True)
    half_way = values[:-1] + np.diff(values) / 2
    half_way = np.where(half_way > values[:-1], half_way, values[1:])  # no float in between
    thresholds = np.concatenate([values[:1], half_way, [np.nextafter(values[-1], np.inf)]])
    bad, good = (np.bincount(group, labels == c).astype(int) for c in (1, 0))
    n_escaped = np.concatenate([[0], bad.cumsum()])
    n_overkilled = good.sum() - np.concatenate([[0], good.cumsum()])
    return Sweep(thresholds, n_escaped, n_overkilled)


def overkill_curve(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return escape rates (ascending) and the overkill rate at each, an ROC curve for the line."""
    sweep = threshold_sweep(labels, scores)
    return sweep.n_escaped / sweep.n_escaped[-1], sweep.n_overkilled / sweep.n_overkilled[0]


def threshold_for_escape_rate(
    labels: ArrayLike, scores: ArrayLike, max_escape_rate: float
) -> float:
    """Return the threshold with the least overkill that lets few enough bad parts escape.

    It is the lowest of equals. `max_escape_rate` is the fraction of bad parts that may escape.
    """
    sweep = threshold_sweep(labels, scores)
    allowed = sweep.n_escaped <= max_escape_rate * sweep.n_escaped[-1] + 1e-9
    overkill = np.where(allowed, sweep.n_overkilled, np.inf)
    return float(sweep.thresholds[np.argmin(overkill)])


def escape_and_overkill(labels: ArrayLike, scores: ArrayLike, threshold: float) -> OperatingPoint:
    """Return escapes among the bad parts and overkill among the good ones, with exact intervals."""
    labels, scores = check_both_classes(labels, scores)
    called_bad = scores >= threshold
    n_good, n_bad = np.bincount(labels).tolist()
    n_escaped = int((~called_bad & (labels == 1)).sum())
    n_overkilled = int((called_bad & (labels == 0)).sum())
    escapes, overkill = exact_interval(n_escaped, n_bad), exact_interval(n_overkilled, n_good)
    return OperatingPoint(escapes, overkill, n_escaped, n_bad, n_overkilled, n_good)


def expected_cost(
    point: OperatingPoint, cost_escape: float, cost_overkill: float, bad_rate: float
) -> float:
    """Return the mean cost per part on a line where the fraction `bad_rate` is bad."""
    escapes = bad_rate * point.escape_rate.estimate * cost_escape
    return escapes + (1 - bad_rate) * point.overkill_rate.estimate * cost_overkill


def cheapest_threshold(
    labels: ArrayLike,
    scores: ArrayLike,
    cost_escape: float,
    cost_overkill: float,
    bad_rate: float | None = None,
) -> float:
    """Return the threshold with the least `expected_cost`; the lowest of equals.

    `bad_rate` is the fraction of bad parts on the line; None takes that of `labels`.
    """
    thresholds, n_escaped, n_overkilled = threshold_sweep(labels, scores)
    n_bad, n_good = n_escaped[-1], n_overkilled[0]
    bad_rate = n_bad / (n_bad + n_good) if bad_rate is None else bad_rate
    cost = bad_rate * cost_escape * n_escaped / n_bad
    cost = cost + (1 - bad_rate) * cost_overkill * n_overkilled / n_good
    return float(thresholds[np.argmin(cost.round(12))])  # rounded: equal costs must compare equal
