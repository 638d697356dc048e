import numpy as np
import pytest
from scipy import special, stats
from sklearn import metrics as sk

from helpers.core import metrics


def made_up(n=200, seed=0, shift=1.0, ties=True):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    labels[:2] = 0, 1
    scores = special.expit(rng.normal(size=n) + shift * labels)
    return labels, scores.round(1) if ties else scores


def pairwise_delong(labels, *scores):
    """Covariance by DeLong's definition over all pairs of parts, O(n^2)."""
    v_bad, v_good = [], []
    for s in scores:
        bad, good = s[labels == 1], s[labels == 0]
        wins = (bad[:, None] > good[None, :]) + 0.5 * (bad[:, None] == good[None, :])
        v_bad.append(wins.mean(axis=1) - wins.mean())
        v_good.append(wins.mean(axis=0) - wins.mean())
    v_bad, v_good = np.array(v_bad), np.array(v_good)
    m, n = v_bad.shape[1], v_good.shape[1]
    return v_bad @ v_bad.T / (m - 1) / m + v_good @ v_good.T / (n - 1) / n


def test_auc_and_f1_agree_with_scikit_learn_and_a_tie_is_half_a_pair():
    # 10 of the 12 pairs are ranked right, one of them is a tie
    labels, scores = [1, 1, 1, 0, 0, 0, 0], [0.9, 0.6, 0.4, 0.5, 0.4, 0.3, 0.1]
    assert metrics.roc_auc(labels, scores) == pytest.approx(10.5 / 12)
    for seed in range(5):
        labels, scores = made_up(seed=seed)
        called = scores >= 0.6
        assert metrics.roc_auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
        assert metrics.f1(labels, scores, 0.6) == pytest.approx(sk.f1_score(labels, called))


def test_models_that_rank_equally_many_pairs_right_have_exactly_one_auc():
    labels = np.repeat([0, 1], [7, 13])
    one, other = np.arange(20.0), np.arange(20.0)
    one[[6, 7]], other[5] = one[[7, 6]], 7.5  # each ranks one pair wrong
    assert metrics.auc_interval(labels, one).estimate == metrics.auc_interval(labels, other)[0]
    assert metrics.roc_auc(labels, one) == 90 / 91


def test_a_score_on_the_threshold_is_called_bad_and_f1_without_bad_parts_is_zero():
    assert metrics.f1([1, 0], [0.5, 0.49]) == 1.0
    assert metrics.f1([0, 0], [0.1, 0.2]) == 0.0


def test_the_interval_is_symmetric_on_the_logit_and_holds_the_estimate():
    labels, scores = made_up(ties=False)
    interval = metrics.auc_interval(labels, scores)
    auc = sk.roc_auc_score(labels, scores)
    se = np.sqrt(pairwise_delong(labels, scores)[0, 0]) / (auc * (1 - auc))
    assert interval.estimate == pytest.approx(auc)
    assert special.logit(interval.low) == pytest.approx(special.logit(auc) - 1.959964 * se)
    assert special.logit(interval.high) == pytest.approx(special.logit(auc) + 1.959964 * se)


def test_the_interval_of_a_perfect_a_reversed_and_a_constant_model_is_a_point():
    for scores, auc in (([0.1, 0.2, 0.8, 0.9], 1), ([0.9, 0.8, 0.2, 0.1], 0), ([0.5] * 4, 0.5)):
        assert metrics.auc_interval([0, 0, 1, 1], scores) == (auc, auc, auc)


def test_the_paired_difference_agrees_with_the_definition_over_all_pairs():
    labels, a = made_up(seed=1)
    b = (a + np.random.default_rng(2).normal(size=a.size) * 0.3).round(1)
    result = metrics.auc_difference(labels, a, b)
    c = pairwise_delong(labels, a, b)
    difference = sk.roc_auc_score(labels, a) - sk.roc_auc_score(labels, b)
    se = np.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1])
    assert result.difference == pytest.approx(difference)
    assert result.p_value == pytest.approx(2 * (1 - stats.norm.cdf(abs(difference) / se)))
    assert result.low == pytest.approx(difference - 1.959964 * se)
    assert result.high == pytest.approx(difference + 1.959964 * se)


def test_the_paired_test_finds_no_difference_between_a_model_and_its_own_ranks():
    labels, scores = made_up()
    result = metrics.auc_difference(labels, scores, stats.rankdata(scores))
    assert result == pytest.approx((0, 0, 0, 1), abs=1e-12)
    perfect = np.array([0.1, 0.2, 0.8, 0.9])
    assert metrics.auc_difference([0, 0, 1, 1], perfect, -perfect) == (1, 1, 1, 0)


def test_exact_interval_agrees_with_scipy():
    for count, total in [(0, 40), (1, 40), (3, 40), (40, 40)]:
        expected = stats.binomtest(count, total).proportion_ci(0.95, method="exact")
        got = metrics.exact_interval(count, total)
        assert got == pytest.approx((count / total, expected.low, expected.high))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1, 2], [0, 0, 0], "0 (good) and 1 (bad), got shape (3,) with values [0, 1, 2]"),
        ([[0, 1]], [[0, 1]], "got shape (1, 2) with values [0, 1]"),
        ([], [], "labels must be a non-empty list of 0 (good) and 1 (bad), got shape (0,)"),
        ([0, 1, np.nan], [0, 0, 0], "leave hidden labels out"),
        ([0, 1], [0.5], "2 labels but scores of shape (1,)"),
        ([0, 1], [0.5, np.nan], "1 scores are not finite numbers"),
        ([1, 1], [0.5, 0.6], "all 2 labels are 1; good and bad parts are both needed"),
    ],
)
def test_unusable_labels_and_scores_are_named(labels, scores, message):
    with pytest.raises(ValueError) as error:
        metrics.roc_auc(labels, scores)
    assert message in str(error.value)
