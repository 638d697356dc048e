"""Metrics of scores that separate bad parts from good ones, with intervals and tests.

Everywhere `labels` is (N,) with 0 good and 1 bad, `scores` is (N,) and higher means more surely
bad, a part is called bad if `score >= threshold`, and every rate is a fraction, not per cent.

    metrics.auc_interval(labels, scores)  # AUC with its 95 % interval
    metrics.auc_difference(labels, scores, other_scores).p_value
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

LEVEL = 0.95  # of all confidence intervals
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
    """Return the chance that a bad part outscores a good one (the area under the ROC curve)."""
    labels, scores = check_both_classes(labels, scores)
    return float(_placements(labels, scores)[0].mean())


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # DeLong's structural components from midranks (Sun and Xu 2014, algorithm 2): for each bad part
    # the fraction of good ones below it, for each good part the fraction of bad ones above it
    bad, good = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([bad, good]))
    v_bad = (ranks[: bad.size] - stats.rankdata(bad)) / good.size
    v_good = 1 - (ranks[bad.size :] - stats.rankdata(good)) / bad.size
    return v_bad, v_good


class _Aucs(NamedTuple):
    """AUCs of models on the same parts, their covariance, and its degrees of freedom."""

    values: np.ndarray  # (models,)
    covariance: np.ndarray  # (models, models); not finite if it cannot be estimated
    freedom: float


def _aucs(labels: ArrayLike, *scores: ArrayLike, groups: ArrayLike | None = None) -> _Aucs:
    # Obuchowski's covariance (1997, Biometrics 53, 567-578) sums DeLong's structural components of
    # each group first, since its parts are alike; with groups of one part it is DeLong's. Student's
    # t with (groups - 1) degrees of freedom keeps the error rates even with few groups.
    labels, *columns = check_both_classes(labels, *scores)
    number = np.arange(labels.size) if groups is None else _group_numbers(groups, labels.size)
    placements = zip(*(_placements(labels, own) for own in columns), strict=True)
    n_groups, sums, factors, aucs = number.max() + 1, [], [], np.empty(0)
    for label, values in zip((1, 0), placements, strict=True):
        own, aucs = number[labels == label], np.mean(values, axis=1)
        deviations = np.subtract(values, aucs[:, None]) / own.size
        sums.append(np.stack([np.bincount(own, one, n_groups) for one in deviations]))
        factors.append(_unbiased(len(np.unique(own))))
    both = sums[0] @ sums[1].T
    with np.errstate(invalid="ignore"):  # infinity times 0 if a class is in one group alone
        covariance = sum(factor * (own @ own.T) for factor, own in zip(factors, sums, strict=True))
        covariance = covariance + _unbiased(n_groups) * (both + both.T)
    return _Aucs(aucs, covariance, np.inf if groups is None else n_groups - 1)


def _unbiased(n: int) -> float:
    return n / (n - 1) if n > 1 else np.inf


def auc_interval(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the AUC with its interval, built on the logit so that it stays inside 0 and 1.

    Without groups it is DeLong's, which takes the parts as independent. With the group (lot,
    module) of each part, `groups` (N,), it is Obuchowski's: parts of one group are alike, so an
    interval that counts them as independent is too narrow. A part without a group is a group of its
    own. If a class has one part, or one group, the interval is 0 to 1; if the variance is 0 (a
    perfect or a constant model), it shrinks to the estimate.
    """
    found = _aucs(labels, scores, groups=groups)
    return _logit_interval(found.values[0], found.covariance[0, 0], found.freedom)


def _logit_interval(estimate: float, variance: float, freedom: float) -> Interval:
    if not np.isfinite(variance):
        return Interval(float(estimate), 0.0, 1.0)
    if variance == 0:
        return Interval(*[float(estimate)] * 3)
    # delta method on the logit
    half_width = stats.t.ppf(TAILS[1], freedom) * np.sqrt(variance) / (estimate * (1 - estimate))
    ends = special.expit(special.logit(estimate) + half_width * np.array([-1, 1]))
    return Interval(float(estimate), *ends.tolist())


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
    (a, b), covariance, freedom = _aucs(labels, scores_a, scores_b, groups=groups)
    with np.errstate(invalid="ignore"):
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    return _compared(a - b, variance, freedom, level)


Judged = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # labels, scores and groups, if any


def difference_between(a: Judged, b: Judged) -> Comparison:
    """Return the AUC of a minus that of b, of models judged on different parts.

    Parts that are in both count as independent. The degrees of freedom are Welch's.
    """
    found = [_aucs(labels, scores, groups=groups) for labels, scores, groups in (a, b)]
    variances = np.array([one.covariance[0, 0] for one in found])
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = variances / variances.sum()
        freedom = 1 / (shares**2 / [one.freedom for one in found]).sum()
    return _compared(found[0].values[0] - found[1].values[0], variances.sum(), freedom)


def _compared(
    difference: float, variance: float, freedom: float, level: float = LEVEL
) -> Comparison:
    difference = float(difference)
    if not np.isfinite(variance):  # nothing is known
        return Comparison(difference, -1.0, 1.0, 1.0)
    se = np.sqrt(max(variance, 0.0))
    # Below rounding error both models rank alike, or one of them is perfect in every resample.
    if se < 1e-12:
        return Comparison(difference, difference, difference, float(abs(difference) < 1e-12))
    half_width = stats.t.ppf((1 + level) / 2, freedom) * se
    p_value = 2 * stats.t.sf(abs(difference) / se, freedom)
    return Comparison(difference, difference - half_width, difference + half_width, float(p_value))


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
    n, auc, weight = len(aucs), np.array(aucs), np.array(weights) / sum(weights)
    estimate = float(weight @ auc)
    with np.errstate(invalid="ignore"):
        variance = _unbiased(n) * ((weight * (auc - estimate)) ** 2).sum()
    return WithinGroups(_logit_interval(estimate, variance, n - 1), n)


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
    number = np.arange(values.size) if groups is None else _group_numbers(groups, values.size)
    mean, n_groups = float(values.mean()), number.max() + 1
    with np.errstate(invalid="ignore"):
        of_groups = np.bincount(number, values - mean) / values.size
        variance = _unbiased(n_groups) * (of_groups**2).sum()
    return _logit_interval(mean, variance, n_groups - 1)


def rate_interval(flags: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the fraction of `flags` (N,) that are True, with its interval.

    Without groups it is the exact one. With the group (lot, module) of each part, `groups` (N,),
    the interval is the wider of the exact one and that of `mean_interval`, since parts of one group
    fail together. A part with an empty group is a group of its own.
    """
    flags = np.asarray(flags, dtype=bool)
    exact = exact_interval(int(flags.sum()), flags.size)
    if groups is None:
        return exact
    by_groups = mean_interval(flags, groups)
    return Interval(exact.estimate, min(exact.low, by_groups.low), max(exact.high, by_groups.high))
