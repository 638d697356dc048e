"""Plot a search: alpha as heat maps of edges by operations, and the cell as it grows."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
import torch
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from scipy.special import softmax

from helpers.darts.draw import STATE_NAMES, draw_genotypes
from helpers.darts.genotypes import Genotype, from_json, new_edges
from helpers.darts.operations import softmax_by_node
from helpers.darts.space import EDGES, KINDS, PRIMITIVES
from helpers.darts.verdict import CELL_EDGES, History, clear_edges


def alpha_heat_maps(history: History, used: int, cell: Genotype, perturbed: Genotype) -> Figure:
    """Plot softmax(alpha) of edges by operations after some epochs, normal cells above.

    White is 1/8, the weight of all operations at the start. In the last map, of the epoch `used`
    (counted from 1), a frame is around the operations that `cell` keeps, and a dot on those that
    selection by perturbation keeps. With edge normalisation softmax(beta), which multiplies the
    weights of an edge, is on the right.
    """
    epochs = np.unique(np.linspace(1, used, 5).round().astype(int)).tolist()
    weights = {
        (kind, epoch): softmax(np.array(history[epoch - 1][f"alpha_{kind}"]), axis=-1)
        for kind, epoch in product(KINDS, epochs)
    }
    size, widths = (2.0 * len(epochs) + 3.4, 9.0), [1.0] * (len(epochs) - 1) + [2.0]
    shape: dict[str, Any] = {"width_ratios": widths, "figsize": size, "squeeze": False}
    figure, axes = plt.subplots(2, len(epochs), sharex=True, sharey=True, **shape)
    start = 1 / len(PRIMITIVES)
    highest = max(0.4, *(values.max() for values in weights.values()))  # noise stays pale
    options: dict[str, Any] = {"cmap": "PuOr", "center": start, "vmin": 0, "vmax": highest}
    edges = [" → ".join(STATE_NAMES[state] for state in edge) for edge in EDGES]
    options |= {"xticklabels": PRIMITIVES, "yticklabels": edges}
    for ((kind, epoch), values), ax in zip(weights.items(), axes.flat, strict=True):
        sns.heatmap(values, ax=ax, cbar=False, **options)
        ax.set_title(f"{'reduction' if kind == 'reduce' else kind}, epoch {epoch}", fontsize=10)
        ax.hlines([2, 5, 9], 0, len(PRIMITIVES), color="black", linewidth=0.8)  # between nodes
    for kind, ax in zip(KINDS, axes[:, -1], strict=True):
        for name, *edge in cell.edges(kind):
            corner = (PRIMITIVES.index(name), EDGES.index(tuple(edge)))
            ax.add_patch(Rectangle(corner, 1, 1, fill=False, ec="black", lw=2, clip_on=False))
        beta = history[used - 1][f"beta_{kind}"]
        if beta is not None:
            shares = softmax_by_node(torch.tensor(beta)).tolist()
            right = ax.secondary_yaxis("right")
            right.set_yticks(np.arange(len(EDGES)) + 0.5, [f"β {share:.2f}" for share in shares])
        for name, *edge in perturbed.edges(kind):
            x, y = PRIMITIVES.index(name) + 0.5, EDGES.index(tuple(edge)) + 0.5
            ax.plot(x, y, "o", color="#029e73", markeredgecolor="white", markersize=8)
    colours = figure.colorbar(axes[0, 0].collections[0], ax=axes, aspect=50, pad=0.01)
    ticks = [start, 0.3, *np.arange(0.4, highest + 1e-9, 0.2).round(1)]
    colours.set_ticks([0, *ticks], labels=["0", "1/8", *(f"{tick:g}" for tick in ticks[1:])])
    clear = clear_edges(history[used - 1])
    figure.suptitle(
        f"One operation leads clearly on {clear} of {2 * len(EDGES)} edges in epoch {used}\n"
        "frame: kept by the arg max of α; dot: kept by perturbation; colour: softmax(α)"
    )
    return figure


def growing_cell(history: History, used: int) -> Figure:
    """Draw the cells that the search would have given at three epochs.

    These are the first epoch with steps of alpha, the one at three quarters of all, and the last.
    Edges that the cell also had at the previous one are pale.
    """
    moved = [i for i, record in enumerate(history, 1) if record["alpha_loss"] is not None]
    first = min([*moved, used])
    epochs = sorted({first, max(first, used * 3 // 4), used})  # the verdict compares the last two
    found = [from_json(history[epoch - 1]["genotype"]) for epoch in epochs]
    figure = draw_genotypes({f"epoch {e}": cell for e, cell in zip(epochs, found, strict=True)})
    later = iter(figure.axes[len(KINDS) :])
    for before, cell in pairwise(found):
        for kind, ax in zip(KINDS, later, strict=False):
            pale = {f"{s}-{t}" for _, s, t in {*before.edges(kind)} & {*cell.edges(kind)}}
            for artist in ax.patches:
                part, _, edge = str(artist.get_gid()).partition(" ")
                weak = 0.7 if part == "label" else 0.3  # a name can still be read
                artist.set_alpha(weak if edge in pale else None)
            new = f"{new_edges(before, cell, kinds=[kind])} of {CELL_EDGES // len(KINDS)} edges new"
            ax.set_title(f"{ax.get_title()}, {new}")
    if len(found) > 1:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + 0.8)  # the title would make the drawings smaller
        old = CELL_EDGES - new_edges(found[-2], found[-1])
        figure.suptitle(
            f"{old} of {CELL_EDGES} edges of the cell of epoch {epochs[-1]} were chosen in epoch "
            f"{epochs[-2]}"
        )
    return figure
