"""Draw cells as stairs: a row for each state, and in it the edges that enter the state.

A state's line runs to the right in its own row, and its edges leave it downwards, so no line passes
a name. All text is outlines in data units (em): it grows and shrinks with its axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from helpers.darts.genotypes import Genotype
from helpers.darts.space import EDGES, KINDS, NODE_STATES, PRIMITIVES

OUTPUT = 6
STATE_NAMES = {0: "cₖ₋₂", 1: "cₖ₋₁", 2: "0", 3: "1", 4: "2", 5: "3", OUTPUT: "cₖ"}
_FILL = {0: "#b4eeb4", 1: "#b4eeb4", OUTPUT: "#eee8aa"}  # DARTS's green, blue and yellow
_INK, _RAIL = "#222222", "#9a9a9a"
FONT_PT = 12.0  # size of the names in a figure that a drawing makes
BOX, GAP, STEP, HEAD = 3.2, 0.7, 0.6, 0.8  # widths of a state, of spaces and of an arrow's head
SLOT = 1.7  # height of an edge


class Style(NamedTuple):
    """Colour (seaborn's colorblind palette) and dash pattern, which grey print can tell apart."""

    color: str
    dashes: str | tuple[float, tuple[float, ...]] = "solid"


_DIL = (0, (5, 1.6))
STYLES = {  # the larger kernel of a kind has the lighter colour
    "none": Style("#949494", (0, (1, 3))),
    "max_pool_3x3": Style("#cc78bc", (0, (6, 1.4, 1.2, 1.4))),
    "avg_pool_3x3": Style("#ca9161", (0, (6, 1.4, 1.2, 1.4, 1.2, 1.4))),
    "skip_connect": Style("#029e73", (0, (1.2, 1.2))),
    "sep_conv_3x3": Style("#0173b2"),
    "sep_conv_5x5": Style("#56b4e9"),
    "dil_conv_3x3": Style("#d55e00", _DIL),
    "dil_conv_5x5": Style("#de8f05", _DIL),
    "": Style(_INK),  # all operations at once
}
Edge = tuple[str, int, int]  # operation, source, target


def draw_cell(
    genotype: Genotype, kind: str = "normal", ax: Axes | None = None, title: str = ""
) -> Axes:
    """Draw a cell, "normal" or "reduce": its inputs, the four nodes, its output.

    Every edge carries the name of its operation.
    """
    return _draw_graph(genotype.edges(kind), ax, title)


def draw_search_space(title: str = "") -> Axes:
    """Draw the cell before the search: 14 candidate edges, each a bundle of eight operations.

    A bundle is a mixed operation, the sum of its strands weighted by softmax(alpha). A legend in
    the empty corner names the strands.
    """
    ax = _draw_graph([("", *edge) for edge in EDGES], None, title)
    bottom = ax.get_ylim()[0]
    for row, name in enumerate(reversed(PRIMITIVES)):
        y = bottom + (row + 1) * SLOT
        ax.plot([0.5, 4.5], [y, y], **_look(name), gid=f"sample {name}")
        _add_text(ax, name, 5 + _width(name) / 2, y, gid=f"legend {name}")
    return ax


def draw_genotypes(genotypes: Mapping[str, Genotype]) -> Figure:
    """Draw the normal cell of each named genotype, and below it the reduction cell."""
    cells = [(name, cell, kind) for name, cell in genotypes.items() for kind in KINDS]
    figure, axes = plt.subplots(len(cells), squeeze=False, layout="constrained")
    for ax, (name, cell, kind) in zip(axes.flat, cells, strict=True):
        draw_cell(cell, kind, ax, f"{name}: {'normal' if kind == 'normal' else 'reduction'} cell")
    width, height = (np.ptp(limits) for limits in (ax.get_xlim(), ax.get_ylim()))
    titles_em = 2.5
    em = FONT_PT / 72  # inches
    figure.set_size_inches(width * em, len(cells) * (height + titles_em) * em)
    return figure


def _draw_graph(edges: Sequence[Edge], ax: Axes | None, title: str) -> Axes:
    """Draw states and edges; an edge without a name is a bundle of all operations."""
    into = {node: [edge for edge in edges if edge[2] == node] for node in NODE_STATES}
    heights = {0: SLOT, 1: SLOT, **{node: SLOT * len(enter) for node, enter in into.items()}}
    tops = np.cumsum([0.0, *(height + GAP for height in heights.values())])
    y = {s: -top - height / 2 for (s, height), top in zip(heights.items(), tops, strict=False)}
    names = max((_width(name or "dil_conv_5x5") for name, *_ in edges), default=0.0)
    left, right, ends = {0: 0.0, 1: 0.0}, BOX, dict[int, float]()
    lines = []  # of each edge: its x where it leaves its source, and its y at its target
    for node, enter in into.items():
        below = y[node] - heights[node] / 2
        for i, edge in enumerate(enter):  # the edge on the left takes the lowest slot: no crossing
            x = right + STEP * (i + 1)
            lines.append((edge, x, below + SLOT * (i + 0.5)))
            ends[edge[1]] = x
        left[node] = right + STEP * (len(enter) + 1) + names + 2 * GAP + HEAD
        right = left[node] + BOX
    left[OUTPUT] = right + 2 * GAP + HEAD
    heights[OUTPUT] = y[2] - y[5] + SLOT
    y[OUTPUT] = (y[2] + y[5]) / 2
    ends |= dict.fromkeys(NODE_STATES, left[OUTPUT])
    if ax is None:
        size = np.array([left[OUTPUT] + BOX + 1, tops[-1] + 1 + 2 * bool(title)])
        ax = plt.subplots(figsize=size * FONT_PT / 72, layout="constrained")[1]
    ax.set(xlim=(-0.5, left[OUTPUT] + BOX + 0.5), ylim=(-tops[-1], 0.5), aspect="equal")
    ax.set_title(title)
    ax.axis("off")
    for state, end in ends.items():
        tip = end - HEAD * (state in NODE_STATES)
        ax.plot([left[state] + BOX, tip], [y[state]] * 2, color=_RAIL, lw=1, gid=f"rail {state}")
        if state in NODE_STATES:
            _add_head(ax, end, y[state], _RAIL)
    for (name, source, target), x, at in lines:
        end, gid = left[target], f"{source}-{target}"
        start, stop = end - HEAD - GAP - names, end - HEAD - GAP  # of the name
        look = _look(name) | {"gid": f"edge {gid}"}
        ax.plot([x, x, start - GAP / 2], [y[source], at, at], **look)
        ax.plot([stop + GAP / 2, end - HEAD], [at, at], **look)
        ax.plot(x, y[source], ".", color=STYLES[name].color, gid=f"leave {gid}")
        _add_head(ax, end, at, STYLES[name].color)
        if name:
            _add_text(ax, name, (start + stop) / 2, at, gid=f"label {gid}")
        for row, strand in enumerate("" if name else PRIMITIVES):
            height = at + 0.65 * SLOT * (0.5 - row / (len(PRIMITIVES) - 1))
            ax.plot([start, stop], [height] * 2, **_look(strand), gid=f"strand {gid} {strand}")
    for state, x in left.items():
        height = heights[state] - 0.2 if state != OUTPUT else heights[state]
        patch = FancyBboxPatch(
            (x, y[state] - height / 2),
            BOX,
            height,
            boxstyle="round,pad=0,rounding_size=0.35",
            facecolor=_FILL.get(state, "#add8e6"),
            edgecolor=_INK,
            linewidth=0.8,
            gid=f"state {state}",
        )
        ax.add_artist(patch)
        _add_text(ax, STATE_NAMES[state], x + BOX / 2, y[state], gid=f"name {state}")
    return ax


def _look(name: str) -> dict:
    """Return the line of an operation; 5x5 kernels are thicker than 3x3."""
    width_pt = 2.0 if name.endswith("5x5") else 1.4
    return {"color": STYLES[name].color, "ls": STYLES[name].dashes, "lw": width_pt}


def _add_head(ax: Axes, x: float, y: float, color: str) -> None:
    ax.fill([x - HEAD, x, x - HEAD], [y + 0.33, y, y - 0.33], color=color, lw=0)


@cache
def _outline(text: str) -> Path:
    """Return the outline of the text at a size of 1 em, centred."""
    path = TextPath((0, 0), text, size=1, prop=FontProperties(family="DejaVu Sans"))
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))


def _width(text: str) -> float:
    return _outline(text).get_extents().width


def _add_text(ax: Axes, text: str, x: float, y: float, gid: str) -> None:
    outline = _outline(text).transformed(Affine2D().translate(x, y))
    ax.add_artist(PathPatch(outline, facecolor=_INK, linewidth=0, gid=gid, zorder=4))
