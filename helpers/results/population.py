"""Rank searched and published cells among random ones (Yang et al. 2020, arXiv 1912.12522).

The tables `trials` are those of successive halving: a row for each training, with epochs, model,
title, kind (searched, file, published or random), val_auc, parameters, and kept (the cell
continues, or has won).
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from helpers.core.style import percent, percent_axis

COLOURS = {"random": "0.6", "searched": "#d55e00", "published": "#0173b2", "file": "#029e73"}


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


def plot(trials: pd.DataFrame) -> Figure:
    """Draw the validation AUC of all cells, best above: a panel for each rung of halving."""
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
        ax.axvline(rung[rung.kind == "random"].val_auc.mean(), color="0.6", ls=":", lw=1)
        ax.set_title(f"{len(rung)} cells, epochs: {rung.epochs.iloc[0]}", loc="left")
    percent_axis(ax.xaxis)
    ax.set_xlabel("validation AUC (gray: random cells; dotted: their mean)")
    return figure
