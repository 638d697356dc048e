"""The random-intercept model of lots beside numerical integrals and drawn lots."""

import numpy as np
import pytest
from scipy import integrate, special, stats

from helpers.decisions import lot_offset
from helpers.decisions.lot_offset import LotModel


def test_the_offset_is_the_posterior_mean_by_numerical_integration():
    model = LotModel(-0.7, 1.6, 1.3)
    scores, labels = np.array([0.1, 0.4, 0.8, 0.55]), np.array([1, 0, 1, 1])

    def density(d):
        p = special.expit(-0.7 + 1.6 * special.logit(scores) + d)
        return np.prod(np.where(labels == 1, p, 1 - p)) * stats.norm.pdf(d, scale=1.3)

    moments = [integrate.quad(lambda d, k=k: d**k * density(d), -15, 15)[0] for k in range(3)]
    mean = moments[1] / moments[0]
    found = lot_offset.offset(model, labels, scores)
    assert found.shift == pytest.approx(mean / 1.6, rel=1e-6)
    assert found.error == pytest.approx((moments[2] / moments[0] - mean**2) ** 0.5 / 1.6, rel=1e-6)
    assert found.parts == 4
    # without labels nothing moves, and the lot's spread is what is unknown
    assert lot_offset.offset(model, [], []) == (0, pytest.approx(1.3 / 1.6), 0)


def test_the_fitted_model_has_the_largest_likelihood_and_is_near_the_one_that_drew_the_lots():
    rng = np.random.default_rng(0)
    lots = np.repeat(np.arange(150), rng.integers(5, 40, 150))
    s, d = rng.normal(0, 1.5, lots.size), rng.normal(0, 1.3, 150)[lots]
    labels = (rng.random(lots.size) < special.expit(0.5 + 1.8 * s + d)).astype(int)
    found = lot_offset.fit(labels, special.expit(s), lots)
    assert np.abs(np.subtract(found, (0.5, 1.8, 1.3))).max() < 0.25

    at, step = np.linspace(-8, 8, 801, retstep=True)  # of the offset, in units of tau

    def likelihood(a, b, tau):
        signed = np.where(labels == 1, 1, -1)[:, None]
        each = -np.logaddexp(0, -signed * (a + b * s[:, None] + tau * at))
        by_lot = np.add.reduceat(each, np.flatnonzero(np.diff(lots, prepend=-1)))
        return special.logsumexp(by_lot + stats.norm.logpdf(at) + np.log(step), axis=1).sum()

    best = likelihood(*found)
    for move in (*0.05 * np.eye(3), *-0.05 * np.eye(3)):
        assert likelihood(*np.add(found, move)) < best


def test_fewer_than_five_lots_say_nothing_about_their_spread():
    assert lot_offset.fit([0, 1] * 4, np.linspace(0.1, 0.9, 8), np.repeat(range(4), 2)) is None


def test_scores_of_other_lots_stay_bit_for_bit():
    scores = np.array([0.1, 1 / 3, 1 - 1e-9])
    assert (lot_offset.moved(scores, np.zeros(3)) == scores).all()
    expected = special.expit(special.logit(1 / 3) - 2)
    assert lot_offset.moved(scores, [0, -2, 0])[1] == pytest.approx(expected)
