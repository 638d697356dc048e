import numpy as np
import pytest

from helpers.core import metrics
from helpers.decisions import operating_point as op
from tests.decisions.test_escape_promise import random_parts

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
    assert not (scores[labels == 1] < found.threshold).any()
    # of four one may escape, but above the score that a bad part shares with a good one two have
    labels, scores = [1, 0, 1, 1, 1], [0.2, 0.4, 0.4, 0.6, 0.8]
    assert op.threshold_for_escape_rate(labels, scores, 0.4).threshold == pytest.approx(0.2)


def test_effects_are_counts_with_exact_intervals():
    row = op.effect(LABELS, SCORES, op.Bins(0.55, 0.55))
    counts = ("escapes", "bad", "overkilled", "good")
    assert [row[name] for name in counts] == [1, 4, 0, 4]
    at_it = op.effect(LABELS, SCORES, op.Bins(0.25, 0.5))  # at the threshold
    assert [at_it[name] for name in counts] == [0, 4, 1, 4]
    assert (at_it["good_passed"], at_it["overkill_rate"]) == (0.5, 0.25)
    ends = [row[f"escape_rate{end}"] for end in ("", "_low", "_high")]
    assert ends == pytest.approx([0.25, 0.0063095, 0.8058796], abs=1e-6)
    # None of 4: the upper end is 1 - 0.025^(1/4).
    none = 1 - 0.025**0.25
    assert (row["overkill_rate"], row["overkill_rate_high"]) == pytest.approx((0, none))
    assert (row["good_passed"], row["good_passed_low"]) == pytest.approx((1, 1 - none))


def test_with_equal_costs_the_most_accurate_threshold_is_chosen_and_of_equals_the_lowest():
    # 0.35 overkills 1 of 4 good parts, 0.55 lets 1 of 4 bad ones escape; the rarer bad ones are,
    # the higher the threshold
    for bad_rate, threshold in ((0.55, 0.35), (0.5, 0.35), (0.45, 0.55)):
        assert metrics.most_accurate_threshold(LABELS, SCORES, bad_rate) == pytest.approx(threshold)
    for seed in range(20):
        labels, scores = random_parts(seed, n=90)
        best = metrics.most_accurate_threshold(labels, scores, 1 / 3)
        right = {
            t: np.mean((scores >= t) == labels) for t in metrics.threshold_sweep(labels, scores)[0]
        }
        assert best == min(t for t in right if right[t] == max(right.values()))


def test_of_a_hundred_parts_three_bad_ones_escape_and_half_of_the_good_ones_leave():
    # 20 bad ones of which 3 pass, 80 good ones of which 40 are rejected: 3 of 43 that leave are bad
    assert op.outgoing_ppm(3 / 20, 1 / 2, 0.2) == pytest.approx(1e6 * 3 / 43)
