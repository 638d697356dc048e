"""Metrics of scores that separate bad parts from good ones, with intervals and tests.

Everywhere `labels` is (N,) with 0 good and 1 bad, `scores` is (N,) and higher means more surely
bad, a part is called bad if `score >= threshold`, and every rate is a fraction, not per cent.

    metrics.auc_interval(labels, scores)  # AUC with its 95 % interval
    metrics.auc_difference(labels, scores, other_scores).p_value
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

LEVEL = 0.95  # of all confidence intervals
NO_VARIANCE = 1e-24  # rounding alone
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


class Interval(NamedTuple):
    """An estimate and the ends of its 95 % interval."""

    estimate: float
    low: float
    high: float


class Comparison(NamedTuple):
    """First model minus second: the difference with its interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p_value: float


def check_scores(labels: ArrayLike, *scores: ArrayLike) -> tuple[np.ndarray, ...]:
    """Return labels as int64 and every score list as float64; ValueError if they are unusable."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or labels.size == 0 or not np.isin(labels, (0, 1)).all():
        raise ValueError(
            f"labels must be a non-empty list of 0 (good) and 1 (bad), got shape {labels.shape} "
            f"with values {np.unique(labels)[:5].tolist()}; leave hidden labels out"
        )
    checked: list[np.ndarray] = [labels.astype(np.int64)]
    for values in (np.asarray(s, dtype=np.float64) for s in scores):
        if values.shape != labels.shape:
            raise ValueError(f"{labels.size} labels but scores of shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"{(~np.isfinite(values)).sum()} scores are not finite numbers")
        checked.append(values)
    return tuple(checked)


def check_both_classes(labels: ArrayLike, *scores: ArrayLike) -> tuple[np.ndarray, ...]:
    """Return `check_scores`; ValueError if the labels are of one class."""
    checked = check_scores(labels, *scores)
    if checked[0].min() == checked[0].max():
        raise ValueError(
            f"all {checked[0].size} labels are {checked[0][0]}; good and bad parts are both needed"
        )
    return checked


def f1(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Return the F1 of the bad class; 0 if no part is bad and none is called bad."""
    labels, scores = check_scores(labels, scores)
    called_bad = scores >= threshold
    total = int(called_bad.sum() + labels.sum())
    return float(2 * (called_bad & (labels == 1)).sum() / total) if total else 0.0


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the chance that a bad part outscores a good one (the area under the ROC curve).

    It is computed from a sum of ranks without rounding, so that equally good models are equal.
    """
    labels, scores = check_both_classes(labels, scores)
    n_bad, n_good = int(labels.sum()), int((1 - labels).sum())
    ranks = stats.rankdata(scores)[labels == 1].sum()  # multiples of 1/2
    return float((ranks - n_bad * (n_bad + 1) / 2) / (n_bad * n_good))


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # DeLong's structural components from midranks (Sun and Xu 2014, algorithm 2): for each bad part
    # the fraction of good ones below it, for each good part the fraction of bad ones above it
    bad, good = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([bad, good]))
    v_bad = (ranks[: bad.size] - stats.rankdata(bad)) / good.size
    v_good = 1 - (ranks[bad.size :] - stats.rankdata(good)) / bad.size
    return v_bad, v_good


def _variance(
    parts: tuple[np.ndarray, np.ndarray], labels: np.ndarray, groups: ArrayLike | None
) -> tuple[float, float]:
    """Return the variance of an AUC and its degrees of freedom.

    Without groups it is DeLong's. With `groups` (N,) it is Obuchowski's (1997, Biometrics 53, pages
    567-578), which sums the components of a group first, since its parts are alike; but not less
    than DeLong's, since the sums of a few groups may cancel. The degrees of freedom are one less
    than the groups that hold the rarer class: with few groups the normal distribution would call
    noise significant in 10 to 20 of 100 cases.

    Args:
        parts: `_placements`, or their differences for a difference of AUCs.
        labels: (N,).
        groups: if any. The variance is infinite if a class is in one group alone.
    """
    number = np.arange(labels.size) if groups is None else _group_numbers(groups, labels.size)
    n_groups, sums, counts, alone, by_groups = number.max() + 1, [], [], 0.0, 0.0
    for label, values in zip((1, 0), parts, strict=True):
        own, deviations = number[labels == label], (values - values.mean()) / values.size
        sums.append(np.bincount(own, deviations, n_groups))
        counts.append(len(np.unique(own)))
        alone += _unbiased((deviations**2).sum(), values.size)
        by_groups += _unbiased((sums[-1] ** 2).sum(), counts[-1])
    if groups is None:
        return alone, np.inf
    by_groups += 2 * _unbiased(sums[0] @ sums[1], n_groups)
    return max(alone, by_groups), min(counts) - 1


def _unbiased(total: Any, n: int) -> float:
    return float(total) * n / (n - 1) if n > 1 else np.inf


def auc_interval(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the AUC with its interval, built on the logit so that it stays inside 0 and 1.

    Without groups it is DeLong's, which takes the parts as independent. With the group (lot,
    module) of each part, `groups` (N,), it is Obuchowski's: parts of one group are alike, so an
    interval that counts them as independent is too narrow. A part without a group is a group of its
    own. If a class has one part, or one group, the interval is 0 to 1. For a perfect or a constant
    model it shrinks to the estimate: these say nothing about how much the AUC varies.
    """
    labels, scores = check_both_classes(labels, scores)
    found = _variance(_placements(labels, scores), labels, groups)
    return _logit_interval(roc_auc(labels, scores), *found)


