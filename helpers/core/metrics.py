"""Metrics of scores that separate bad parts from good ones, with intervals and tests.

`labels` (N,) are 0 for good and 1 for bad; higher `scores` (N,) mean more surely bad. A part is
called bad if `score >= threshold`. Every rate is a fraction, not per cent.
"""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import special, stats

LEVEL = 0.95  # of all confidence intervals
NO_VARIANCE = 1e-24  # a smaller variance is a rounding error
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
    standard_error: float  # infinite if a class has one part or group


def check_both_classes(labels: ArrayLike, *scores: ArrayLike) -> tuple[np.ndarray, ...]:
    """Return labels as int64 and scores as float64; refuse anything else."""
    labels = np.asarray(labels)
    if labels.ndim != 1 or set(np.unique(labels)) != {0, 1}:
        raise ValueError(
            f"labels must be a list of 0 (good) and 1 (bad) with both of them, got shape "
            f"{labels.shape} with values {np.unique(labels)[:5].tolist()}; leave hidden labels out"
        )
    checked = [np.asarray(values, dtype=np.float64) for values in scores]
    for values in checked:
        if values.shape != labels.shape or not np.isfinite(values).all():
            raise ValueError(f"{labels.size} labels need as many finite scores, got {values}")
    return labels.astype(np.int64), *checked


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the chance that a bad part outscores a good one (the area under the ROC curve)."""
    labels, scores = check_both_classes(labels, scores)
    n_bad, n_good = int(labels.sum()), int((1 - labels).sum())
    ranks = stats.rankdata(scores)[labels == 1].sum()  # multiples of 1/2: without rounding
    return float((ranks - n_bad * (n_bad + 1) / 2) / (n_bad * n_good))


def _placements(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # structural components (DeLong et al. 1988) from midranks (Sun and Xu 2014, algorithm 2): for
    # each bad part the fraction of good ones below it, for each good part that of bad ones above it
    bad, good = scores[labels == 1], scores[labels == 0]
    ranks = stats.rankdata(np.concatenate([bad, good]))
    v_bad = (ranks[: bad.size] - stats.rankdata(bad)) / good.size
    v_good = 1 - (ranks[bad.size :] - stats.rankdata(good)) / bad.size
    return v_bad, v_good


class _Spread(NamedTuple):
    """The uncertainty of an estimate."""

    variance: float  # infinite: a class has one part or group; 0: all values are alike
    freedom: float  # degrees of freedom
    values: int  # independent values behind it: parts, groups, or pairs of them for an AUC


def _spread(
    parts: tuple[np.ndarray, np.ndarray], labels: np.ndarray, groups: ArrayLike | None
) -> _Spread:
    """Return the variance of an AUC, its degrees of freedom, and how many pairs are independent.

    Without groups it is DeLong's. With `groups` (N,) it is Obuchowski's (1997, Biometrics 53, pages
    567-578), which sums the components of a group first; but not less than DeLong's, since the sums
    of a few groups may cancel. The degrees of freedom are one less than the groups that hold the
    rarer class: with few groups the normal distribution would call noise significant in 10 to 20 of
    100 cases. Pairs of a bad and a good part are independent if they share no group. The variance
    is infinite if a class is in one group alone. The `parts` are `_placements`, or differences.
    """
    number = np.arange(labels.size) if groups is None else group_numbers(groups, labels.size)
    n_groups, sums, counts, alone, by_groups = int(number.max()) + 1, [], [], 0.0, 0.0
    for label, values in zip((1, 0), parts, strict=True):
        of_class, deviations = number[labels == label], (values - values.mean()) / values.size
        sums.append(np.bincount(of_class, deviations, n_groups))
        counts.append(len(np.unique(of_class)))
        alone += _unbiased((deviations**2).sum(), values.size)
        by_groups += _unbiased((sums[-1] ** 2).sum(), counts[-1])
    pairs = min(*counts, n_groups // 2)
    if groups is None:
        return _Spread(alone, np.inf, pairs)
    by_groups += 2 * _unbiased(sums[0] @ sums[1], n_groups)
    return _Spread(max(alone, by_groups), min(counts) - 1, pairs)


def _unbiased(total: Any, n: int) -> float:
    return float(total) * n / (n - 1) if n > 1 else np.inf


def auc_interval(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the AUC with its interval, built on the logit so that it stays inside 0 and 1.

    Without groups it is DeLong's, which takes the parts as independent. With the group (lot,
    module) of each part, `groups` (N,), it is Obuchowski's, which is wider; a part without a group
    is a group of its own. If a class has one part, or one group, the interval is 0 to 1. If the
    variance is 0 (a perfect or a reversed model), it is that of `_alike_interval`. If all scores
    are equal, the AUC and both ends are 0.5.
    """
    labels, scores = check_both_classes(labels, scores)
    if np.ptp(scores) == 0:
        return Interval(0.5, 0.5, 0.5)
    spread = _spread(_placements(labels, scores), labels, groups)
    return _logit_interval(roc_auc(labels, scores), spread)


