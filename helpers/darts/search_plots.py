"""Plot a search: its curves, and alpha as heat maps of edges by operations."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import softmax

from helpers.darts.draw import STATE_NAMES
from helpers.darts.genotypes import Genotype
from helpers.darts.operations import softmax_by_node
from helpers.darts.space import EDGES, KINDS, PRIMITIVES
from helpers.darts.verdict import History, clear_edges


def search_curves(history: History) -> Figure:
    """Draw the losses of both steps, and alpha's entropy; a warm-up has no loss of alpha."""
    frame = pd.DataFrame(history)
    panels = {
        "cross-entropy": {"train_loss": "half for w, augmented", "alpha_loss": "half for α"},
        "entropy of softmax(α) in nats (undecided: 2.08)": {  # ln 8
            "entropy_normal": "normal cell",
            "entropy_reduce": "reduction cell",
        },
    }
    figure, axes = plt.subplots(1, 2, figsize=(9.4, 3.6))
    for ax, (title, columns) in zip(axes, panels.items(), strict=True):
        long = frame.melt("epoch", list(columns), "line").replace({"line": columns}).dropna()
        sns.lineplot(long, x="epoch", y="value", hue="line", style="line", markers=True, ax=ax)
        if title.startswith("entropy"):
            ax.set_ylim(0, 2.15)  # the whole range: a small fall is small
        ax.set(title=title, ylabel="")
        ax.locator_params(axis="x", integer=True)
        ax.legend(title="")
    entropy = frame[["entropy_normal", "entropy_reduce"]].mean(axis=1)
    figure.suptitle(
        f"The search takes alpha's entropy from {entropy.iloc[0]:.2f} to {entropy.iloc[-1]:.2f} "
        "nats (undecided: 2.08)"
    )
    return figure


def alpha_heat_maps(history: History, cell: Genotype, perturbed: Genotype) -> Figure:
    """Plot softmax(alpha) of edges by operations after the last epoch.

    White is 1/8, the weight of all operations at the start. A frame is around the operations that
    `cell` keeps, a dot on those of `perturbed`. softmax(beta) is beside the name of its edge.
    """
    end, start = history[-1], 1 / len(PRIMITIVES)
    weights = {kind: softmax(np.array(end[f"alpha_{kind}"]), axis=-1) for kind in KINDS}
    highest = max(0.4, *(values.max() for values in weights.values()))  # noise stays pale
    look: dict[str, Any] = {"cmap": "PuOr", "center": start, "vmin": 0, "vmax": highest}
    figure, axes = plt.subplots(1, 2, figsize=(13, 6.5), sharex=True)
    for (kind, values), ax in zip(weights.items(), axes, strict=True):
        edges = [" → ".join(STATE_NAMES[state] for state in edge) for edge in EDGES]
        if (beta := end[f"beta_{kind}"]) is not None:
            shares = softmax_by_node(torch.tensor(beta)).tolist()
            edges = [f"{edge}  β {share:.2f}" for edge, share in zip(edges, shares, strict=True)]
        sns.heatmap(
            values, ax=ax, cbar=ax is axes[-1], xticklabels=PRIMITIVES, yticklabels=edges, **look
        )
        ax.set_title("normal cell" if kind == "normal" else "reduction cell")
        ax.hlines([2, 5, 9], 0, len(PRIMITIVES), color="black", linewidth=0.8)  # between nodes
        for name, *edge in cell.edges(kind):
            corner = (PRIMITIVES.index(name), EDGES.index(tuple(edge)))
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec="black", lw=2, clip_on=False))
        for name, *edge in perturbed.edges(kind):
            x, y = PRIMITIVES.index(name) + 0.5, EDGES.index(tuple(edge)) + 0.5
            ax.plot(x, y, "o", color="#029e73", markeredgecolor="white", markersize=9)
    figure.suptitle(
        f"One operation leads clearly on {clear_edges(end)} of {2 * len(EDGES)} edges; "
        "frame: kept by the arg max of α; dot: kept by perturbation; colour: softmax(α)"
    )
    return figure
