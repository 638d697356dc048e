"""Pictures of a search: alpha over the epochs edge by edge, how decided it is, losses and AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure

from helpers.darts.draw import STATE_NAMES, style_of
from helpers.darts.operations import PRIMITIVES, softmax_by_node
from helpers.darts.space import EDGES

CLEAR_LEAD = 1.5  # an edge counts as decided when its best operation outweighs the next by this

History = Sequence[Mapping[str, Any]]


def edge_name(edge: tuple[int, int]) -> str:
    """An edge as "from → to", states named as in the drawings but readable without LaTeX."""
    source, target = (STATE_NAMES[s].strip("$").replace("_{", "(").replace("}", ")") for s in edge)
    return f"{source} → {target}"


def operation_weights(history: History, kind: str) -> pd.DataFrame:
    """softmax(alpha) of every edge and operation in every epoch, in long form.

    `kind` is "normal" or "reduce". Columns: epoch, edge, operation, weight.
    """
    alpha = np.array([record[f"alpha_{kind}"] for record in history])  # (epochs, 14, 8)
    weights = np.exp(alpha - alpha.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    epochs = [record["epoch"] for record in history]
    names = [edge_name(edge) for edge in EDGES]
    index = pd.MultiIndex.from_product(
        [epochs, names, PRIMITIVES], names=["epoch", "edge", "operation"]
    )
    return pd.Series(weights.ravel(), index, name="weight").reset_index()


def edge_table(history: History, kind: str) -> pd.DataFrame:
    """For each edge the best operation but `none`, its weight, and its lead over the next one.

    Of the last epoch in `history`. With partial channels `edge_weight` is softmax(beta), by which
    the derivation multiplies all weights of the edge.
    """
    frame = operation_weights(history[-1:], kind)
    none = frame[frame.operation == "none"].set_index("edge").weight
    frame = frame[frame.operation != "none"].sort_values("weight", ascending=False, kind="stable")
    rows = []
    for edge in map(edge_name, EDGES):
        best, second = frame[frame.edge == edge].head(2).itertuples()
        lead = best.weight / second.weight
        rows.append(
            {
                "edge": edge,
                "operation": best.operation,
                "weight": round(best.weight, 3),
                "lead": round(lead, 2),
                "decided": lead >= CLEAR_LEAD,
                "none": round(float(none[edge]), 3),
            }
        )
    table = pd.DataFrame(rows)
    beta = history[-1][f"beta_{kind}"]
    if beta is not None:
        table["edge_weight"] = softmax_by_node(torch.tensor(beta)).numpy().round(3)
    return table


def alpha_trajectories(history: History, kind: str, used: int) -> Figure:
    """One panel per edge, one line per operation; a panel's title names the winner.

    `used` is the epoch that the found cell is from, counted from 1.
    """
    frame = operation_weights(history, kind)
    final = edge_table(history[:used], kind).set_index("edge")
    grid = sns.relplot(
        frame,
        x="epoch",
        y="weight",
        hue="operation",
        style="operation",
        palette={operation: style_of(operation).color for operation in PRIMITIVES},
        dashes=_dashes(),
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
        ax.xaxis.get_major_locator().set_params(integer=True)
    sns.move_legend(grid, "lower right", bbox_to_anchor=(0.985, 0), ncol=1, title="", fontsize=10)
    word = "reduction" if kind == "reduce" else "normal"
    grid.figure.suptitle(
        f"softmax($\\alpha$) of the {word} cells over the epochs; dotted: 1/8; "
        f"* best at least {CLEAR_LEAD:g} times the next, without the operation none",
        y=0.99,
    )
    grid.figure.set_layout_engine("none")
    grid.figure.subplots_adjust(top=0.9)
    return grid.figure


def _dashes() -> dict[str, str | tuple[float, ...]]:
    """The cell drawings' dash patterns, as seaborn takes them."""
    patterns = {operation: style_of(operation).dashes for operation in PRIMITIVES}
    return {name: "" if p == "solid" else p[1] for name, p in patterns.items()}


def decidedness(history: History) -> Figure:
    """Entropy of softmax(alpha), the weight on none, and the normal cell's skip connections.

    Where it was measured, the dominant eigenvalue of d2L/dalpha2 too.
    """
    frame = pd.DataFrame(history)
    measured = frame.dropna(subset="eigenvalue")
    panels = 4 if len(measured) else 3
    figure, axes = plt.subplots(1, panels, figsize=(4.4 * panels, 3.4))
    if len(measured):
        sns.lineplot(measured, x="epoch", y="eigenvalue", marker="o", color="black", ax=axes[3])
        axes[3].set(title="dominant eigenvalue of $d^2L/d\\alpha^2$", ylabel="")
    for ax, name, title in (
        (axes[0], "entropy", "entropy of softmax($\\alpha$) in nats, mean of the edges"),
        (axes[1], "none", "weight on none, mean of the edges"),
    ):
        columns = {f"{name}_normal": "normal cell", f"{name}_reduce": "reduction cell"}
        long = frame.melt("epoch", list(columns), "cell").replace({"cell": columns})
        sns.lineplot(long, x="epoch", y="value", hue="cell", style="cell", markers=True, ax=ax)
        ax.set(title=title, ylabel="")
        ax.ticklabel_format(axis="y", useOffset=False)
        ax.legend(title="")
    undecided = np.log(len(PRIMITIVES))
    low, _ = axes[0].get_ylim()
    axes[0].set_ylim(low, undecided + 0.15 * (undecided - low))  # room for the words
    axes[0].axhline(
        undecided, color="0.5", linestyle=":", linewidth=1, label=f"undecided: ln {len(PRIMITIVES)}"
    )
    axes[0].legend(title="", fontsize=8, loc="lower left")
    sns.lineplot(
        frame, x="epoch", y="skips", marker="o", drawstyle="steps-mid", color="black", ax=axes[2]
    )
    axes[2].set(title="skips in the normal cell, before the limit", ylabel="", ylim=(-0.3, 8.3))
    for ax in axes:
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure


def search_curves(history: History) -> Figure:
    """Loss and AUC of the supernet on its two parts of the training images."""
    frame = pd.DataFrame(history)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.4))
    for ax, columns, title in (
        (
            axes[0],
            {"train_plain_loss": "part for w", "val_loss": "part for alpha"},
            "cross-entropy",
        ),
        (axes[1], {"train_auc": "part for w", "val_auc": "part for alpha"}, "AUC of the supernet"),
    ):
        long = frame.melt("epoch", list(columns), "part").replace({"part": columns})
        sns.lineplot(long, x="epoch", y="value", hue="part", style="part", markers=True, ax=ax)
        ax.set(title=title, ylabel="")
        ax.legend(title="")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
