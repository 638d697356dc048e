"""Draw cells.

A cell is drawn as stairs: a row for each state, with the edges that enter the state. A state's
line runs to the right in its own row, and its edges leave it downwards, so no line passes a name.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from helpers.darts.genotypes import Genotype
from helpers.darts.space import KINDS, NODE_STATES, OPS

OUTPUT = 6
STATE_NAMES = ("cₖ₋₂", "cₖ₋₁", "0", "1", "2", "3", "cₖ")
FILLS = ("#b4eeb4",) * 2 + ("#add8e6",) * 4 + ("#eee8aa",)  # DARTS's green, blue and yellow
FONT_PT = 12.0  # an em, the unit of the drawing
BOX, NAME, STEP, SLOT, GAP = 3.2, 9.0, 0.6, 1.7, 0.7  # widths; height of an edge, and between rows
CENTRED: dict[str, Any] = {"fontsize": FONT_PT, "ha": "center", "va": "center"}
Edge = tuple[str, int, int]  # operation, source, target


def colour_of(operation: str) -> str:
    """Return the colour of an operation, of seaborn's colour-blind palette."""
    palette = sns.color_palette("colorblind").as_hex()
    return palette[list(OPS).index(operation) % len(palette)]


def draw_genotypes(
    genotypes: Mapping[str, Genotype], strong: Collection[tuple[str, str, int, int]] | None = None
) -> Figure:
    """Draw the normal cell of each named genotype, and below these the reduction cells.

    Every edge carries the name of its operation; with `strong` (see `all_edges`) all edges but
    these are pale. All cells have one scale, and names the same size.
    """
    words = dict(zip(KINDS, ("normal", "reduction"), strict=True))
    cells = [(name, cell, kind) for kind in KINDS for name, cell in genotypes.items()]
    figure, axes = plt.subplots(len(cells), squeeze=False, layout="constrained")
    for ax, (name, cell, kind) in zip(axes.flat, cells, strict=True):
        edges = cell.edges(kind)
        _draw_cell(ax, edges, [e for e in edges if strong is not None and (kind, *e) not in strong])
        ax.set(title=f"{name}: {words[kind]} cell", aspect="equal")
        ax.axis("off")
    width, height = (np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim()))
    em = FONT_PT / 72  # inches
    figure.set_size_inches(width * em, len(cells) * (height + 3) * em)
    return figure


def _draw_cell(ax: Axes, edges: Sequence[Edge], pale: Sequence[Edge] = ()) -> None:
    into = [[edge for edge in edges if edge[2] == state] for state in range(OUTPUT)]
    heights = SLOT * np.array([max(1, len(enter)) for enter in into])
    bottoms = -np.cumsum(heights + GAP)
    y = [*(bottoms + heights / 2)]
    y.append((y[NODE_STATES[0]] + y[NODE_STATES[-1]]) / 2)  # of the output
    lefts, ends = [0.0, 0.0], [BOX] * OUTPUT  # of the states' boxes, and of their lines
    for node in NODE_STATES:
        right = lefts[-1] + BOX
        start = right + STEP * (len(into[node]) + 1)  # of the names
        lefts.append(start + NAME + 2 * STEP)
        # the edge on the left takes the lowest slot: no two cross
        for slot, (name, source, _) in enumerate(into[node]):
            alpha = 0.3 if (name, source, node) in pale else 1
            x, at = right + STEP * (slot + 1), bottoms[node] + SLOT * (slot + 0.5)
            color = colour_of(name)
            look: dict[str, Any] = {"color": color, "lw": 1.6, "alpha": alpha}
            end = start + NAME
            ax.plot([x, x, end], [y[source], at, at], **look)
            ax.plot([end, lefts[node] - 0.4], [at, at], marker=">", markevery=[1], **look)
            ax.plot([x], [y[source]], ".", color=color, alpha=alpha)
            box = {"facecolor": "white", "edgecolor": "none", "pad": 1}  # it interrupts the line
            ink = str(0.5 * (1 - alpha))  # of gray
            ax.text(start + NAME / 2, at, name, bbox=box, color=ink, **CENTRED)
            ends[source] = x
    lefts.append(lefts[-1] + BOX + 2 * STEP)
    for state in NODE_STATES:
        ends[state] = lefts[OUTPUT]
    for state, x in enumerate(lefts):
        height = heights[state] if state < OUTPUT else y[2] - y[5] + SLOT
        place = ((x, y[state] - height / 2), BOX, height)
        ax.add_patch(Rectangle(*place, facecolor=FILLS[state], edgecolor="#222222", zorder=2.5))
        ax.text(x + BOX / 2, y[state], STATE_NAMES[state], **CENTRED)
        if state < OUTPUT:
            ax.plot([x + BOX, ends[state]], [y[state]] * 2, color="#9a9a9a", lw=1, zorder=1)
    ax.set(xlim=(-0.5, lefts[OUTPUT] + BOX + 0.5), ylim=(bottoms[-1] - 0.1, 0.1))