def _logit_interval(estimate: float, spread: _Spread) -> Interval:
    estimate = float(estimate)
    if not np.isfinite(spread.variance):
        return Interval(estimate, 0.0, 1.0)
    if spread.variance < NO_VARIANCE:
        return _alike_interval(estimate, spread.values)
    # delta method on the logit
    half_width = stats.t.ppf(TAILS[1], spread.freedom) * np.sqrt(spread.variance)
    half_width /= estimate * (1 - estimate)
    ends = special.expit(special.logit(estimate) + half_width * np.array([-1, 1]))
    return Interval(estimate, *ends.tolist())


def _alike_interval(estimate: float, n: int) -> Interval:
    """Return the interval of a mean if n independent values between 0 and 1 are all the same.

    If each value is this one with probability q, all n are with probability q^n, so q is at least
    .025^(1/n) (Clopper and Pearson 1934), and other values are at worst 0 or 1.
    """
    certain = TAILS[0] ** (1 / n)
    return Interval(estimate, estimate * certain, 1 - (1 - estimate) * certain)


def auc_difference(
    labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike, groups: ArrayLike | None = None
) -> Comparison:
    """Return the AUC of a minus that of b on the same parts; see `auc_interval` for the test."""
    labels, *scores = check_both_classes(labels, scores_a, scores_b)
    (bad_a, good_a), (bad_b, good_b) = (_placements(labels, values) for values in scores)
    spread = _spread((bad_a - bad_b, good_a - good_b), labels, groups)
    difference = roc_auc(labels, scores_a) - roc_auc(labels, scores_b)
    if not np.isfinite(spread.variance):  # nothing is known
        return Comparison(difference, -1.0, 1.0, 1.0, np.inf)
    quantile = stats.t.ppf(TAILS[1], spread.freedom)
    if spread.variance >= NO_VARIANCE:
        se = np.sqrt(spread.variance)
        low, high = max(-1.0, difference - quantile * se), min(1.0, difference + quantile * se)
        p_value = 2 * stats.t.sf(abs(difference) / se, spread.freedom)
        return Comparison(difference, float(low), float(high), float(p_value), float(se))
    if np.array_equal(*map(stats.rankdata, scores)):  # one and the same ranking
        return Comparison(0.0, 0.0, 0.0, 1.0, 0.0)
    # All independent pairs of parts differ alike, by d, as if one model is perfect and the other
    # constant. Values of mean 0 between -1 and 1 are d with probability 1 / (1 + |d|) at most.
    certain = TAILS[0] ** (1 / spread.values)
    low, high = difference * certain - (1 - certain), difference * certain + (1 - certain)
    p_value = min(1.0, 2 * (1 + abs(difference)) ** -spread.values)
    return Comparison(difference, low, high, p_value, float((1 - certain) / quantile))


def within_group_auc(labels: ArrayLike, scores: ArrayLike, groups: ArrayLike) -> Interval:
    """Return the mean over the groups of the AUC inside each, weighted by its smaller class.

    Only groups with at least two good and two bad parts count; NaN if there is no such group. The
    interval is that of a weighted mean of so many groups, 0 to 1 for one group. If scores are equal
    inside each group, the mean and both ends are 0.5.
    """
    parts = pd.DataFrame({"label": labels, "score": scores, "group": groups})
    aucs, weights = [], []
    for _, of_group in parts.groupby("group"):
        smaller = min(np.bincount(of_group.label, minlength=2))
        if smaller >= 2:
            aucs.append(roc_auc(of_group.label, of_group.score))
            weights.append(smaller)
    if not aucs:
        return Interval(np.nan, np.nan, np.nan)
    if (parts.groupby("group").score.nunique() == 1).all():
        return Interval(0.5, 0.5, 0.5)
    weight = np.array(weights) / sum(weights)
    estimate, spread = np.average(aucs, weights=weights), _Spread(np.inf, 0, 1)
    if len(aucs) > 1:
        # with unequal weights (MacKinnon and White 1985, HC2) there are fewer groups in effect
        variance = ((weight * (aucs - estimate)) ** 2 / (1 - weight)).sum()
        spread = _Spread(variance, 1 / (weight**2).sum() - 1, len(aucs))
    return _logit_interval(estimate, spread)


