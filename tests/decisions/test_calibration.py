import numpy as np
import pytest
from scipy import special
from sklearn.linear_model import LogisticRegression

from helpers.decisions import calibration

RATES = (0.31, 0.02)


@pytest.mark.parametrize("bad_rate", [0.5, 0.1])
def test_temperature_is_the_slope_of_a_logistic_regression_on_platt_s_targets(bad_rate):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 60)
    labels = (rng.random(60) < special.expit(logits)).astype(int)
    scores = special.expit(3 * logits)  # three times too sure
    n_bad, n_good = labels.sum(), (1 - labels).sum()
    target = np.where(labels == 1, (n_bad + 1) / (n_bad + 2), 1 / (n_good + 2))
    weight = np.where(labels == 1, bad_rate / labels.mean(), (1 - bad_rate) / (1 - labels.mean()))
    # each part twice: as a bad one with the weight of its target, as a good one with the rest
    slope = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10).fit(
        np.tile(special.logit(scores), 2)[:, None],
        np.repeat([1, 0], 60),
        sample_weight=np.concatenate([weight * target, weight * (1 - target)]),
    )
    temperature = calibration.temperature_scale(labels, scores, bad_rate)
    assert temperature == pytest.approx(1 / slope.coef_[0, 0], rel=1e-5)


@pytest.mark.parametrize(("n", "surest"), [(1, 2 / 3), (10, 11 / 12), (150, 151 / 152)])
def test_parts_that_are_told_apart_make_a_model_as_sure_as_their_number_allows(n, surest):
    labels, scores = np.repeat([0, 1], n), np.repeat([0.01, 0.99], n)
    temperature = calibration.temperature_scale(labels, scores, 0.5)
    assert calibration.apply_temperature([0.99], temperature) == pytest.approx(surest, abs=1e-3)


def test_applying_a_temperature_divides_the_logit():
    # logit(0.9) = log 9, half of it is log 3.
    assert calibration.apply_temperature([0.9, 0.5], 2) == pytest.approx([0.75, 0.5])
    assert (calibration.apply_temperature(np.float32([0, 1]), 2) % 1 > 0).all()  # not rounded


def test_certain_scores_keep_a_finite_temperature():
    temperature = calibration.temperature_scale([0, 0, 1, 1], [0.0, 0.1, 0.8, 1.0], 0.5)
    assert 1 < temperature <= 20
    assert np.isfinite(calibration.apply_temperature([0.0, 1.0], temperature)).all()


def test_at_the_bad_rate_of_a_line_the_odds_change_by_the_ratio_of_the_odds_of_both_rates():
    like_bad, like_good = 0.1, 0.05  # of such a score
    data, line = (rate * like_bad / (rate * like_bad + (1 - rate) * like_good) for rate in RATES)
    assert calibration.at_bad_rate([data], *RATES) == pytest.approx([line])
    for rate in (0.0, 0.3, 1.0):
        same = calibration.at_bad_rate([0.0, 0.7, 1.0], rate, rate)
        assert same == pytest.approx([0, 0.7, 1])
