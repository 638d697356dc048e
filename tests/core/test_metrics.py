import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from helpers.core import metrics


def made_up(seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(200) < 0.4).astype(int)
    return labels, special.expit(rng.normal(size=200) + labels).round(1)  # with ties


def test_the_auc_agrees_with_scikit_learn_and_a_tie_is_half_a_pair():
    # 10 of the 12 pairs are ranked right, one of them is a tie
    labels, scores = [1, 1, 1, 0, 0, 0, 0], [0.9, 0.6, 0.4, 0.5, 0.4, 0.3, 0.1]
    assert metrics.roc_auc(labels, scores) == pytest.approx(10.5 / 12)
    for seed in range(5):
        labels, scores = made_up(seed=seed)
        assert metrics.roc_auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
    labels = np.repeat([0, 1], [7, 13])  # as many pairs ranked right have exactly one AUC
    one, other = np.arange(20.0), np.arange(20.0)
    one[[6, 7]], other[5] = one[[7, 6]], 7.5  # each ranks one pair wrong
    assert metrics.auc_interval(labels, one).estimate == metrics.auc_interval(labels, other)[0]
    assert metrics.roc_auc(labels, one) == 90 / 91


def test_perfect_separation_has_the_exact_interval_of_the_rarer_class():
    labels = np.repeat([1, 0], [8, 40])
    exact = stats.binomtest(8, 8).proportion_ci(0.95, method="exact").low
    for scores, ends in (
        (labels, (1, exact, 1)),
        (-labels, (0, 0, 1 - exact)),
        (0 * labels, (0.5, exact / 2, 1 - exact / 2)),
    ):
        assert metrics.auc_interval(labels, scores) == pytest.approx(ends)
    groups = np.r_[[0, 0, 1, 1, 2, 2, 3, 3], np.arange(40) % 5]  # five: two pairs share no group
    of_two = stats.binomtest(2, 2).proportion_ci(0.95, method="exact").low
    assert metrics.auc_interval(labels, labels, groups).low == pytest.approx(of_two)


@pytest.mark.parametrize(("bad", "good", "auc"), [(6, 6, 0.97), (4, 30, 0.97), (10, 10, 0.95)])
def test_intervals_hold_the_truth_although_some_samples_are_separated(bad, good, auc):
    labels, shift = np.repeat([1, 0], [bad, good]), np.sqrt(2) * stats.norm.ppf(auc)
    covered = separated = 0
    for seed in range(400):
        scores = np.random.default_rng(seed).normal(size=labels.size) + shift * labels
        found = metrics.auc_interval(labels, scores)
        covered += found.low <= auc <= found.high
        separated += found.estimate == 1
    assert covered >= 371 and separated > 40  # 380 expected, 4.4 standard deviation


def test_a_perfect_and_a_constant_model_differ_by_what_few_pairs_can_tell():
    few, many = np.tile([0, 1], 3), np.tile([0, 1], 13)
    found = metrics.auc_difference(few, few, 0 * few)
    assert found.difference == 0.5 and found.low < 0 and found.p_value > 0.5
    found = metrics.auc_difference(many, many, 0 * many)
    assert found.low > 0.1 and found.p_value == pytest.approx(2 * (2 / 3) ** 13)
    assert 1.96 * found.standard_error == pytest.approx((found.high - found.low) / 2, rel=1e-4)
    reversed_one = metrics.auc_difference(many, many, -many)  # the sign test
    assert reversed_one.p_value == pytest.approx(stats.binomtest(13, 13).pvalue)
    other = many + np.linspace(0, 0.5, many.size)[::-1]  # perfect too, in another order
    assert metrics.auc_difference(many, many, other)[0::3] == (0, 1)
    assert metrics.auc_difference(many, many, other).low < -0.2


@pytest.mark.parametrize(
    ("labels", "scores", "culprit"),
    [
        ([0, 1, 2], [0, 0, 0], "[0, 1, 2]"),
        ([[0, 1]], [[0, 1]], "(1, 2)"),
        ([], [], "(0,)"),
        ([0, 1, np.nan], [0, 0, 0], "nan"),
        ([0, 1], [0.5], "2 labels"),
        ([0, 1], [0.5, np.nan], "nan"),
        ([1, 1], [0.5, 0.6], "[1]"),
    ],
)
def test_unusable_labels_and_scores_are_named(labels, scores, culprit):
    with pytest.raises(ValueError) as error:
        metrics.roc_auc(labels, scores)
    assert culprit in str(error.value)
