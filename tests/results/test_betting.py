"""The bet against a promise: a kept one is rarely called broken, however often one looks."""

import numpy as np
import pytest

from helpers.results import betting

PROMISED, LINES, LOTS, PARTS, AUDITED = 0.02, 400, 150, 400, 0.02
LOOKED_AT, BAD = 0.15, 1 / 21  # of the good parts that are not rejected; of all parts, on average


def broken(escape_rate: float, alike: float, overkill: float = 0.0, seed: int = 0) -> float:
    """Return on how many lines the capital ever breaks the promise; lots differ in all rates.

    A person clears the good parts that are looked at again. A good part that is rejected, by the
    rate `overkill`, is never on a page, so it counts as a bad one that was held.
    """
    rng = np.random.default_rng(seed)
    shape = (LINES, LOTS)
    bad = rng.binomial(PARTS, rng.beta(1, 20, shape))
    rates = np.full(shape, escape_rate)
    if alike:  # the escapes of a lot are, by an intraclass correlation
        rates = rng.beta(*(np.array([escape_rate, 1 - escape_rate]) * (1 / alike - 1)), shape)
    escaped = rng.binomial(bad, rates)
    rejected_good = rng.binomial(PARTS - bad, overkill)
    cleared = rng.binomial(PARTS - bad - rejected_good, LOOKED_AT)
    passed = PARTS - (bad - escaped) - rejected_good - cleared
    audited = np.ceil(AUDITED * passed).astype(int)
    seen = rng.hypergeometric(escaped, passed - escaped, audited)
    share = seen / np.maximum(audited, 1) * passed / PARTS
    held = PARTS - passed
    gains = betting.gain(share, (held - cleared) / PARTS, PROMISED)
    assert gains.min() >= -1
    ever = [betting.capital(line).max() >= betting.BROKEN_FROM for line in gains]
    return float(np.mean(ever))


@pytest.mark.parametrize("alike", [0.0, 0.3])
def test_a_kept_promise_is_called_broken_on_at_most_five_of_a_hundred_lines(alike):
    assert broken(PROMISED, alike) <= 0.05 + 3 * (0.05 * 0.95 / LINES) ** 0.5
    assert broken(PROMISED / 4, alike) <= 0.01


@pytest.mark.parametrize("alike", [0.0, 0.3])
@pytest.mark.parametrize(  # as notebooks/README.md says
    ("overkill", "low", "high"), [(0.0, 0.97, 1), (0.05, 0.88, 0.98), (0.2, 0.3, 0.48)]
)
def test_a_promise_that_is_broken_by_far_is_called_so_more_rarely_under_overkill(
    alike, overkill, low, high
):
    assert low <= broken(10 * PROMISED, alike, overkill) <= high


def test_no_escape_rate_is_told_from_the_promise_below_the_limit_that_overkill_sets():
    overkill = 0.2
    bad, good = BAD, (1 - BAD) * overkill
    limit = PROMISED * (1 + good / bad)
    for factor in (0.98, 1.02):
        escaped = factor * limit * bad
        mean = betting.gain(escaped, bad - escaped + good, PROMISED)
        assert (mean > 0) == (factor > 1)
    assert limit > 4 * PROMISED and broken(4 * PROMISED, 0.0, overkill) < 0.05


def test_the_gain_is_nothing_on_average_at_the_promised_rate_and_the_capital_by_hand():
    bad = 0.1
    at_the_rate = betting.gain(PROMISED * bad, (1 - PROMISED) * bad, PROMISED)
    assert at_the_rate == pytest.approx(0)
    assert betting.gain(0, 1, PROMISED) == pytest.approx(-1)  # all bad parts are held back
    by_hand = np.mean([(1 + 3 * bet) * (1 - 0.5 * bet) for bet in betting.BETS])
    assert betting.capital([3, -0.5])[-1] == pytest.approx(by_hand)
    assert betting.capital([-1] * 500)[-1] < 1e-6
