"""Promised escape rates hold in simulation; the bins between pass and reject are the right ones."""

import functools
import itertools

import numpy as np
import pytest
from scipy import stats

from helpers.core import metrics, paths
from helpers.core.rules import SettingsError
from helpers.decisions import operating_point as op

DRAWS = 2000


def test_the_chance_of_escapes_is_that_of_a_threshold_that_was_drawn_too():
    rng = np.random.default_rng(0)
    thresholds = np.sort(rng.normal(size=(20_000, 2, 50)))[..., 1:2]  # k = 1 of n = 50, twice
    escaped = (rng.normal(size=(20_000, 2, 80)) < thresholds).sum(axis=2)
    for counts, n_new in ((escaped[:, 0], 80), (escaped.sum(axis=1), [80, 80])):
        for most in (1, 5, 9, 14):
            chance, seen = op.chance_of_escapes(most, n_new, 50, 2 / 51), np.mean(counts >= most)
            assert abs(chance - seen) < 4 * np.sqrt(chance * (1 - chance) / len(counts))
    # by hand: one part held out and two new ones are in any order
    assert [op.chance_of_escapes(k, 2, 1, 1 / 2) for k in (1, 2)] == pytest.approx([2 / 3, 1 / 3])


@pytest.mark.parametrize(("n_good", "k"), [(20, 0), (99, 4), (10, 0)])
def test_the_promised_overkill_holds_for_good_parts_alone(n_good, k):
    rng = np.random.default_rng(n_good)
    drawn = [op.threshold_for_overkill_rate(rng.normal(size=n_good), 0.05) for _ in range(DRAWS)]
    rates = stats.norm.sf([promise.threshold for promise in drawn])  # of new good parts
    error = rates.std(ddof=1) / np.sqrt(DRAWS)
    promise = drawn[0]
    assert (promise.rate, promise.is_kept) == (pytest.approx((k + 1) / (n_good + 1)), n_good > 18)
    assert abs(rates.mean() - promise.rate) < 4 * error  # all of what may be, and no more


@pytest.mark.parametrize("n_bad", [1, 20, 150, 492, 3000])
@pytest.mark.parametrize("asked", [0.001, 0.01, 0.2])
def test_the_confident_promise_is_the_binomial_one(n_bad, asked):
    kept = op.RULES["confident"](n_bad, np.arange(n_bad)) <= asked
    binomial = stats.binom.cdf(np.arange(n_bad), n_bad, asked) <= 0.05
    np.testing.assert_array_equal(kept, binomial)


@pytest.mark.parametrize("asked", [1.0, 0.5, 0.05, 0.01, 0.002, 1 / 151])
def test_the_number_of_parts_needed_is_the_smallest_that_keeps_the_promise(asked):
    n, rule = int(op.parts_needed(asked)), op.RULES["expected"]
    assert rule(n, 0) <= asked + 1e-12 and (n == 1 or rule(n - 1, 0) > asked)
    assert (op.parts_needed(0.01), op.parts_needed(0)) == (99, np.inf)