def group_numbers(groups: ArrayLike, n: int) -> np.ndarray:
    """Return the group number (N,) of each part, from 0; without a group, one of its own."""
    names = pd.Series(np.asarray(groups, dtype=object))
    if len(names) != n:
        raise ValueError(f"{n} labels but {len(names)} groups")
    numbers, known = pd.factorize(names.mask(names == ""), sort=True)
    alone = numbers < 0
    numbers[alone] = len(known) + np.arange(alone.sum())
    return numbers


class Sweep(NamedTuple):
    """All thresholds that decide differently, ascending, with escapes and overkill, each (T,)."""

    thresholds: np.ndarray
    n_escaped: np.ndarray
    n_overkilled: np.ndarray


def threshold_sweep(labels: ArrayLike, scores: ArrayLike) -> Sweep:
    """Return all thresholds half-way between neighbouring scores, from all bad to all good."""
    labels, scores = check_both_classes(labels, scores)
    values, group = np.unique(scores, return_inverse=True)
    half_way = values[:-1] + np.diff(values) / 2
    half_way = np.where(half_way > values[:-1], half_way, values[1:])  # no float in between
    thresholds = np.concatenate([values[:1], half_way, [np.nextafter(values[-1], np.inf)]])
    bad, good = (np.bincount(group, labels == c).astype(int) for c in (1, 0))
    n_escaped = np.concatenate([[0], bad.cumsum()])
    n_overkilled = good.sum() - np.concatenate([[0], good.cumsum()])
    return Sweep(thresholds, n_escaped, n_overkilled)


def most_accurate_threshold(labels: ArrayLike, scores: ArrayLike, bad_rate: float) -> float:
    """Return the lowest threshold with the fewest mistakes on a line with this `bad_rate`."""
    sweep = threshold_sweep(labels, scores)
    escapes = bad_rate * (sweep.n_escaped / sweep.n_escaped[-1])
    overkill = (1 - bad_rate) * (sweep.n_overkilled / sweep.n_overkilled[0])
    best = np.argmin((escapes + overkill).round(12))  # rounded: equal rates must compare equal
    return float(sweep.thresholds[best])


def exact_interval(count: int, total: int) -> Interval:
    """Return Clopper and Pearson's exact interval of `count / total` (1934), never too narrow."""
    low = stats.beta.ppf(TAILS[0], count, total - count + 1) if count > 0 else 0.0
    high = stats.beta.ppf(TAILS[1], count + 1, total - count) if count < total else 1.0
    return Interval(count / total, float(low), float(high))


def mean_interval(values: ArrayLike, groups: ArrayLike | None = None, least: float = 0) -> Interval:
    """Return the mean of values (N,) from `least` to 1 with its interval; see `auc_interval`."""
    if least < 0:
        shares = mean_interval((np.asarray(values) - least) / (1 - least), groups)
        return Interval(*(least + (1 - least) * share for share in shares))
    values = np.asarray(values, dtype=np.float64)
    deviations = (values - values.mean()) / values.size
    variance, n = _unbiased((deviations**2).sum(), values.size), values.size
    if groups is not None:
        sums = np.bincount(group_numbers(groups, values.size), deviations)
        variance, n = max(variance, _unbiased((sums**2).sum(), sums.size)), sums.size
    return _logit_interval(values.mean(), _Spread(variance, n - 1, n))


def rate_interval(flags: ArrayLike, groups: ArrayLike | None = None) -> Interval:
    """Return the fraction of `flags` (N,) that are True, with its interval.

    Without groups it is the exact one. With the group (lot, module) of each part, `groups` (N,),
    the interval is the wider of the exact one and that of `mean_interval`, since parts of one group
    fail together. If all flags are equal, they do not show how alike the parts of a group are. Then
    each group counts as one part: 0 escapes in 200 parts of 11 modules have the interval of 0 of
    11. The upper end is never below that, and the lower end never above that of all True flags.
    """
    flags = np.asarray(flags, dtype=bool)
    exact = exact_interval(int(flags.sum()), flags.size)
    if groups is None:
        return exact
    by_groups = mean_interval(flags, groups)
    # One escape says little about how alike parts are: it must not promise more than no escape.
    none = exact_interval(0, int(group_numbers(groups, flags.size).max()) + 1).high
    low, high = min(exact.low, by_groups.low, 1 - none), max(exact.high, by_groups.high, none)
    return Interval(exact.estimate, low, high)
