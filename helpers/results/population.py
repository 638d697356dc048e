"""Rank searched and published cells among random ones (Yang et al. 2020, arXiv 1912.12522).

The tables `trials` are those of successive halving: a row for each training, with epochs, model,
title, kind (searched, file, published or random), val_auc, parameters, and kept (the cell
continues, or has won).
"""

from __future__ import annotations

import pandas as pd

from helpers.core.style import percent


def findings(trials: pd.DataFrame) -> list[str]:
    """Return a sentence for each searched cell: its rank among the random ones of the first rung.

    Rank 1 is better than all of them; a random cell with the same AUC counts as better. If the
    search is no better than a random draw, all ranks are equally probable.
    """
    if trials.empty:
        return []
    epochs = trials.epochs.min()
    first = trials[trials.epochs == epochs]
    random = first[first.kind == "random"].val_auc
    said = []
    for row in first[first.kind == "searched"].itertuples():
        rank = 1 + int((random >= row.val_auc).sum())
        said.append(
            f"{row.title} has rank {rank} among {len(random)} random cells after {epochs} "
            f"{'epochs' if epochs > 1 else 'epoch'}: validation AUC {percent(row.val_auc)} against "
            f"{percent(random.mean())} on average. By luck alone, {rank} of {len(random) + 1} "
            "random cells would rank so high."
        )
    return said
