import numpy as np
import pytest
from scipy import stats

from helpers.results import metrics


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
    assert found.n_groups == 2
    assert found.auc.estimate == pytest.approx((2 * 0.5 + 3 * 8 / 9) / 5)
    assert 0.5 <= found.auc.low <= found.auc.estimate <= found.auc.high <= 8 / 9 + 1e-12


def test_a_score_that_tells_the_groups_alone_has_a_within_group_auc_of_one_half():
    labels, scores, groups = lots(inside=0.0, n_groups=60)
    assert metrics.roc_auc(labels, scores) > 0.7
    assert metrics.within_group_auc(labels, scores, groups).auc.estimate == pytest.approx(
        0.5, abs=0.05
    )


def test_without_a_group_of_both_classes_there_is_no_within_group_auc():
    assert metrics.within_group_auc([0, 1, 0, 1], [1, 2, 3, 4.0], list("abcd")) is None


def test_groups_widen_the_interval_and_groups_of_one_do_not():
    labels, scores, groups = lots()
    alone = metrics.bootstrap_interval(labels, scores, seed=1)
    wide = metrics.bootstrap_interval(labels, scores, seed=1, groups=groups)
    single = metrics.bootstrap_interval(labels, scores, seed=1, groups=np.arange(labels.size))
    missing = metrics.bootstrap_interval(labels, scores, seed=1, groups=[None] * labels.size)
    assert wide.high - wide.low > 1.5 * (alone.high - alone.low)
    assert single.high - single.low == pytest.approx(alone.high - alone.low, rel=0.15)
    assert missing == single  # a part without a group is a group of its own
    assert wide.estimate == alone.estimate


def test_groups_widen_the_interval_of_a_difference():
    rng = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(20), 50), np.tile([0, 1], 500)
    right = np.repeat(
        rng.normal(scale=2, size=20), 50
    )  # in some lots a model ranks the wrong way round
    a, b = labels * right + rng.normal(size=1000), rng.normal(size=1000)
    alone, wide = (metrics.paired_bootstrap(labels, a, b, groups=own) for own in (None, groups))
    assert wide.difference == alone.difference
    assert wide.high - wide.low > 1.5 * (alone.high - alone.low)
    assert metrics.auc_difference(labels, a, b, groups).high > alone.high


def test_the_interval_by_groups_covers_the_truth_of_new_groups():
    rng_truth = metrics.roc_auc(*lots(n_groups=4000, seed=99)[:2])
    covered = 0
    for seed in range(60):
        labels, scores, groups = lots(seed=seed)
        found = metrics.bootstrap_interval(labels, scores, n_resamples=200, groups=groups)
        covered += found.low <= rng_truth <= found.high
    assert covered >= 50  # 57 are expected, 54 do; of the intervals that ignore the groups 43


def test_an_auc_has_the_interval_of_its_split_and_none_from_few_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 20)
    labels = (rng.random(240) < np.repeat(rng.random(12), 20)).astype(int)
    scores = labels + np.repeat(rng.normal(size=12), 20) + rng.normal(size=240)
    assert metrics.auc_interval(labels, scores) == metrics.delong_interval(labels, scores)
    grouped = metrics.auc_interval(labels, scores, groups)
    assert grouped == metrics.bootstrap_interval(labels, scores, groups=groups)
    few = metrics.auc_interval(labels, scores, groups // 3)
    assert few.estimate == metrics.roc_auc(labels, scores) and np.isnan([few.low, few.high]).all()
