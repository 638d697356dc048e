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
        (0 * labels, (0.5, 0.5, 0.5)),  # equal scores guess by definition
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


# --- by groups ---------------------------------------------------------------------------------


def lots(n_groups=30, each=20, seed=0, between=2.0, inside=1.0):
    """Lots whose share of bad parts and whose scores vary together."""
    rng = np.random.default_rng(seed)
    level = rng.normal(size=n_groups)
    groups = np.repeat([f"lot{i:02d}" for i in range(n_groups)], each)
    labels = (rng.random(groups.size) < np.repeat(stats.norm.cdf(level), each)).astype(int)
    scores = between * np.repeat(level, each) + inside * labels + rng.normal(size=groups.size)
    return labels, scores, groups


def test_within_group_auc_is_the_weighted_mean_of_the_groups_own():
    labels = np.array([0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1])
    scores = np.array([1, 2, 3, 0, 1, 2, 3, 2.5, 4, 5, 9, 8, 7.0])
    groups = np.array(list("aaaa" + "bbbbbb" + "ccc"))
    # a: 2 good, 2 bad, AUC 2/4; b: 3 good, 3 bad, AUC 8/9; c has one good part and does not count
    found = metrics.within_group_auc(labels, scores, groups)
    assert found.estimate == pytest.approx((2 * 0.5 + 3 * 8 / 9) / 5)
    weights, mean = np.array([0.4, 0.6]), found.estimate
    se = np.sqrt((weights**2 * (np.array([0.5, 8 / 9]) - mean) ** 2 / (1 - weights)).sum())
    arm = special.logit(found.high) - special.logit(mean)
    freedom = 1 / 0.52 - 1  # 0.4^2 + 0.6^2
    assert arm == pytest.approx(stats.t.ppf(0.975, freedom) * se / (mean * (1 - mean)))
    sizes = np.repeat(np.arange(6), [6, 22, 22, 8, 12, 14])
    perfect = metrics.within_group_auc(np.tile([0, 1], 42), np.tile([0, 1], 42), sizes)
    # six groups; the weights may add up to more than 1
    assert perfect == pytest.approx((1, metrics.exact_interval(6, 6).low, 1))
    # no group has both classes
    assert np.isnan(metrics.within_group_auc([0, 1, 0, 1], [1, 2, 3, 4.0], list("abcd"))).all()


def obuchowski(labels, groups, *scores):
    """Covariance by Obuchowski's definition, in loops; DeLong's if each part is a group."""
    bad, good = labels == 1, labels == 0
    parts = {"bad": [], "good": []}
    for s in scores:
        wins = (s[bad][:, None] > s[good]) + 0.5 * (s[bad][:, None] == s[good])
        parts["bad"].append(wins.mean(axis=1) - wins.mean())
        parts["good"].append(wins.mean(axis=0) - wins.mean())
    covariance, names = np.zeros((len(scores), len(scores))), list(dict.fromkeys(groups))
    m, n, i10, i01 = bad.sum(), good.sum(), len({*groups[bad]}), len({*groups[good]})
    for r, s in np.ndindex(covariance.shape):
        for name in names:
            x = [parts["bad"][k][groups[bad] == name].sum() for k in (r, s)]
            y = [parts["good"][k][groups[good] == name].sum() for k in (r, s)]
            covariance[r, s] += i10 / (i10 - 1) * x[0] * x[1] / m**2
            covariance[r, s] += i01 / (i01 - 1) * y[0] * y[1] / n**2
            each = len(names) / (len(names) - 1)
            covariance[r, s] += each * (x[0] * y[1] + y[0] * x[1]) / (m * n)
    return covariance, min(i10, i01) - 1


@pytest.mark.parametrize("by_groups", [True, False])
def test_interval_and_difference_are_obuchowski_s_with_student_s_t_or_delong_s(by_groups):
    labels, a, groups = lots(n_groups=7, each=9)
    labels[groups < "lot03"] = 0  # bad parts in few of many lots
    rng = np.random.default_rng(1)
    b = a + np.repeat(rng.normal(0, 3, 7), 9) + rng.normal(0, 0.1, a.size)  # lots differ most
    a, b = np.round(a, 1), np.round(b, 1)  # with ties
    covariance, freedom = obuchowski(labels, groups if by_groups else np.arange(a.size), a, b)
    groups, freedom = (groups, freedom) if by_groups else (None, np.inf)
    quantile = stats.t.ppf(0.975, freedom)
    found = metrics.auc_difference(labels, a, b, groups)
    se = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert found.difference == metrics.roc_auc(labels, a) - metrics.roc_auc(labels, b)
    assert found.standard_error == pytest.approx(se)
    ends = [found.difference - quantile * se, found.difference + quantile * se]
    assert found[1:3] == pytest.approx(ends)
    assert found.p_value == pytest.approx(2 * stats.t.sf(abs(found.difference) / se, freedom))
    auc = metrics.auc_interval(labels, a, groups)
    se = np.sqrt(covariance[0, 0]) / (auc.estimate * (1 - auc.estimate))
    ends = special.logit(auc.estimate) + quantile * se * np.array([-1, 1])
    assert special.logit(auc[1:]) == pytest.approx(ends)