def _logit_interval(estimate: float, variance: float, freedom: float) -> Interval:
    estimate = float(estimate)
    if not np.isfinite(variance):
        return Interval(estimate, 0.0, 1.0)
    if variance < NO_VARIANCE:
        return Interval(estimate, estimate, estimate)
    # delta method on the logit
    half_width = stats.t.ppf(TAILS[1], freedom) * np.sqrt(variance) / (estimate * (1 - estimate))
    ends = special.expit(special.logit(estimate) + half_width * np.array([-1, 1]))
    return Interval(estimate, *ends.tolist())


def auc_difference(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Return the AUC of a minus that of b on the same parts, by the paired test.

    It is DeLong's, or with `groups` (N,) Obuchowski's; see `auc_interval`.
    """
    labels, *scores = check_both_classes(labels, scores_a, scores_b)
    (bad_a, good_a), (bad_b, good_b) = (_placements(labels, own) for own in scores)
    found = _variance((bad_a - bad_b, good_a - good_b), labels, groups)
    return _compared(roc_auc(labels, scores_a) - roc_auc(labels, scores_b), *found, level)


Judged = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # labels, scores and groups, if any


def difference_between(a: Judged, b: Judged) -> Comparison:
    """Return the AUC of a minus that of b, of models judged on different parts.

    Parts that are in both count as independent. The degrees of freedom are Welch's.
    """
    aucs = [roc_auc(labels, scores) for labels, scores, _ in (a, b)]
    found = [_variance(_placements(*one[:2]), one[0], one[2]) for one in (a, b)]
    variances, freedoms = np.transpose(found)
    freedom, total = np.inf, variances.sum()
    if np.isfinite(freedoms).any() and NO_VARIANCE < total < np.inf:
        freedom = total**2 / (variances**2 / freedoms).sum()
    return _compared(aucs[0] - aucs[1], total, freedom)


def _compared(
    difference: float, variance: float, freedom: float, level: float = LEVEL
) -> Comparison:
    difference = float(difference)
    if not np.isfinite(variance):  # nothing is known
        return Comparison(difference, -1.0, 1.0, 1.0)
    # both models rank alike, or one is perfect and the other constant or reversed
    if variance < NO_VARIANCE:
        return Comparison(difference, difference, difference, float(abs(difference) < 1e-12))
    se = np.sqrt(variance)
    half_width = stats.t.ppf((1 + level) / 2, freedom) * se
    low, high = max(-1.0, difference - half_width), min(1.0, difference + half_width)
    p_value = 2 * stats.t.sf(abs(difference) / se, freedom)
    return Comparison(difference, float(low), float(high), float(p_value))


class WithinGroups(NamedTuple):
    """The mean AUC inside the groups, with its interval, and the number of groups behind it."""

    auc: Interval
    n_groups: int


def within_group_auc(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike
) -> WithinGroups | None:
    """Return the mean over the groups of the AUC inside each, weighted by its smaller class.

    A pooled AUC also rewards a model that tells bad groups from good ones; this one does not. Only
    groups with at least two good and two bad parts count; None if there is no such group. The
    interval is that of a weighted mean of so many groups, 0 to 1 for one group.
    """
    labels, scores = check_scores(labels, scores)
    parts = pd.DataFrame({"label": labels, "score": scores, "group": groups})
    aucs, weights = [], []
    for _, own in parts.groupby("group"):
        smaller = min(np.bincount(own.label, minlength=2))
        if smaller >= 2:
            aucs.append(roc_auc(own.label, own.score))
            weights.append(smaller)
    if not aucs:
        return None
    weight = np.array(weights) / sum(weights)
    estimate = np.average(aucs, weights=weights).clip(0, 1)
    if len(aucs) == 1:
        return WithinGroups(_logit_interval(estimate, np.inf, 0), 1)
    # with unequal weights (MacKinnon and White 1985, HC2) there are fewer groups in effect
    variance = ((weight * (aucs - estimate)) ** 2 / (1 - weight)).sum()
    freedom = 1 / (weight**2).sum() - 1
    return WithinGroups(_logit_interval(estimate, variance, freedom), len(aucs))


def _group_numbers(groups: ArrayLike, n: int) -> np.ndarray:
    # (N,) from 0; a part without a group is a group of its own
    names = pd.Series(np.asarray(groups, dtype=object))
    if len(names) != n:
        raise ValueError(f"{n} labels but {len(names)} groups")
    numbers, known = pd.factorize(names.mask(names == ""), sort=True)
    alone = numbers < 0
    numbers[alone] = len(known) + np.arange(alone.sum())
    return numbers


def exact_interval(count: int, total: int) -> Interval:
    """Return Clopper and Pearson's exact interval of `count / total` (1934), never too narrow."""
    low = stats.beta.ppf(TAILS[0], count, total - count + 1) if count > 0 else 0.0
    high = stats.beta.ppf(TAILS[1], count + 1, total - count) if count < total else 1.0
    return Interval(count / total, float(low), float(high))


def mean_interval(values: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the mean of values (N,) between 0 and 1 with its interval; see `auc_interval`."""
    values = np.asarray(values, dtype=np.float64)
    deviations = (values - values.mean()) / values.size
    variance, freedom = _unbiased((deviations**2).sum(), values.size), values.size - 1
    if groups is not None:
        sums = np.bincount(_group_numbers(groups, values.size), deviations)
        variance, freedom = max(variance, _unbiased((sums**2).sum(), sums.size)), sums.size - 1
    return _logit_interval(values.mean(), variance, freedom)


def rate_interval(flags: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the fraction of `flags` (N,) that are True, with its interval.

    Without groups it is the exact one. With the group (lot, module) of each part, `groups` (N,),
    the interval is the wider of the exact one and that of `mean_interval`, since parts of one group
    fail together. A part with an empty group is a group of its own. If no flag is True, or all are,
    nothing tells how alike the groups are, and the interval is that of independent parts.
    """
    flags = np.asarray(flags, dtype=bool)
    exact = exact_interval(int(flags.sum()), flags.size)
    if groups is None:
        return exact
    by_groups = mean_interval(flags, groups)
    return Interval(exact.estimate, min(exact.low, by_groups.low), max(exact.high, by_groups.high))
