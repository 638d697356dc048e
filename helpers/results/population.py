"""Rank searched cells among random ones (Yang et al. 2020, arXiv 1912.12522)."""

from __future__ import annotations

import pandas as pd

from helpers.core.finding import Finding


def ranks(trials: pd.DataFrame) -> list[Finding]:
    """Return the rank of each searched cell among the random ones of the first rung of halving.

    `trials` has a row for each training: `epochs, title, kind` (searched, random, ...) and
    `val_auc`. Rank 1 is better than all random cells; one with the same AUC counts as better. If
    the search is no better than a random draw, all ranks are equally probable.
    """
    first = trials[trials.epochs == trials.epochs.min()]
    random = first[first.kind == "random"].val_auc
    return [
        Finding(
            f"{row.title}: rank among {len(random)} random cells after {row.epochs} epochs",
            1 + int((random >= row.val_auc).sum()),
            unit="",
        )
        for row in first[first.kind == "searched"].itertuples()
    ]
