"""The AUC against the number of training images: a table and a picture."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from helpers.core import metrics
from helpers.core.style import percent, percent_axis
from helpers.results.bars import MODEL, interval_arms


def size_table(scores: pd.DataFrame, split: pd.DataFrame, by_groups: bool = False) -> pd.DataFrame:
    """Return the AUC for each number of training images, and the gain over the size before.

    Args:
        scores: `training.training_size.scores_by_size`.
        split: has `id`, `label`, and `group` if `by_groups`.
        by_groups: True if groups are the units of the intervals, not images.

    Returns:
        `images, draws, auc, low, high, gain, gain_low, gain_high`, by rising number of images. AUC,
        gain and the ends of their intervals are means over the draws.
    """
    columns = ["images", "draws", "auc", "low", "high", "gain", "gain_low", "gain_high"]
    facts = split.set_index("id")
    before: list[np.ndarray] = []
    rows = []
    for _, own in scores.groupby("share"):
        draws = [one.set_index("id").defect_score for _, one in own.groupby("draw")]
        labels = facts.label.loc[draws[0].index].to_numpy(dtype=np.int64)
        groups = facts.group.loc[draws[0].index].to_numpy() if by_groups else None
        found = [one.to_numpy() for one in draws]
        aucs = [metrics.auc_interval(labels, one, groups) for one in found]
        gains = [(np.nan,) * 3]
        if before:
            # the draws of one size are compared with those of the other in turn
            pairs = [(found[i % len(found)], one) for i, one in enumerate(before)]
            gains = [metrics.auc_difference(labels, *pair, groups)[:3] for pair in pairs]
        images = round(own.images.mean())  # groups differ in size
        rows.append([images, len(draws), *np.mean(aucs, axis=0), *np.mean(gains, axis=0)])
        before = found
    return pd.DataFrame(rows, columns=columns)


def figure(table: pd.DataFrame, side: str, title: str = "") -> Figure:
    """Draw `size_table`, the number of images on a logarithmic axis."""
    drawn, ax = plt.subplots(figsize=(7, 3.8))
    ax.errorbar(table.images, table.auc, yerr=interval_arms(table, "auc"), **MODEL | {"fmt": "o-"})
    for row in table.itertuples():
        at: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": 11}
        ax.annotate(percent(row.auc), (row.images, row.auc), (9, -10), **at)
    ax.set_xscale("log")
    ax.set_xticks(table.images, [f"{n:,}" for n in table.images])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.margins(x=0.15)
    percent_axis(ax.yaxis)
    ax.set(xlabel="training images (logarithmic)", ylabel=f"{side} AUC, 95 % interval")
    drawn.suptitle(title, fontsize=12, wrap=True)
    return drawn
