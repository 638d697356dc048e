"""Plot a search: alpha over the epochs edge by edge, how decided it is, losses and AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from helpers.darts.draw import STATE_NAMES, STYLES
from helpers.darts.operations import softmax_by_node
from helpers.darts.space import EDGES, OPERATIONS, PRIMITIVES

CLEAR_LEAD = 1.5  # an edge is decided if its best operation outweighs the next by this factor

History = Sequence[Mapping[str, Any]]


def edge_name(edge: tuple[int, int]) -> str:
    """Return "source → target", with the states named as in the drawings."""
    source, target = edge
    return f"{STATE_NAMES[source]} → {STATE_NAMES[target]}"


def edge_table(history: History, kind: str) -> pd.DataFrame:
    """Return the best operation of each edge but `none`, its weight, and its lead over the next.

    The numbers are those of the last epoch in `history`. With partial channels `edge_weight` is
    softmax(beta), by which the derivation multiplies all weights of the edge.
    """
    weights = softmax(np.array(history[-1][f"alpha_{kind}"]), axis=-1)  # (14, 8)
    best = weights[:, 1:].argmax(axis=1)
    second, first = np.sort(weights[:, 1:], axis=1)[:, -2:].T
    table = pd.DataFrame(
        {
            "edge": [edge_name(edge) for edge in EDGES],
            "operation": np.array(OPERATIONS)[best],
            "weight": first.round(3),
            "lead": (first / second).round(2),
            "decided": first / second >= CLEAR_LEAD,
            "none": weights[:, 0].round(3),
        }
    )
    beta = history[-1][f"beta_{kind}"]
    if beta is not None:
        table["edge_weight"] = softmax_by_node(torch.tensor(beta)).numpy().round(3)
    return table


def alpha_trajectories(history: History, kind: str, used: int) -> Figure:
    """Plot a panel for each edge with a line for each operation; its title names the winner.

    `used` is the epoch that the found cell is from, counted from 1.
    """
    alpha = np.array([record[f"alpha_{kind}"] for record in history])  # (epochs, 14, 8)
    epochs, edges = [record["epoch"] for record in history], [edge_name(edge) for edge in EDGES]
    index = pd.MultiIndex.from_product(
        [epochs, edges, PRIMITIVES], names=["epoch", "edge", "operation"]
    )
    weights = pd.Series(softmax(alpha, axis=-1).ravel(), index, name="weight").reset_index()
    final = edge_table(history[:used], kind).set_index("edge")
    dashes = {name: STYLES[name].dashes for name in PRIMITIVES}
    grid = sns.relplot(
        weights,
        x="epoch",
        y="weight",
        hue="operation",
        style="operation",
        palette={name: STYLES[name].color for name in PRIMITIVES},
        dashes={name: "" if dash == "solid" else dash[1] for name, dash in dashes.items()},
        col="edge",
        col_wrap=5,
        kind="line",
        markers=True,
        height=2.3,
        aspect=1.15,
        facet_kws={"legend_out": False},
    )
    for edge, ax in grid.axes_dict.items():
        winner = final.loc[edge]
        ax.set_title(f"{edge}: {winner.operation}" + (" *" if winner.decided else ""), fontsize=9)
        ax.axhline(1 / len(PRIMITIVES), color="0.5", linestyle=":", linewidth=1, zorder=1)
        if used < len(history):
            ax.axvline(history[used - 1]["epoch"], color="0.3", linewidth=1, zorder=1)
        ax.set(ylabel="", xlabel="epoch", ylim=(0, None))
        ax.locator_params(axis="x", integer=True)
    sns.move_legend(grid, "lower right", bbox_to_anchor=(0.985, 0), ncol=1, title="", fontsize=10)
    word = "reduction" if kind == "reduce" else "normal"
    grid.figure.suptitle(
        f"softmax(α) of the {word} cells over the epochs; dotted: 1/8; "
        f"* best at least {CLEAR_LEAD:g} times the next, without the operation none",
        y=0.99,
    )
    grid.figure.set_layout_engine("none")
    grid.figure.subplots_adjust(top=0.9)
    return grid.figure


def decidedness(history: History) -> Figure:
    """Plot the entropy of softmax(alpha), the weight on none, and the normal cell's skips.

    If it was measured, plot the dominant eigenvalue of d2L/dalpha2 too.
    """
    frame = pd.DataFrame(history)
    measured = frame.dropna(subset="eigenvalue")
    panels = 4 if len(measured) else 3
    figure, axes = plt.subplots(1, panels, figsize=(4.4 * panels, 3.4))
    titles = {"entropy": "entropy of softmax(α) in nats, mean of the edges"}
    titles["none"] = "weight on none, mean of the edges"
    for ax, (name, title) in zip(axes, titles.items(), strict=False):
        columns = {f"{name}_normal": "normal cell", f"{name}_reduce": "reduction cell"}
        _plot_columns(ax, frame, columns, title)
        ax.ticklabel_format(axis="y", useOffset=False)
    undecided = np.log(len(PRIMITIVES))
    low, _ = axes[0].get_ylim()
    axes[0].set_ylim(low, undecided + 0.15 * (undecided - low))  # room for the words
    axes[0].axhline(undecided, color="0.5", linestyle=":", linewidth=1, label="undecided: ln 8")
    axes[0].legend(title="", fontsize=8, loc="lower left")
    single = {"x": "epoch", "marker": "o", "color": "black"}
    sns.lineplot(frame, y="skips", drawstyle="steps-mid", ax=axes[2], **single)
    axes[2].set(title="skips in the normal cell, before the limit", ylabel="", ylim=(-0.3, 8.3))
    if len(measured):
        sns.lineplot(measured, y="eigenvalue", ax=axes[3], **single)
        axes[3].set(title="dominant eigenvalue of d²L/dα²", ylabel="")
    for ax in axes[2:]:
        ax.locator_params(axis="x", integer=True)
    return figure


def search_curves(history: History) -> Figure:
    """Plot loss and AUC of the supernet on its two parts of the training images."""
    frame = pd.DataFrame(history)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
    losses = {"train_plain_loss": "part for w", "val_loss": "part for alpha"}
    _plot_columns(axes[0], frame, losses, "cross-entropy")
    aucs = {"train_auc": "part for w", "val_auc": "part for alpha"}
    _plot_columns(axes[1], frame, aucs, "AUC of the supernet")
    return figure


def _plot_columns(ax: Axes, frame: pd.DataFrame, columns: dict[str, str], title: str) -> None:
    """Draw columns of the history as lines over the epochs, with these names."""
    long = frame.melt("epoch", list(columns), "line").replace({"line": columns})
    sns.lineplot(long, x="epoch", y="value", hue="line", style="line", markers=True, ax=ax)
    ax.set(title=title, ylabel="")
    ax.locator_params(axis="x", integer=True)
    ax.legend(title="")