def random_parts(seed, n=36):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([0, 1], [n - n // 3, n // 3]))
    return labels, (rng.normal(size=n) + 1.5 * labels).round(1)


def cost_of(labels, scores, bins, line):
    """The expected cost of two thresholds, by hand."""
    passed, rejected = scores < bins[0], scores >= bins[1]
    looked = ~passed & ~rejected
    cost = 0.0
    for label, weight in ((0, 1 - line.bad_rate), (1, line.bad_rate)):
        own = labels == label
        wrong = line.escape_cost * passed[own] if label else line.false_alarm_cost * rejected[own]
        cost += weight * (wrong + line.review_cost * looked[own]).mean()
    return cost


@pytest.mark.parametrize("seed", range(5))
def test_a_person_looks_at_no_more_than_the_share_and_at_no_less_than_possible(seed):
    labels, scores = random_parts(seed)
    sweep = metrics.threshold_sweep(labels, scores).thresholds

    def share(low, high):
        return op.reviewed_share(labels, scores, op.Bins(low, high), 0.2)

    for most, low in itertools.product((0.0, 0.1, 0.35, 1.0), sweep[::6]):
        high = op.reject_threshold(labels, scores, low, op.Line(0.2, review_share=most))
        looked = [share(low, threshold) for threshold in sweep[sweep >= low]]
        assert share(low, high) == pytest.approx(max(s for s in looked if s <= most + 1e-9))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "line", [(0.2, 20, 2, 0.2, 0.3), (0.2, 20, 2, 1, 0.3), (0.05, 20, 2, 1, 3)]
)
def test_the_cheapest_bins_are_the_cheapest_of_all_pairs(seed, line):
    labels, scores = random_parts(seed)
    sweep, line = metrics.threshold_sweep(labels, scores).thresholds, op.Line(*line)
    costs = {
        bins: cost_of(labels, scores, bins, line)
        for bins in itertools.starmap(op.Bins, itertools.combinations_with_replacement(sweep, 2))
        if op.reviewed_share(labels, scores, bins, line.bad_rate) <= line.review_share + 1e-9
    }
    bins = op.cheapest_bins(labels, scores, line)
    assert cost_of(labels, scores, bins, line) == pytest.approx(min(costs.values()))
    low = sweep[len(sweep) // 3]
    high = op.reject_threshold(labels, scores, low, line)
    own = min(cost for bins, cost in costs.items() if bins.pass_below == low)
    assert cost_of(labels, scores, (low, high), line) == pytest.approx(own)
    if line.review_cost > line.false_alarm_cost:
        assert bins.pass_below == bins.reject_from


ICCS = (0.0, 0.2, 0.5)
LOTS, PARTS, RATE, MEMBERS = 30, 20, 0.1, 3


@functools.cache
def deployed_rates(icc, rule):
    """The escape rate of the thresholds of each draw, in closed form, for bad parts of new lots.

    The deployed score N(0, 1) is the average of `MEMBERS` trainings with errors of their own, for
    the parts held out as for new ones; `icc` is the share of its variance between lots.
    """
    rng = np.random.default_rng(3)
    shape = (DRAWS, LOTS, PARTS)
    errors = 0.5 * rng.normal(size=(*shape, MEMBERS)).mean(axis=-1)
    parts = np.sqrt(1 - icc - 0.25 / MEMBERS) * rng.normal(size=shape)
    lots = np.sqrt(icc) * rng.normal(size=(DRAWS, LOTS, 1))
    good = rng.normal(-1.4, 0.4, (DRAWS, 200))
    scores = np.hstack([(lots + parts + errors).reshape(DRAWS, -1), good])
    labels = np.repeat([1, 0], [LOTS * PARTS, 200])
    return stats.norm.cdf(
        [op.threshold_for_escape_rate(labels, own, RATE, rule).threshold for own in scores]
    )


@pytest.mark.parametrize("icc", ICCS)
def test_the_deployed_average_keeps_its_promise_for_independent_parts(icc):
    expected, confident = (deployed_rates(icc, rule) for rule in op.RULES)
    # by more than three standard errors: the mean is too high, more than 5 % of the draws fail
    error, share_error = np.array([expected.std(ddof=1), (0.05 * 0.95) ** 0.5]) / DRAWS**0.5
    assert (expected.mean() > RATE + 3 * error) == (icc > 0.2)
    assert ((confident > RATE).mean() > 0.05 + 3 * share_error) == (icc > 0)


def test_the_readme_of_the_notebooks_has_the_simulated_rates():
    text = (paths.notebooks_root() / "README.md").read_text()
    for icc in ICCS:
        expected, confident = (deployed_rates(icc, rule) for rule in op.RULES)
        row = f"| {icc:g} | {100 * expected.mean():.1f} % | {100 * (confident > RATE).mean():.1f} %"
        assert row in text.replace("**", "")


def test_a_rule_that_nobody_knows_is_refused_and_a_cell_may_add_one(monkeypatch):
    with pytest.raises(SettingsError, match="rule 'expectd' is not one of expected, confident"):
        op.threshold_for_escape_rate([0, 1], [0.1, 0.9], 0.5, "expectd")
    monkeypatch.setitem(op.RULES, "bold", lambda n, k: k / n)
    labels, scores = [1, 1, 1, 1, 0], [0.1, 0.2, 0.3, 0.4, 0.35]
    assert op.threshold_for_escape_rate(labels, scores, 0.75, "bold").rate == 0.75


LABELS = np.array([0, 0, 0, 1, 0, 1, 1, 1])
SCORES = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.9])


def test_sweep_counts_escapes_and_overkill_between_all_neighbouring_scores_and_floats():
    thresholds, n_escaped, n_overkilled = metrics.threshold_sweep([1, 0, 1], [0.2, 0.4, 0.8])
    assert thresholds[:3] == pytest.approx([0.2, 0.3, 0.6])
    assert thresholds[3] > 0.8
    assert n_escaped.tolist() == [0, 1, 1, 2]
    assert n_overkilled.tolist() == [1, 1, 0, 0]
    assert n_escaped.dtype == n_overkilled.dtype == int
    low, high = 0.5, np.nextafter(0.5, 1)
    threshold = metrics.most_accurate_threshold([0, 0, 1], [0.1, low, high], 1 / 3)
    assert low < threshold <= high


