"""Plot a search: its curves over the epochs, and alpha as heat maps of edges by operations."""

from __future__ import annotations

from itertools import product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import softmax

from helpers.darts.genotypes import Genotype
from helpers.darts.space import EDGES, KINDS, PRIMITIVES
from helpers.darts.verdict import UNDECIDED, History, edge_name


def shown_epochs(used: int, count: int = 5) -> list[int]:
    """Return the first epoch, `used`, and others evenly between them: at most `count` epochs."""
    return np.unique(np.linspace(1, used, count).round().astype(int)).tolist()


def alpha_heat_maps(history: History, used: int, cell: Genotype, perturbed: Genotype) -> Figure:
    """Plot softmax(alpha) of edges by operations after some epochs, normal cells above.

    In the last map, of the epoch `used` (counted from 1), a frame is around the operations that
    `cell` keeps, and a dot on those that selection by perturbation keeps.
    """
    epochs = shown_epochs(used)
    weights = {
        (kind, epoch): softmax(np.array(history[epoch - 1][f"alpha_{kind}"]), axis=-1)
        for kind, epoch in product(KINDS, epochs)
    }
    size, widths = (2.0 * len(epochs) + 3.4, 9.0), [1.0] * (len(epochs) - 1) + [2.0]
    shape: dict[str, Any] = {"width_ratios": widths, "figsize": size, "squeeze": False}
    figure, axes = plt.subplots(2, len(epochs), sharex=True, sharey=True, **shape)
    highest = max(0.4, *(values.max() for values in weights.values()))  # undecided: 0.125, pale
    options: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "vmax": highest}
    options |= {"xticklabels": PRIMITIVES, "yticklabels": [edge_name(edge) for edge in EDGES]}
    for ((kind, epoch), values), ax in zip(weights.items(), axes.flat, strict=True):
        sns.heatmap(values, ax=ax, cbar=epoch == used, **options)
        ax.set_title(f"{'reduction' if kind == 'reduce' else kind}, epoch {epoch}", fontsize=10)
        ax.hlines([2, 5, 9], 0, len(PRIMITIVES), color="black", linewidth=0.8)  # between nodes
    for kind, ax in zip(KINDS, axes[:, -1], strict=True):
        for name, *edge in cell.edges(kind):
            corner = (PRIMITIVES.index(name), EDGES.index(tuple(edge)))
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec="#d55e00", lw=2, clip_on=False))
        for name, *edge in perturbed.edges(kind):
            x, y = PRIMITIVES.index(name) + 0.5, EDGES.index(tuple(edge)) + 0.5
            ax.plot(x, y, "o", color="#de8f05", markeredgecolor="black", markersize=7)
    figure.suptitle(
        f"softmax(α); in epoch {used}, frame: kept by the arg max, dot: kept by perturbation"
    )
    return figure


def search_curves(history: History) -> Figure:
    """Plot loss and AUC of the supernet on both parts of the training images, and alpha's state.

    That is its entropy, its skip connections, and the eigenvalue of d2L/dalpha2 if it was measured.
    """
    frame = pd.DataFrame(history)
    panels = {
        "cross-entropy": {"train_plain_loss": "part for w", "val_loss": "part for α"},
        "AUC of the supernet": {"train_auc": "part for w", "val_auc": "part for α"},
        f"entropy of softmax(α) in nats (undecided: {UNDECIDED:.2f})": {
            "entropy_normal": "normal cell",
            "entropy_reduce": "reduction cell",
        },
        "skips in the normal cell, before the limit": {"skips": ""},
        "dominant eigenvalue of d²L/dα²": {"eigenvalue": ""},
    }
    if frame.eigenvalue.isna().all():
        panels.popitem()
    wide = (len(panels) + 1) // 2
    figure, axes = plt.subplots(2, wide, figsize=(4.7 * wide, 6.8))
    for ax, (title, columns) in zip(axes.flat, panels.items(), strict=False):
        long = frame.melt("epoch", list(columns), "line").replace({"line": columns}).dropna()
        style = {"hue": "line", "style": "line", "markers": True, "legend": len(columns) > 1}
        sns.lineplot(long, x="epoch", y="value", ax=ax, **style)
        ax.set(title=title, ylabel="")
        ax.locator_params(axis="x", integer=True)
        ax.locator_params(axis="y", integer="skips" in columns)
        ax.ticklabel_format(axis="y", useOffset=False)
        if len(columns) > 1:
            ax.legend(title="")
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    return figure
