"""Draw cells in the manner of the figures of DARTS (arXiv 1806.09055), with matplotlib alone.

All text is drawn as outlines in data units. It grows and shrinks with its axes, so it never
overlaps when a figure is resized or a layout engine moves the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import FancyBboxPatch, PathPatch, Polygon
from matplotlib.path import Path
from matplotlib.textpath import TextPath
from matplotlib.transforms import Affine2D

from helpers.darts.genotypes import Genotype
from helpers.darts.layout import Edge, Layout, Size, lay_out
from helpers.darts.space import EDGES, KINDS, NODE_STATES, PRIMITIVES

OUTPUT = 6
STATE_NAMES = {0: "cₖ₋₂", 1: "cₖ₋₁", 2: "0", 3: "1", 4: "2", 5: "3", OUTPUT: "cₖ"}
_FILL = {0: "#b4eeb4", 1: "#b4eeb4", OUTPUT: "#eee8aa"}  # the figures' green, blue and yellow
_INK = "#222222"
FONT_PT = 13.0  # size of the labels in a figure that `draw_cell` makes itself
WIDTH_IN = 10.0  # of the figure of `draw_genotypes`


class Style(NamedTuple):
    """Colour (seaborn's colorblind palette) and dash pattern, which grey print can tell apart."""

    color: str
    dashes: str | tuple[float, tuple[float, ...]]


_DIL = (0, (5, 1.6))
STYLES = {  # the larger kernel of a kind has the lighter colour
    "none": Style("#949494", (0, (1, 3))),
    "max_pool_3x3": Style("#cc78bc", (0, (6, 1.4, 1.2, 1.4))),
    "avg_pool_3x3": Style("#ca9161", (0, (6, 1.4, 1.2, 1.4, 1.2, 1.4))),
    "skip_connect": Style("#029e73", (0, (1.2, 1.2))),
    "sep_conv_3x3": Style("#0173b2", "solid"),
    "sep_conv_5x5": Style("#56b4e9", "solid"),
    "dil_conv_3x3": Style("#d55e00", _DIL),
    "dil_conv_5x5": Style("#de8f05", _DIL),
    "mixed": Style(_INK, "solid"),  # all operations at once
    "concat": Style("#7a7a7a", "solid"),  # from a node to the output
}


def draw_cell(
    genotype: Genotype, kind: str = "normal", ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw a cell left to right: its inputs, the four nodes, its output.

    Every edge carries the name of its operation. Without `ax` the drawing gets a figure of its own,
    in which the names are FONT_PT high.

    Args:
        kind: "normal" or "reduce".
    """
    names = {(source, target): name for name, source, target in genotype.edges(kind)}
    sizes = {edge: _size(name, 0.4) for edge, name in names.items()}
    ax, layout = _draw_graph(sizes, names, ax, title)
    for (source, target), box in layout.labels.items():
        _add_text(ax, names[source, target], box.x, box.y, gid=f"label {source}-{target}")
    return ax


def draw_search_space(title: str | None = None) -> Axes:
    """Draw the cell before the search: 14 candidate edges, each a bundle of eight operations.

    A bundle is a mixed operation, the sum of its strands weighted by softmax(alpha). A legend below
    names the strands.
    """
    sizes, mixed = dict.fromkeys(EDGES, (6.0, 2.2)), dict.fromkeys(EDGES, "mixed")
    ax, layout = _draw_graph(sizes, mixed, None, title, below=4.2)
    for (source, target), box in layout.labels.items():
        for row, name in enumerate(PRIMITIVES):
            bulge = box.height * (0.5 - row / (len(PRIMITIVES) - 1))
            gid = f"strand {source}-{target} {name}"
            _add_strand(ax, name, box.x - box.width / 2, box.y, box.width, bulge, gid)
    for index, name in enumerate(PRIMITIVES):  # two rows of four
        x, y = layout.right * (index // 2) / 4 + 1, layout.bottom - 1.6 - 1.8 * (index % 2)
        _add_strand(ax, name, x, y, 4.0, 0.0, gid=f"sample {name}")
        _add_text(ax, name, x + 4.6 + _size(name)[0] / 2, y, gid=f"legend {name}")
    return ax


def draw_genotypes(genotypes: Mapping[str, Genotype]) -> Figure:
    """Draw a row for each named genotype, its normal cell left, its reduction cell right."""
    figure, axes = plt.subplots(len(genotypes), 2, squeeze=False, layout="constrained")
    for (name, genotype), row in zip(genotypes.items(), axes, strict=True):
        for kind, word, ax in zip(KINDS, ("normal", "reduction"), row, strict=True):
            draw_cell(genotype, kind, ax, f"{name}: {word} cell")
    # One scale for all: as many em in a row or column as its largest drawing needs.
    widths = np.max([[np.ptp(ax.get_xlim()) for ax in row] for row in axes], axis=0)
    heights = np.max([[np.ptp(ax.get_ylim()) for ax in row] for row in axes], axis=1)
    for (row, column), ax in np.ndenumerate(axes):
        x, y = np.mean(ax.get_xlim()), np.mean(ax.get_ylim())
        ax.set_xlim(x - widths[column] / 2, x + widths[column] / 2)
        ax.set_ylim(y - heights[row] / 2, y + heights[row] / 2)
    grid = axes[0, 0].get_gridspec()
    grid.set_width_ratios(widths)
    grid.set_height_ratios(heights)
    title_em = 2.5
    figure.set_size_inches(WIDTH_IN, WIDTH_IN * (heights + title_em).sum() / widths.sum())
    return figure


def _draw_graph(
    labels: Mapping[Edge, Size],
    styles: Mapping[Edge, str],
    ax: Axes | None,
    title: str | None,
    below: float = 0.0,
) -> tuple[Axes, Layout]:
    """Draw states and edges, leaving room for the labels and `below` em under the drawing."""
    outputs = dict.fromkeys((node, OUTPUT) for node in NODE_STATES)
    layout, margin = lay_out({**labels, **outputs}, tuple(STATE_NAMES)), 0.6
    low, high = layout.bottom - below - margin, layout.top + margin
    if ax is None:
        size = np.array([layout.right + 2 * margin, high - low]) * FONT_PT / 72
        figure = plt.figure(figsize=tuple(size), layout="constrained")
        figure.set_layout_engine("none")  # now: one without any from the start gets one when saved
        ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-margin, layout.right + margin), ylim=(low, high), aspect="equal")
    ax.axis("off")
    if title is not None:
        ax.set_title(title)
    for edge, strokes in layout.routes.items():
        style = STYLES[styles.get(edge, "concat")]
        _add_edge(ax, strokes, style, gid=f"edge {edge[0]}-{edge[1]}")
    for state, box in layout.states.items():
        patch = FancyBboxPatch(
            (box.x - box.width / 2, box.y - box.height / 2),
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.35",
            facecolor=_FILL.get(state, "#add8e6"),
            edgecolor=_INK,
            linewidth=0.8,
            gid=f"state {state}",
            zorder=3,
        )
        ax.add_artist(patch)
        _add_text(ax, STATE_NAMES[state], box.x, box.y, gid=f"name {state}")
    return ax, layout


@cache
def _outline(text: str) -> Path:
    """Return the outline of the text at a size of 1 em, centred."""
    path = TextPath((0, 0), text, size=1, prop=FontProperties(family="DejaVu Sans"))
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))


@cache
def _size(text: str, pad: float = 0.0) -> Size:
    box = _outline(text).get_extents()
    return box.width + 2 * pad, max(box.height, 1.0)


def _add_text(ax: Axes, text: str, x: float, y: float, gid: str) -> None:
    outline = _outline(text).transformed(Affine2D().translate(x, y))
    ax.add_artist(PathPatch(outline, facecolor=_INK, linewidth=0, gid=gid, zorder=4))


def _add_edge(
    ax: Axes, strokes: Sequence[Sequence[tuple[float, float]]], style: Style, gid: str
) -> None:
    """Draw curves through the corners, level at each, so that they keep within its heights."""
    head = 0.85
    tip_x, tip_y = strokes[-1][-1]
    for points in (*strokes[:-1], (*strokes[-1][:-1], (tip_x - head, tip_y))):
        vertices, codes = [points[0]], [Path.MOVETO]
        for (x0, y0), (x1, y1) in pairwise(points):
            middle = (x0 + x1) / 2
            vertices += [(middle, y0), (middle, y1), (x1, y1)]
            codes += [Path.CURVE4] * 3
        _add_line(ax, Path(vertices, codes), style, 1.5, gid)
    triangle = [(tip_x - head, tip_y + 0.33), (tip_x, tip_y), (tip_x - head, tip_y - 0.33)]
    ax.add_artist(Polygon(triangle, color=style.color, linewidth=0, gid=gid, zorder=2))


def _add_strand(
    ax: Axes, name: str, x: float, y: float, width: float, bulge: float, gid: str
) -> None:
    """Draw one operation of a bundle; 5x5 kernels are thicker than 3x3."""
    control = y + 4 / 3 * bulge  # a cubic reaches 3/4 of its control points
    points = [(x, y), (x + width / 6, control), (x + width * 5 / 6, control), (x + width, y)]
    path = Path(points, [Path.MOVETO, *[Path.CURVE4] * 3])
    _add_line(ax, path, STYLES[name], 2.0 if name.endswith("5x5") else 1.2, gid)


def _add_line(ax: Axes, path: Path, style: Style, width_pt: float, gid: str) -> None:
    line = {"edgecolor": style.color, "linestyle": style.dashes, "linewidth": width_pt}
    ax.add_artist(PathPatch(path, fill=False, **line, capstyle="butt", gid=gid, zorder=2))
