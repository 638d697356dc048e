"""Choose thresholds; count escapes (false negatives) and overkill (false positives).

A part passes below `pass_below`, is rejected from `reject_from` on, and a person looks at it again
in between. Choose both on held-out scores. Labels and scores are those of `helpers.core.metrics`.

A promise holds for parts that are drawn like the held-out ones: of the same line, and of the same
groups (lots, modules) if the split is random.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from helpers.core import metrics
from helpers.core.metrics import Interval, Sweep
from helpers.core.rules import Registry
from helpers.results.comparison import with_ends

ROUNDING = 1e-6  # scores are computed and written with about so many digits
TOLERANCE = 1e-12  # of sums of rates


# Rules that promise an escape rate if k (K,) of n held-out bad parts are below the threshold. The
# chance of a new bad part to score below the (k + 1)-th smallest of n scores is distributed as
# Beta(k + 1, n - k), or smaller if scores are equal.
RULES = Registry(
    "rule",
    {
        # on average: the mean, as in conformal risk control (arXiv 2208.02814)
        "expected": lambda n, k: (k + 1) / (n + 1),
        # at 95 % confidence: the quantile, the largest rate with P(Bin(n, rate) <= k) >= 5 %
        "confident": lambda n, k: stats.beta.ppf(metrics.LEVEL, k + 1, n - k),
    },
)


class Promise(NamedTuple):
    """A threshold, and the rate of escapes or of overkill that it promises."""

    threshold: float
    rate: float
    is_kept: bool  # False if the rate that was asked for cannot be promised


class Bins(NamedTuple):
    """The two thresholds; without a third bin they are equal."""

    pass_below: float
    reject_from: float


class Line(NamedTuple):
    """A production line: its fraction of bad parts, and what decisions cost (any unit)."""

    bad_rate: float
    escape_cost: float = 0.0
    false_alarm_cost: float = 0.0
    review_share: float = 0.0  # of all parts: at most so many can be looked at again
    review_cost: float = 0.0  # of one look; 0: as many as `review_share` allows


def chance_of_escapes(
    n_escaped: int, n_new: ArrayLike, n_held_out: ArrayLike, promised: ArrayLike
) -> float:
    """Return the chance of `n_escaped` or more escapes, if promises by the rule "expected" hold.

    `n_new` (T,) parts meet a threshold that n = `n_held_out` bad parts chose and that promises
    `promised` = (k + 1) / (n + 1). The true rate is distributed as in `RULES`, so m parts have
    beta-binomial(m, k + 1, n - k) escapes; `n_escaped` is the sum over T independent thresholds.
    """
    total = np.ones(1)
    for m, n, rate in np.broadcast(n_new, n_held_out, promised):
        below = rate * (n + 1)  # k + 1
        pmf = stats.betabinom.pmf(np.arange(m + 1), m, below, n + 1 - below)
        total = np.convolve(total, pmf)
    return float(total[n_escaped:].sum())


def parts_needed(max_escape_rate: float) -> float:
    """Return the smallest n with 1 / (n + 1) at most a rate, as "expected" asks; infinite for 0."""
    return max(1.0, np.ceil(1 / max_escape_rate - 1 - ROUNDING)) if max_escape_rate else np.inf


def threshold_for_escape_rate(
    labels: ArrayLike, scores: ArrayLike, max_escape_rate: float, rule: str = "expected"
) -> Promise:
    """Return the lowest threshold with the least overkill that promises an escape rate.

    If the bad parts are too few to promise the rate, the threshold lets none of them escape; the
    promise then is a higher rate. It holds if bad parts, held out and new, are exchangeable.
    """
    sweep = metrics.threshold_sweep(labels, scores)
    n = int(sweep.n_escaped[-1])
    rates = RULES[rule](n, np.arange(n))  # ascending
    n_kept = int((rates <= max_escape_rate + TOLERANCE).sum())
    k = max(0, n_kept - 1)
    overkill = np.where(sweep.n_escaped <= k, sweep.n_overkilled, np.inf)
    return Promise(float(sweep.thresholds[np.argmin(overkill)]), float(rates[k]), n_kept > 0)


def threshold_for_lots(
    labels: ArrayLike, scores: ArrayLike, groups: ArrayLike, max_escape_rate: float
) -> Promise:
    """Return the threshold with the least overkill that promises an escape rate for the next lot.

    The loss of a lot is the share of its bad parts that escape, and K lots with bad parts are held
    out. If the next lot is exchangeable with them, its mean loss is at most (sum of losses + 1) /
    (K + 1), whatever its size (conformal risk control, arXiv 2208.02814, theorem 1). If K is too
    small for the rate asked, none of the bad parts escapes: then the promise is 1 / (K + 1).
    """
    labels, scores = metrics.check_both_classes(labels, scores)
    bad, number = labels == 1, metrics.group_numbers(groups, labels.size)
    sizes = np.bincount(number[bad])
    lots = int((sizes > 0).sum())
    ranked = np.argsort(scores[bad], kind="stable")
    losses = np.concatenate([[0], (1 / sizes[number[bad]])[ranked].cumsum()])  # of k escapes
    sweep = metrics.threshold_sweep(labels, scores)
    rates = (losses[sweep.n_escaped] + 1) / (lots + 1)
    is_kept = bool(rates[0] <= max_escape_rate + TOLERANCE)
    allowed = max_escape_rate if is_kept else rates[0]
    overkill = np.where(rates <= allowed + TOLERANCE, sweep.n_overkilled, np.inf)
    place = int(np.argmin(overkill))
    return Promise(float(sweep.thresholds[place]), float(rates[place]), is_kept)


def threshold_for_overkill_rate(good_scores: ArrayLike, max_overkill_rate: float) -> Promise:
    """Return the lowest threshold that promises an overkill rate, from held-out good parts alone.

    It is the rule "expected" with the classes exchanged: k of the n scores are above it.
    """
    scores = np.sort(good_scores)[::-1]
    rates = RULES["expected"](len(scores), np.arange(len(scores)))  # ascending
    n_kept = int((rates <= max_overkill_rate + TOLERANCE).sum())
    k = max(0, n_kept - 1)
    return Promise(float(scores[k]) + ROUNDING, float(rates[k]), n_kept > 0)


def effect(
    labels: ArrayLike, scores: ArrayLike, bins: Bins, groups: np.ndarray | None = None
) -> dict[str, float]:
    """Return counts and rates (with `rate_interval`) of the parts that two thresholds decide.

    `escapes` of the `bad` parts pass, `overkilled` of the `good` ones are rejected; `good_passed`
    is the share of the good ones that pass. `groups` (N,) are the units of the intervals; with them
    `lot_escape_rate` is the mean over lots of the share of their bad parts that pass.
    """
    labels, scores = metrics.check_both_classes(labels, scores)
    good, bad = labels == 0, labels == 1

    def rate(flags: np.ndarray, own: np.ndarray) -> Interval:
        return metrics.rate_interval(flags[own], None if groups is None else groups[own])

    passed, rejected = scores < bins.pass_below, scores >= bins.reject_from
    row: dict[str, float] = {"escapes": int((passed & bad).sum()), "bad": int(bad.sum())}
    row |= {"overkilled": int((rejected & good).sum()), "good": int(good.sum())}
    row |= with_ends("escape_rate", rate(passed, bad))
    row |= with_ends("overkill_rate", rate(rejected, good))
    if groups is not None:
        number = metrics.group_numbers(groups, labels.size)[bad]
        shares = np.bincount(number, passed[bad])[np.unique(number)] / np.unique_counts(number)[1]
        row |= with_ends("lot_escape_rate", metrics.mean_interval(shares))
    stopped, low, high = rate(~passed, good)
    return row | with_ends("good_passed", Interval(1 - stopped, 1 - high, 1 - low))


def reviewed_share(labels: ArrayLike, scores: ArrayLike, bins: Bins, bad_rate: float) -> float:
    """Return the share of all parts on a line with this bad rate that a person looks at again."""
    labels, scores = metrics.check_both_classes(labels, scores)
    flags = (scores >= bins.pass_below) & (scores < bins.reject_from)
    good, bad = (flags[labels == label].mean() for label in (0, 1))
    return float((1 - bad_rate) * good + bad_rate * bad)


def reject_threshold(labels: ArrayLike, scores: ArrayLike, pass_below: float, line: Line) -> float:
    """Return the threshold from which on parts are rejected, at least `pass_below`.

    Of the thresholds that send at most `line.review_share` of all parts to a person, it is the
    cheapest, or the highest if looks cost nothing. `pass_below` is one of `threshold_sweep`.
    """
    sweep = metrics.threshold_sweep(labels, scores)
    place = int(np.searchsorted(sweep.thresholds, pass_below))
    return float(sweep.thresholds[_reject_places(sweep, line)[place]])


def _reject_places(sweep: Sweep, line: Line) -> np.ndarray:
    """Return for each threshold of a sweep, taken as `pass_below`, the place of `reject_from`."""
    below, places = _share_below(sweep, line), np.arange(len(sweep.thresholds))
    last = np.searchsorted(below, below + line.review_share + TOLERANCE, side="right") - 1
    last = np.maximum(last, places)
    if not line.review_cost:
        return last
    cost = expected_cost(0.0, sweep.n_overkilled / sweep.n_overkilled[0], below, line).round(12)
    windows = zip(places, last, strict=True)
    return places + np.array([np.argmin(cost[first : end + 1]) for first, end in windows])


def _share_below(sweep: Sweep, line: Line) -> np.ndarray:
    good = 1 - sweep.n_overkilled / sweep.n_overkilled[0]
    return line.bad_rate * sweep.n_escaped / sweep.n_escaped[-1] + (1 - line.bad_rate) * good


def expected_cost(
    escape_rate: ArrayLike, overkill_rate: ArrayLike, reviewed: ArrayLike, line: Line
) -> np.ndarray:
    """Return the mean cost per part of escapes, overkill, and looks by a person (always right)."""
    escapes = line.bad_rate * np.asarray(escape_rate) * line.escape_cost
    overkill = (1 - line.bad_rate) * np.asarray(overkill_rate) * line.false_alarm_cost
    return escapes + overkill + np.asarray(reviewed) * line.review_cost


def cheapest_bins(labels: ArrayLike, scores: ArrayLike, line: Line) -> Bins:
    """Return the two lowest thresholds with the least expected cost."""
    sweep = metrics.threshold_sweep(labels, scores)
    places, below = _reject_places(sweep, line), _share_below(sweep, line)
    escape_rate = sweep.n_escaped / sweep.n_escaped[-1]
    overkill_rate = sweep.n_overkilled[places] / sweep.n_overkilled[0]
    cost = expected_cost(escape_rate, overkill_rate, below[places] - below, line)
    best = int(np.argmin(cost.round(12)))  # rounded: equal costs must compare equal
    return Bins(float(sweep.thresholds[best]), float(sweep.thresholds[places[best]]))