def test_a_class_in_one_group_says_nothing_about_other_groups():
    labels, a, b = np.repeat([0, 1], 20), np.arange(40), np.arange(40)[::-1].copy()
    a[19], a[20] = a[20], a[19]
    for groups in (["x"] * 20 + ["y"] * 20, ["x"] * 10 + ["y"] * 10 + ["z"] * 20, ["x"] * 40):
        assert metrics.auc_interval(labels, a, groups)[1:] == (0, 1)
        found = metrics.auc_difference(labels, a, b, groups)
        assert found[1:] == (-1, 1, 1, np.inf) and found.difference > 0.9
    assert metrics.within_group_auc(labels, a, ["x"] * 40)[1:] == (0, 1)
    assert metrics.auc_interval([0, 0, 1], [0.1, 0.3, 0.2])[1:] == (0, 1)  # one bad part


def test_sums_of_a_few_groups_that_cancel_are_not_taken_for_certainty():
    labels, scores, groups = [1, 1, 0, 0, 1, 1, 0, 0], np.arange(8), [1, 2] * 4
    found = metrics.auc_interval(labels, scores, groups)
    assert found.low < 0.01 and found.high > 0.9 and found.estimate == 0.25
    other = metrics.auc_difference(labels, scores, [3, 1, 2, 0, 7, 5, 6, 4], groups)
    assert other.low == -1 and other.high > 0.9 and other.p_value > 0.1
    assert metrics.mean_interval([0.3, 0.7] * 10, np.repeat(np.arange(10), 2)).low < 0.45


@pytest.mark.parametrize("n_groups", [4, 11])
def test_intervals_by_groups_keep_their_promise_with_few_groups(n_groups):
    truth = metrics.roc_auc(*lots(n_groups=4000, seed=99)[:2])
    covered = rejected = 0
    for seed in range(150):
        labels, a, groups = lots(n_groups, seed=seed)
        rng = np.random.default_rng(1000 + seed)
        level, noise = rng.normal(size=(2, n_groups)), rng.normal(size=(2, labels.size))
        one, other = labels + np.repeat(level, 20, axis=1) + noise  # two equally good models
        found = metrics.auc_interval(labels, a, groups)
        covered += found.low <= truth <= found.high
        rejected += metrics.auc_difference(labels, one, other, groups).p_value < 0.05
    assert covered >= 133 and rejected <= 15  # expected 142.5 and 7.5


def test_a_mean_by_groups_has_the_interval_of_the_groups_sums():
    values, groups = np.array([0.1, 0.3, 0.2, 0.6, 0.7]), ["x", "x", "y", "z", "z"]
    sums = np.array([0.4 - 2 * 0.38, 0.2 - 0.38, 1.3 - 2 * 0.38]) / 5
    arm = stats.t.ppf(0.975, 2) * np.sqrt(3 / 2 * (sums**2).sum()) / (0.38 * 0.62)
    found = metrics.mean_interval(values, groups)
    assert found.estimate == pytest.approx(0.38)
    assert special.logit(found.high) - special.logit(0.38) == pytest.approx(arm)
    alone = metrics.mean_interval(values)
    se = values.std(ddof=1) / np.sqrt(5)
    arm = stats.t.ppf(0.975, 4) * se / (0.38 * 0.62)
    assert special.logit(0.38) - special.logit(alone.low) == pytest.approx(arm)


def test_a_rate_without_an_event_counts_groups_and_not_parts():
    groups = np.repeat(np.arange(11), 20)
    for flags, count in ((groups < 0, 0), (groups >= 0, 11)):
        assert metrics.rate_interval(flags) == metrics.exact_interval(20 * count, 220)
        expected = metrics.exact_interval(count, 11)
        assert metrics.rate_interval(flags, groups) == pytest.approx(expected)
        alone = metrics.rate_interval(flags, [None] * 220)
        assert alone == pytest.approx(metrics.exact_interval(20 * count, 220))
    none, every = (metrics.rate_interval(np.full(220, flag), groups) for flag in (False, True))
    for k in range(1, 221):  # one event in many parts must not promise more than none
        found = metrics.rate_interval(np.arange(220) * 37 % 220 < k, groups)
        assert found.high >= none.high and (found.low <= every.low or k == 220)


@pytest.mark.parametrize(("n_groups", "rate", "alike"), [(11, 0.02, 5), (20, 0.3, 3), (11, 0.1, 5)])
def test_rates_by_groups_hold_the_truth_where_parts_fail_together(n_groups, rate, alike):
    groups, covered, independent = np.repeat(np.arange(n_groups), 20), 0, 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        failing = rng.beta(rate * alike, (1 - rate) * alike, n_groups)
        flags = rng.random(groups.size) < failing[groups]
        found, exact = metrics.rate_interval(flags, groups), metrics.rate_interval(flags)
        covered += found.low <= rate <= found.high
        independent += exact.low <= rate <= exact.high
    assert covered >= 180 and independent < 160  # 190 expected, 3.1 standard deviation
