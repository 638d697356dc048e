"""A new lot against the lots behind the thresholds: false alarms, hits, and the formula."""

import numpy as np
import pandas as pd
import pytest

from helpers.results import lots


def drawn(rng: np.random.Generator, sizes: list[int], shift: float = 0.0) -> pd.DataFrame:
    """Return the sums of lots whose means are spread with heavy tails; the last one is shifted."""
    means = rng.standard_t(3, (len(sizes), 3))
    means[-1, 1] += shift
    lot = np.repeat(np.arange(len(sizes)), sizes)
    values = pd.DataFrame(means[lot] + rng.normal(0, 2, (lot.size, 3)), columns=[*"abc"])
    return lots.sums(values, pd.Series(lot))


def test_at_most_one_in_twenty_lots_like_the_others_is_called_unlike():
    rng, draws = np.random.default_rng(0), 150
    alarms = 0
    for _ in range(draws):
        table = drawn(rng, rng.integers(lots.LEAST_PARTS, 60, 20).tolist())
        alarms += lots.compare(table.iloc[:-1], table.iloc[-1]).p <= 0.05
    # exactly one of 20 lots is the strangest; with another rule it would be far more often
    assert alarms / draws == pytest.approx(0.05, abs=3 * (0.05 * 0.95 / draws) ** 0.5)


def test_a_lot_far_from_all_others_is_named_by_its_strangest_number():
    table = drawn(np.random.default_rng(1), [30] * 20, shift=30)
    found = lots.compare(table.iloc[:-1], table.iloc[-1])
    assert (found.p, found.z.abs().idxmax(), len(found.before)) == (1 / 20, "b", 19)
    assert found.means.b == pytest.approx(table.b.iloc[-1] / 30)
    assert lots.compare(table.iloc[1:-1], table.iloc[-1]).p > 0.05  # 18 lots are too few


def test_the_strangeness_is_that_of_a_calculation_by_hand():
    values = pd.DataFrame({"a": [1.0, 3, 2, 6, 5, 5, 9, 11]})
    table = lots.sums(values, pd.Series([*"kkllmmmn"]))
    assert table.parts.tolist() == [2, 2, 3, 1]
    # lot n has one part: others' means 2, 4, 19/3 with variance 4.703...; their variances inside
    # are 2, 8, 16/3; of the mean 16/3 that lots of their sizes do not have, 1 - mean(1/2, 1/2, 1/3)
    others = np.array([2, 4, 19 / 3])
    variance = others.var(ddof=1) + np.mean([2, 8, 16 / 3]) * (1 - np.mean([1 / 2, 1 / 2, 1 / 3]))
    z = lots.strangeness(table).a
    assert z["n"] == pytest.approx((11 - others.mean()) / variance**0.5)
    others = np.array([2, 4, 11])  # lot m is larger than they: nothing is added
    assert z["m"] == pytest.approx((19 / 3 - others.mean()) / others.std(ddof=1))


def test_sums_of_two_halves_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    values, names = pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"]), np.arange(50) % 4
    halves = [
        lots.sums(values[rows], pd.Series(names[rows])) for rows in (slice(30), slice(30, 50))
    ]
    whole = halves[0].add(halves[1], fill_value=0)
    pd.testing.assert_frame_equal(whole, lots.sums(values, pd.Series(names)))
