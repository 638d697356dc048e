"""The bet against a promise: a kept one is rarely called broken, however often one looks."""

import numpy as np
import pytest

from helpers.results import betting

PROMISED, LINES, LOTS, PARTS, AUDITED = 0.02, 400, 150, 400, 0.02


def broken(escape_rate: float, alike: float, seed: int = 0) -> float:
    """Return on how many lines the capital ever breaks the promise; lots differ in all rates."""
    rng = np.random.default_rng(seed)
    shape = (LINES, LOTS)
    bad = rng.binomial(PARTS, rng.beta(1, 20, shape))
    rates = np.full(shape, escape_rate)
    if alike:  # the escapes of a lot are, by an intraclass correlation
        rates = rng.beta(*(np.array([escape_rate, 1 - escape_rate]) * (1 / alike - 1)), shape)
    escaped = rng.binomial(bad, rates)
    passed = escaped + rng.binomial(PARTS - bad, 0.8)
    audited = np.ceil(AUDITED * passed).astype(int)
    seen = rng.hypergeometric(escaped, passed - escaped, audited)
    share = seen / np.maximum(audited, 1) * passed / PARTS
    gains = betting.gain(share, (bad - escaped) / PARTS, PROMISED)
    assert gains.min() >= -1
    ever = [betting.capital(line).max() >= betting.BROKEN_FROM for line in gains]
    return float(np.mean(ever))


@pytest.mark.parametrize("alike", [0.0, 0.3])
def test_a_kept_promise_is_called_broken_on_at_most_five_of_a_hundred_lines(alike):
    assert broken(PROMISED, alike) <= 0.05 + 3 * (0.05 * 0.95 / LINES) ** 0.5
    assert broken(PROMISED / 4, alike) <= 0.01


@pytest.mark.parametrize("alike", [0.0, 0.3])
def test_a_promise_that_is_broken_by_far_is_called_so(alike):
    assert broken(10 * PROMISED, alike) > 0.95


def test_the_gain_is_nothing_on_average_at_the_promised_rate_and_the_capital_by_hand():
    bad = 0.1
    at_the_rate = betting.gain(PROMISED * bad, (1 - PROMISED) * bad, PROMISED)
    assert at_the_rate == pytest.approx(0)
    assert betting.gain(0, 1, PROMISED) == pytest.approx(-1)  # all bad parts are held back
    by_hand = np.mean([(1 + 3 * bet) * (1 - 0.5 * bet) for bet in betting.BETS])
    assert betting.capital([3, -0.5])[-1] == pytest.approx(by_hand)
    assert betting.capital([-1] * 500)[-1] < 1e-6