def test_threshold_for_escape_rate_on_eight_parts_and_whether_the_promise_is_kept():
    # the four bad parts score .4, .6, .8 and .9, and (k + 1) / 5 is promised
    def promise(rate):
        return op.threshold_for_escape_rate(LABELS, SCORES, rate)

    assert promise(0.2) == promise(0.39) == pytest.approx((0.35, 0.2, True))
    assert promise(0.4) == pytest.approx((0.55, 0.4, True))
    # No good part scores above 0.55, so that letting more escape would gain nothing.
    assert promise(1) == pytest.approx((0.55, 0.8, True))
    # too few bad parts: none may escape
    assert promise(0) == promise(0.19) == pytest.approx((0.35, 0.2, False))
    confident = op.threshold_for_escape_rate(LABELS, SCORES, 0.5, "confident")
    assert confident == pytest.approx((0.35, 1 - 0.05**0.25, False))


def test_equal_scores_stay_on_the_safe_side():
    labels, scores = np.repeat([1, 0], [30, 5]), np.repeat([0.2, 0.7, 0.5], [10, 20, 5])
    # two of 30 may escape, but ten bad parts share the lowest score: none does
    found = op.threshold_for_escape_rate(labels, scores, 0.1)
    assert found.threshold <= 0.2
    # of four one may escape, but above the score that a bad part shares with a good one two have
    labels, scores = [1, 0, 1, 1, 1], [0.2, 0.4, 0.4, 0.6, 0.8]
    assert op.threshold_for_escape_rate(labels, scores, 0.4).threshold == pytest.approx(0.2)
    # equal good parts pass together: k = 3 of 39
    good = op.threshold_for_overkill_rate(np.repeat([0.2, 0.7], [30, 9]), 0.1)
    assert good.threshold == pytest.approx(0.7, abs=2e-6) and good.threshold > 0.7


def test_effects_are_counts_with_exact_intervals():
    row = op.effect(LABELS, SCORES, op.Bins(0.2, 0.5))  # one score is at each threshold
    counts = ("escapes", "bad", "overkilled", "good")
    assert [row[name] for name in counts] == [0, 4, 1, 4]
    for name in ("good_passed", "overkill_rate"):
        found = [row[f"{name}{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx([0.25, 0.0063095, 0.8058796], abs=1e-6)
    assert row["escape_rate_high"] == pytest.approx(1 - 0.025**0.25)


def test_the_most_accurate_threshold_is_chosen_and_of_equals_the_lowest():
    for seed in range(20):
        labels, scores = random_parts(seed, n=90)
        best = metrics.most_accurate_threshold(labels, scores, 1 / 3)
        sweep = metrics.threshold_sweep(labels, scores).thresholds
        right = {t: np.mean((scores >= t) == labels) for t in sweep}
        assert best == min(t for t in right if right[t] == max(right.values()))


def test_the_threshold_for_the_next_lot_is_that_of_a_search_through_all_thresholds():
    rng = np.random.default_rng(1)
    lots, labels = rng.integers(0, 12, 300), (rng.random(300) < 0.3).astype(int)
    scores = (rng.normal(size=300) + labels + 0.5 * rng.normal(size=12)[lots]).round(1)  # ties
    of_bad = [scores[(lots == lot) & (labels == 1)] for lot in range(12)]
    for asked in (0.01, 0.1, 0.2, 0.5):
        places = np.unique(np.append(scores, np.inf))
        rates = [(sum(np.mean(own < t) for own in of_bad) + 1) / 13 for t in places]
        kept = [rate <= max(asked, min(rates)) + 1e-9 for rate in rates]
        passed = max(np.mean(scores[labels == 0] < t) for t in places[kept])
        found = op.threshold_for_lots(labels, scores, lots, asked)
        assert np.mean(scores[labels == 0] < found.threshold) == passed
        assert found.rate == pytest.approx(
            (sum(np.mean(own < found.threshold) for own in of_bad) + 1) / 13
        )
        assert found.is_kept == (asked >= 1 / 13)


def test_the_promise_for_the_next_lot_is_kept_where_lots_differ_and_counting_parts_breaks_it():
    rng, lost = np.random.default_rng(0), []
    for _ in range(600):
        lots = np.repeat(np.arange(20), rng.integers(1, 25, 20))
        scores = (0.5**0.5) * (rng.normal(size=20)[lots] + rng.normal(size=lots.size))
        labels, all_scores = np.repeat([1, 0], lots.size), np.concatenate([scores, scores + 9])
        groups = np.concatenate([lots, lots])
        by_lots = op.threshold_for_lots(labels, all_scores, groups, 0.1)
        assert by_lots.rate <= 0.1 + 1e-9
        lost.append(stats.norm.cdf(by_lots.threshold))
    error = np.std(lost) / len(lost) ** 0.5
    assert np.mean(lost) < 0.1 + 3 * error
