"""Compare good and bad parts of one window of time only, where wear or drift tell the label.

If parts get worse with time, the time of an image alone has a high AUC, without a pixel. Inside a
window (a day, a shift) its AUC is lower.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.core import metrics, seeding
from helpers.results.comparison import with_ends

DRAWS = 2000  # of groups, for an interval


def window_aucs(
    labels: ArrayLike,
    scores: Mapping[str, ArrayLike],
    times: ArrayLike,
    days: float,
    groups: ArrayLike,
    folds: ArrayLike,
    reference: str,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the AUC over all pairs of a good and a bad part of one window, a row for each scorer.

    Windows have so many `days`, from the first of the `times` (N,) on; equal scores are half a win.
    Both parts of a pair are of one of the `folds` (N,): scores of two trainings do not compare.

    Columns: `auc` and `gain` (minus that of the row `reference`), both with `_low` and `_high`, and
    `pairs`. The 95 % intervals are percentiles of a bootstrap that draws whole groups.
    """
    names = list(scores)
    labels, *values = metrics.check_both_classes(labels, *(scores[name] for name in names))
    number, window = metrics.group_numbers(groups, len(labels)), pd.to_datetime(pd.Series(times))
    window = (window - window.min()) // pd.Timedelta(days=days)
    window = pd.DataFrame({"window": window, "fold": np.asarray(folds)})
    window = window.groupby(["window", "fold"]).ngroup().to_numpy()
    n = int(number.max()) + 1
    pairs, won = np.zeros((n, n)), np.zeros((len(names), n, n))  # by groups of the bad and the good
    for own in (window == name for name in np.unique(window)):
        bad, good = (np.flatnonzero(own & (labels == label)) for label in (1, 0))
        at = np.ix_(number[bad], number[good])
        cells = np.broadcast_arrays(at[0], at[1])
        np.add.at(pairs, tuple(cells), 1)
        for total, score in zip(won, values, strict=True):
            above = np.sign(score[bad][:, None] - score[good])  # a tie is half a win
            np.add.at(total, tuple(cells), (above + 1) / 2)
    if not pairs.any():
        raise ValueError("no window holds a good and a bad part of one fold: choose longer windows")
    draws = seeding.numpy_stream(seed, "groups of windows").multinomial(n, [1 / n] * n, DRAWS)
    draws = np.concatenate([np.ones((1, n)), draws])  # first the parts as they are
    weights = np.einsum("di,ij,dj->d", draws, pairs, draws)
    totals = np.einsum("di,kij,dj->kd", draws, won, draws)
    with np.errstate(invalid="ignore"):  # a draw without any pair
        aucs = totals / weights
    rows = []
    for name, auc in zip(names, aucs, strict=True):
        row = {"model": name, "pairs": int(pairs.sum())}
        for column, found in {"auc": auc, "gain": auc - aucs[names.index(reference)]}.items():
            ends = np.nanquantile(found[1:], metrics.TAILS)
            row |= with_ends(column, metrics.Interval(found[0], *ends))
        rows.append(row)
    return pd.DataFrame(rows)
