"""Metrics of scores that separate bad parts from good ones, with intervals and tests.

Everywhere `labels` is (N,) with 0 good and 1 bad, `scores` is (N,) and higher means more surely
bad, a part is called bad if `score >= threshold`, and every rate is a fraction, not per cent.

    metrics.delong_interval(labels, scores)  # AUC with its 95 % interval
    metrics.delong_test(labels, scores, other_scores).p_value
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

Metric = Callable[[np.ndarray, np.ndarray], float]
LEVEL = 0.95  # of all confidence intervals
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
FEWEST_GROUPS = 6  # fewer have too few different resamples
RESAMPLES_AT_ONCE = 100  # keeps the matrix of counts below 25 MB at 30,000 scores


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


def accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Return the fraction of parts on the right side of `threshold`."""
    labels, scores = check_scores(labels, scores)
    return float(np.mean((scores >= threshold) == labels))


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


def _delong_covariance(labels: ArrayLike, *scores: ArrayLike) -> np.ndarray:
    # the covariance (models, models) of the AUCs
    labels, *columns = check_both_classes(labels, *scores)
    if min(np.bincount(labels)) < 2:
        raise ValueError("DeLong's variance needs at least two good and two bad parts")
    pairs = zip(*(_placements(labels, own) for own in columns), strict=True)
    bad, good = (np.cov(np.stack(v)) / v[0].size for v in pairs)
    return np.atleast_2d(bad + good)


def delong_interval(labels: ArrayLike, scores: ArrayLike) -> Interval:
    """Return the AUC with DeLong's interval, built on the logit so that it stays inside 0 and 1.

    If the variance is 0 (a perfect or a constant model), the interval shrinks to the estimate.
    """
    auc, variance = roc_auc(labels, scores), float(_delong_covariance(labels, scores)[0, 0])
    if variance == 0:
        return Interval(auc, auc, auc)
    # delta method on the logit
    half_width = stats.norm.ppf(TAILS[1]) * np.sqrt(variance) / (auc * (1 - auc))
    low, high = special.expit(special.logit(auc) + half_width * np.array([-1, 1]))
    return Interval(auc, float(low), float(high))


def delong_test(
    labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, level: float = LEVEL
) -> Comparison:
    """Return the AUC of a minus that of b on the same parts, by DeLong's paired test."""
    covariance = _delong_covariance(labels, scores_a, scores_b)
    difference = roc_auc(labels, scores_a) - roc_auc(labels, scores_b)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    se = np.sqrt(max(variance, 0.0))
    # Below rounding error both models rank alike, or one of them is perfect in every resample.
    if se < 1e-12:
        return Comparison(difference, difference, difference, float(abs(difference) < 1e-12))
    p_value = 2 * stats.norm.sf(abs(difference) / se)
    half_width = stats.norm.ppf((1 + level) / 2) * se
    return Comparison(difference, difference - half_width, difference + half_width, float(p_value))


def bootstrap_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    metric: Metric = roc_auc,
    n_resamples: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Interval:
    """Return the percentile bootstrap interval of `metric(labels, scores)`.

    Good and bad parts are resampled separately (Efron and Tibshirani 1993, ch. 13). With `groups`
    (N,), whole groups are resampled instead: parts of one module or lot are alike, so the interval
    that counts them as independent is too narrow. `roc_auc` takes a vectorised path.
    """
    labels, scores = check_both_classes(labels, scores)
    values = _resampled_metric(labels, [scores], metric, n_resamples, seed, groups)[0]
    low, high = np.nanquantile(values, TAILS)  # a resample of groups may lack a class
    return Interval(float(metric(labels, scores)), float(low), float(high))


