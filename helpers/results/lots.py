"""Compare a new lot with the lots behind the thresholds, by the spread between lots.

Parts of one lot are alike: a test that takes each part as independent would call nearly every new
lot unlike the others.

The p-value is that of conformal prediction (Bates et al. 2023, "Testing for outliers with conformal
p-values", arXiv 2104.08279) in its full form, which leaves out each lot in turn: if the new lot and
the others are exchangeable, it is at most 5 % in at most 5 % of cases, whatever the distribution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from helpers.core.style import SIGNIFICANT

LEAST_PARTS = 10  # of a lot: the mean of fewer says little about it
LEAST_LOTS = round(1 / SIGNIFICANT) - 1  # 19: with fewer no p-value is small enough
LEAST_SPREAD = 1e-6  # of lots that are equal but for rounding


class Compared(NamedTuple):
    """Say how a lot compares with the lots before it."""

    p: float  # share of all lots, itself included, that are at least as strange
    z: pd.Series  # the strangeness of its numbers (K)
    means: pd.Series  # of its numbers (K)
    before: pd.DataFrame  # those of the lots before (L, K)


def sums(values: pd.DataFrame, lots: pd.Series) -> pd.DataFrame:
    """Return a row for each lot: `parts`, and for each number its sum and its `..._squared` sum.

    `values` (N, K) are K numbers of each part, none missing. Rows of the same lot can be added up.
    """
    squared = {f"{name}_squared": values[name] ** 2 for name in values}
    return values.assign(**squared, parts=1.0).groupby(lots.to_numpy()).sum()


def strangeness(lots: pd.DataFrame) -> pd.DataFrame:
    """Return how far each lot is from the others (L, K), in standard deviations between lots.

    `lots` are `sums` of at least three lots. The variance between the means of the others includes
    their variance within lots divided by their sizes; for a smaller lot the difference is added.
    """
    names = [name for name in lots if f"{name}_squared" in lots]
    parts = lots.parts.to_numpy()[:, None]
    means = lots[names].to_numpy() / parts
    squares = lots[[f"{name}_squared" for name in names]].to_numpy()
    within = np.maximum(squares - parts * means**2, 0) / np.maximum(parts - 1, 1)
    z = np.empty_like(means)
    for i in range(len(lots)):
        others = np.arange(len(lots)) != i
        smaller = np.maximum(1 / parts[i] - (1 / parts[others]).mean(axis=0), 0)
        variance = means[others].var(axis=0, ddof=1) + within[others].mean(axis=0) * smaller
        spread = np.maximum(np.sqrt(variance), LEAST_SPREAD)
        z[i] = (means[i] - means[others].mean(axis=0)) / spread
    return pd.DataFrame(z, lots.index, names)


def compare(reference: pd.DataFrame, lot: pd.Series) -> Compared:
    """Compare a lot with the lots of a reference (both of `sums`); see the module's text.

    The strangeness of a lot is that of its strangest number.
    """
    every = pd.concat([reference, lot.to_frame().T], ignore_index=True)
    z = strangeness(every)
    most, means = z.abs().max(axis=1), every[[*z]].div(every.parts, axis=0)
    p = float((most >= most.iloc[-1]).mean())
    return Compared(p, z.iloc[-1], means.iloc[-1], means.iloc[:-1])
