"""Rank searched and published cells among random ones (Yang et al. 2020, arXiv 1912.12522).

The tables `trials` are those of successive halving: a row for each training, with epochs, model,
title, kind (searched, file, published or random), val_auc, parameters, and kept (the cell
continues, or has won).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import t

from helpers.core.style import percent, percent_axis

FEW_CELLS = 5  # random ones; fewer have no interval worth telling
COLOURS = {"random": "0.6", "searched": "#d55e00", "published": "#0173b2", "file": "#029e73"}


def ranking(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the rank of each searched cell among the random cells of the first rung.

    Rank 1 is better than all of them; a random cell with the same AUC counts as better. If the
    search is no better than a random draw, all ranks are equally probable.

    Columns: model, title, val_auc, rank, random_cells (their number), random_auc (their mean).
    """
    first = trials[trials.epochs == trials.epochs.min()]
    random = first[first.kind == "random"].val_auc
    table = first.loc[first.kind == "searched", ["model", "title", "val_auc"]]
    return table.assign(
        rank=[1 + int((random >= auc).sum()) for auc in table.val_auc],
        random_cells=len(random),
        random_auc=random.mean(),
    )


def _margin(random: pd.Series) -> float:
    """Return the margin around the mean in which 95 % of single further random cells are.

    It is a prediction interval for a normal distribution known by these draws; NaN for few cells.
    """
    n = len(random)
    if n < FEW_CELLS:
        return float("nan")
    return float(t.ppf(0.975, n - 1) * random.std() * (1 + 1 / n) ** 0.5)


def findings(trials: pd.DataFrame) -> list[str]:
    """Return a sentence for each searched cell: how it ranks among the random ones."""
    if trials.empty:
        return []
    epochs = trials.epochs.min()
    return [
        f"{row.title} has rank {row.rank} among {row.random_cells} random cells after "
        f"{epochs} {'epochs' if epochs > 1 else 'epoch'}: validation AUC {percent(row.val_auc)} "
        f"against {percent(row.random_auc)} on average. By luck alone, {row.rank} of "
        f"{row.random_cells + 1} random cells would rank so high."
        for row in ranking(trials).itertuples()
    ]


def plot(trials: pd.DataFrame) -> Figure:
    """Draw the validation AUC of all cells, best above: a panel for each rung of halving.

    A band marks where 95 % of random cells are, if the rung has enough of them.
    """
    rungs = [rung.sort_values("val_auc") for _, rung in trials.groupby("epochs")]
    heights = [len(rung) + 1 for rung in rungs]
    size = (8, 0.28 * sum(heights) + 0.9 * len(rungs))
    figure, axes = plt.subplots(
        len(rungs), figsize=size, height_ratios=heights, sharex=True, squeeze=False
    )
    for ax, rung in zip(axes.flat, rungs, strict=True):
        colours = rung.kind.map(COLOURS)
        ax.scatter(rung.val_auc, rung.title, c=colours, s=45, zorder=2)
        for label, colour in zip(ax.get_yticklabels(), colours, strict=True):
            label.set_color(colour)
        random = rung[rung.kind == "random"].val_auc
        mean, margin = random.mean(), _margin(random)
        ax.axvline(mean, color="0.6", ls=":", lw=1)
        if np.isfinite(margin):
            ax.axvspan(mean - margin, mean + margin, color="0.93", zorder=0)
        ax.set_title(f"{len(rung)} cells, epochs: {rung.epochs.iloc[0]}", loc="left")
    percent_axis(ax.xaxis)
    ax.set_xlabel("validation AUC (gray: random cells; dotted: their mean)")
    return figure