def auc_interval(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the AUC with the interval that fits the split.

    It is DeLong's, which takes the parts as independent, or with `groups` (N,) that of a bootstrap
    of whole groups; its ends are missing if these are fewer than `FEWEST_GROUPS`.
    """
    if groups is None:
        return delong_interval(labels, scores)
    if len(pd.unique(np.asarray(groups, dtype=object))) < FEWEST_GROUPS:
        return Interval(roc_auc(labels, scores), np.nan, np.nan)
    return bootstrap_interval(labels, scores, groups=groups)


def paired_bootstrap(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    level: float = LEVEL,
) -> Comparison:
    """Return the AUC of a minus that of b, both on the same resamples (of `groups`, if given).

    The p-value is at least 2 / (`n_resamples` + 1) (Davison and Hinkley 1997, section 4.2).
    """
    labels, a, b = check_both_classes(labels, scores_a, scores_b)
    values_a, values_b = _resampled_metric(labels, [a, b], roc_auc, n_resamples, seed, groups)
    return _compared(roc_auc(labels, a) - roc_auc(labels, b), values_a - values_b, level)


def _compared(difference: float, resampled: np.ndarray, level: float = LEVEL) -> Comparison:
    resampled = resampled[np.isfinite(resampled)]
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    tail = min((resampled <= 0).sum(), (resampled >= 0).sum())
    p_value = min(1.0, 2 * (tail + 1) / (resampled.size + 1))
    return Comparison(difference, float(low), float(high), p_value)


def auc_difference(
    labels: ArrayLike,
    scores_a: ArrayLike,
    scores_b: ArrayLike,
    groups: ArrayLike | None = None,
    level: float = LEVEL,
    seed: int = 0,
) -> Comparison:
    """Return the AUC of a minus that of b by the paired test that fits the split.

    It is DeLong's, which takes the parts as independent, or with `groups` the paired bootstrap over
    whole groups.
    """
    if groups is None:
        return delong_test(labels, scores_a, scores_b, level)
    return paired_bootstrap(labels, scores_a, scores_b, 2000, seed, groups, level)


Judged = tuple[np.ndarray, np.ndarray, np.ndarray | None]  # labels, scores and groups, if any


def difference_between(a: Judged, b: Judged, n_resamples: int = 2000, seed: int = 0) -> Comparison:
    """Return the AUC of a minus that of b, of models judged on different parts.

    Both are resampled on their own, so parts that are in both count as independent.
    """
    aucs, values = [], []
    for stream, (labels, scores, groups) in enumerate((a, b)):
        aucs.append(roc_auc(labels, scores))
        own = seed + stream
        values += [*_resampled_metric(labels, [scores], roc_auc, n_resamples, own, groups)]
    return _compared(aucs[0] - aucs[1], values[0] - values[1])


class WithinGroups(NamedTuple):
    """The mean AUC inside the groups, with its interval, and the number of groups behind it."""

    auc: Interval
    n_groups: int


def within_group_auc(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike,
    n_resamples: int = 1000,
    seed: int = 0,
) -> WithinGroups | None:
    """Return the mean over the groups of the AUC inside each, weighted by its smaller class.

    A pooled AUC also rewards a model that tells bad groups from good ones; this one does not. Only
    groups with at least two good and two bad parts count; None if there is no such group. The
    interval is a percentile bootstrap over these groups.
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
    auc, weight = np.array(aucs), np.array(weights, dtype=float)
    drawn = np.random.default_rng(seed).integers(auc.size, size=(n_resamples, auc.size))
    means = (auc[drawn] * weight[drawn]).sum(axis=1) / weight[drawn].sum(axis=1)
    low, high = np.quantile(means, TAILS)
    estimate = float((auc * weight).sum() / weight.sum())
    return WithinGroups(Interval(estimate, float(low), float(high)), auc.size)


def _group_numbers(groups: ArrayLike, n: int) -> np.ndarray:
    # (N,) from 0; a part without a group is a group of its own
    names = pd.Series(np.asarray(groups, dtype=object))
    if len(names) != n:
        raise ValueError(f"{n} labels but {len(names)} groups")
    numbers, known = pd.factorize(names.mask(names == ""), sort=True)
    alone = numbers < 0
    numbers[alone] = len(known) + np.arange(alone.sum())
    return numbers


def _resampled_metric(
    labels: np.ndarray,
    scores: list[np.ndarray],
    metric: Metric,
    n_resamples: int,
    seed: int,
    groups: ArrayLike | None = None,
) -> np.ndarray:
    # (models, n_resamples), all models on the same resamples; NaN if one lacks a class
    if groups is None:  # good and bad parts are drawn separately, each as a group of its own
        number = np.arange(labels.size)
        pools = [np.flatnonzero(labels == label) for label in (0, 1)]
    else:
        number = _group_numbers(groups, labels.size)
        pools = [np.arange(number.max() + 1)]
    n_groups, rng = number.max() + 1, np.random.default_rng(seed)
    values = np.empty((len(scores), n_resamples))
    for start in range(0, n_resamples, RESAMPLES_AT_ONCE):
        r = min(RESAMPLES_AT_ONCE, n_resamples - start)
        drawn = np.hstack([own[rng.integers(own.size, size=(r, own.size))] for own in pools])
        places = drawn + n_groups * np.arange(r)[:, None]
        counts = np.bincount(places.ravel(), minlength=r * n_groups).reshape(r, n_groups)
        times = counts[:, number]  # (r, N), how often each part is in each resample
        for own, own_scores in zip(values, scores, strict=True):
            own[start : start + r] = (
                _auc_of_resamples(labels, own_scores, times)
                if metric is roc_auc
                else [_of_resample(metric, labels, own_scores, one) for one in times]
            )
    return values


def _of_resample(
    metric: Metric, labels: np.ndarray, scores: np.ndarray, times: np.ndarray
) -> float:
    labels, scores = np.repeat(labels, times), np.repeat(scores, times)
    return metric(labels, scores) if 0 < labels.sum() < labels.size else np.nan


def _auc_of_resamples(labels: np.ndarray, scores: np.ndarray, times: np.ndarray) -> np.ndarray:
    # (r,) from the counts of each distinct score by class; `times` is (r, N)
    order = np.argsort(scores)
    first = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    times, labels = times[:, order], labels[order]
    good, bad = (np.add.reduceat(times * (labels == label), first, axis=1) for label in (0, 1))
    below = good.cumsum(axis=1) - 0.5 * good  # good parts below each score, ties half
    with np.errstate(invalid="ignore"):  # 0 / 0 if a class is missing
        return (bad * below).sum(axis=1) / (good.sum(axis=1) * bad.sum(axis=1))


def exact_interval(count: int, total: int) -> Interval:
    """Return Clopper and Pearson's exact interval of `count / total` (1934), never too narrow."""
    low = stats.beta.ppf(TAILS[0], count, total - count + 1) if count > 0 else 0.0
    high = stats.beta.ppf(TAILS[1], count + 1, total - count) if count < total else 1.0
    return Interval(count / total, float(low), float(high))


def rate_interval(flags: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the fraction of `flags` (N,) that are True, with its interval.

    Without groups it is the exact one. With the group (lot, module) of each part, `groups` (N,),
    the interval is the wider of the exact one and the percentile bootstrap that draws whole groups,
    since parts of one group fail together. A part with an empty group is a group of its own.
    """
    flags = np.asarray(flags, dtype=bool)
    exact = exact_interval(int(flags.sum()), flags.size)
    if groups is None:
        return exact
    own, _ = pd.factorize(_group_numbers(groups, flags.size))
    sizes, hits = np.bincount(own), np.bincount(own, flags)
    rng, n = np.random.default_rng(0), len(sizes)
    rates = []
    for _ in range(1000 // RESAMPLES_AT_ONCE):
        times = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES_AT_ONCE)  # each is drawn
        rates.append(times @ hits / (times @ sizes))
    low, high = np.quantile(np.concatenate(rates), TAILS)
    return Interval(exact.estimate, min(exact.low, float(low)), max(exact.high, float(high)))
