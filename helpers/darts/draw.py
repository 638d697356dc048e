"""Pictures of cells, in the manner of the figures of DARTS (arXiv 1806.09055); matplotlib alone.

All text is drawn as outlines in data units. It grows and shrinks with its axes, and so cannot come
to overlap when a figure is resized or a layout engine moves the axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

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
from helpers.darts.layout import Box, Layout, lay_out
from helpers.darts.operations import PRIMITIVES
from helpers.darts.space import EDGES, KINDS, NODE_STATES

OUTPUT = NODE_STATES[-1] + 1
STATE_NAMES = {0: "$c_{k-2}$", 1: "$c_{k-1}$", 2: "0", 3: "1", 4: "2", 5: "3", OUTPUT: "$c_k$"}
_FILL = {0: "#b4eeb4", 1: "#b4eeb4", OUTPUT: "#eee8aa"}  # the figures' green, blue and yellow
_NODE_FILL = "#add8e6"
_INK = "#222222"
_FONT = FontProperties(family="DejaVu Sans")
FONT_PT = 13.0  # size of the labels in a figure that `draw_cell` makes itself
MARGIN = 0.6  # em around the drawing


@dataclass(frozen=True)
class Style:
    """Colour (seaborn's colorblind palette) and dash pattern, so that grey print tells them too."""

    color: str
    dashes: str | tuple[float, tuple[float, ...]]


STYLES = {  # an operation's own, or its kind's; the larger kernel of a kind has the lighter colour
    "sep_conv": Style("#0173b2", "solid"),
    "sep_conv_5x5": Style("#56b4e9", "solid"),
    "dil_conv": Style("#d55e00", (0, (5, 1.6))),
    "dil_conv_5x5": Style("#de8f05", (0, (5, 1.6))),
    "skip_connect": Style("#029e73", (0, (1.2, 1.2))),
    "max_pool": Style("#cc78bc", (0, (6, 1.4, 1.2, 1.4))),
    "avg_pool": Style("#ca9161", (0, (6, 1.4, 1.2, 1.4, 1.2, 1.4))),
    "none": Style("#949494", (0, (1, 3))),
    "mixed": Style(_INK, "solid"),
    "concat": Style("#7a7a7a", "solid"),
}


def style_of(operation: str) -> Style:
    """The style of an operation, the same in drawings of cells and in curves over the epochs."""
    kind = operation.removesuffix("_3x3").removesuffix("_5x5")
    return STYLES.get(operation) or STYLES[kind]


def draw_cell(
    genotype: Genotype, kind: str = "normal", ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Draw the "normal" or "reduction" cell left to right: inputs, four nodes, output.

    Every edge carries its operation's name. Without `ax` a figure is made in which the names are
    FONT_PT high. Raises GenotypeError for an unknown kind.
    """
    labels = {(source, target): name for name, source, target in genotype.edges(kind)}
    layout = _lay_out({e: _size(name, 0.4) for e, name in labels.items()}, genotype.concat(kind))
    ax = _axes(layout.width, layout.height) if ax is None else ax
    for edge, strokes in layout.routes.items():
        _add_edge(ax, edge, strokes, style_of(labels.get(edge, "concat")))
    for edge, box in layout.labels.items():
        _add_text(ax, labels[edge], box.x, box.y, gid=f"label {edge[0]}-{edge[1]}")
    for state, box in layout.states.items():
        _add_state(ax, state, box)
    _frame(ax, layout.width, layout.height, title)
    return ax


def draw_search_space(ax: Axes | None = None, title: str | None = None) -> Axes:
    """Draw the cell before the search: 14 candidate edges, each a bundle of eight operations.

    A bundle is a mixed operation, the sum of its strands weighted by softmax(alpha); a legend
    below names the strands.
    """
    layout = _lay_out(dict.fromkeys(EDGES, (6.0, 2.2)), NODE_STATES)
    legend_height = 4.2
    ax = _axes(layout.width, layout.height + legend_height) if ax is None else ax
    for edge, strokes in layout.routes.items():
        _add_edge(ax, edge, strokes, style_of("mixed" if edge in layout.labels else "concat"))
    for edge, box in layout.labels.items():
        for row, operation in enumerate(PRIMITIVES):
            bulge = box.height * (0.5 - row / (len(PRIMITIVES) - 1))
            points = (box.x - box.width / 2, box.y), (box.x + box.width / 2, box.y)
            _add_strand(
                ax, operation, *points, bulge, gid=f"strand {edge[0]}-{edge[1]} {operation}"
            )
    for state, box in layout.states.items():
        _add_state(ax, state, box)
    for index, operation in enumerate(PRIMITIVES):  # two rows of four
        x, y = layout.width * (index // 2) / 4 + 1, -1.6 - 1.8 * (index % 2)
        _add_strand(ax, operation, (x, y), (x + 4, y), 0.0, gid=f"sample {operation}")
        _add_text(ax, operation, x + 4.6 + _size(operation)[0] / 2, y, gid=f"legend {operation}")
    _frame(ax, layout.width, layout.height, title, bottom=legend_height)
    return ax


def draw_genotypes(genotypes: Mapping[str, Genotype], width_in: float = 14.0) -> Figure:
    """A row for each named genotype: its normal cell left, its reduction cell right, one scale."""
    figure = plt.figure(layout="constrained")
    grid = figure.add_gridspec(len(genotypes), 2)
    axes = grid.subplots(squeeze=False)
    for (name, genotype), row in zip(genotypes.items(), axes, strict=True):
        for kind, ax in zip(KINDS, row, strict=True):
            draw_cell(genotype, kind, ax, f"{name}: {kind} cell")
    widths = np.max([[np.ptp(ax.get_xlim()) for ax in row] for row in axes], axis=0)
    heights = np.max([[np.ptp(ax.get_ylim()) for ax in row] for row in axes], axis=1)
    for (row, column), ax in np.ndenumerate(axes):
        for limits, span, set_limits in (
            (ax.get_xlim(), widths[column], ax.set_xlim),
            (ax.get_ylim(), heights[row], ax.set_ylim),
        ):
            middle = sum(limits) / 2
            set_limits(middle - span / 2, middle + span / 2)
    grid.set_width_ratios(widths)
    grid.set_height_ratios(heights)
    title_em = 2.5
    figure.set_size_inches(width_in, width_in * (heights + title_em).sum() / widths.sum())
    return figure


def _lay_out(
    labels: Mapping[tuple[int, int], tuple[float, float]], concat: Sequence[int]
) -> Layout:
    edges = {**labels, **{(state, OUTPUT): None for state in concat}}
    sizes = {}
    for state, name in STATE_NAMES.items():
        width, height = _size(name)
        arriving = sum(target == state for _, target in edges)
        sizes[state] = max(width + 1.0, 2.6), max(height + 0.8, 1.9, 0.8 * arriving)
    return lay_out(edges, sizes)


def _axes(width: float, height: float) -> Axes:
    """Axes that fill a new figure, sized for names of FONT_PT; width and height in em."""
    inches = FONT_PT / 72
    size = ((width + 2 * MARGIN) * inches, (height + 2 * MARGIN) * inches)
    return plt.figure(figsize=size).add_axes((0, 0, 1, 1))


@cache
def _outline(text: str) -> Path:
    """The text's outline at a size of 1 em, centred."""
    path = TextPath((0, 0), text, size=1, prop=_FONT)
    box = path.get_extents()
    return path.transformed(Affine2D().translate(-(box.x0 + box.x1) / 2, -(box.y0 + box.y1) / 2))


@cache
def _size(text: str, pad: float = 0.0) -> tuple[float, float]:
    box = _outline(text).get_extents()
    return box.width + 2 * pad, max(box.height, 1.0)


def _add_text(ax: Axes, text: str, x: float, y: float, gid: str) -> None:
    outline = _outline(text).transformed(Affine2D().translate(x, y))
    ax.add_artist(PathPatch(outline, facecolor=_INK, linewidth=0, gid=gid, zorder=4))


def _add_state(ax: Axes, state: int, box: Box) -> None:
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    ax.add_artist(
        FancyBboxPatch(
            corner,
            box.width,
            box.height,
            boxstyle="round,pad=0,rounding_size=0.35",
            facecolor=_FILL.get(state, _NODE_FILL),
            edgecolor=_INK,
            linewidth=0.8,
            gid=f"state {state}",
            zorder=3,
        )
    )
    _add_text(ax, STATE_NAMES[state], box.x, box.y, gid=f"name {state}")


def _add_edge(
    ax: Axes, edge: tuple[int, int], strokes: Sequence[Sequence[tuple[float, float]]], style: Style
) -> None:
    head = 0.85
    (tip_x, tip_y) = strokes[-1][-1]
    strokes = [*strokes[:-1], [*strokes[-1][:-1], (tip_x - head, tip_y)]]
    for points in strokes:
        ax.add_artist(
            PathPatch(
                _curve(points),
                fill=False,
                edgecolor=style.color,
                linestyle=style.dashes,
                linewidth=1.5,
                capstyle="butt",
                gid=f"edge {edge[0]}-{edge[1]}",
                zorder=2,
            )
        )
    triangle = [(tip_x - head, tip_y + 0.33), (tip_x, tip_y), (tip_x - head, tip_y - 0.33)]
    ax.add_artist(Polygon(triangle, color=style.color, linewidth=0, zorder=2))


def _add_strand(
    ax: Axes,
    operation: str,
    start: tuple[float, float],
    end: tuple[float, float],
    bulge: float,
    gid: str,
) -> None:
    """One operation of a mixed edge; 5x5 kernels are drawn thicker than 3x3."""
    (x0, y0), (x1, y1) = start, end
    third = (x1 - x0) / 3
    height = 4 / 3 * bulge  # a cubic reaches 3/4 of its control points
    path = Path(
        [start, (x0 + third / 2, y0 + height), (x1 - third / 2, y1 + height), end],
        [Path.MOVETO, *[Path.CURVE4] * 3],
    )
    style = style_of(operation)
    ax.add_artist(
        PathPatch(
            path,
            fill=False,
            edgecolor=style.color,
            linestyle=style.dashes,
            linewidth=2.0 if operation.endswith("5x5") else 1.2,
            gid=gid,
            zorder=2,
        )
    )


def _curve(points: Sequence[tuple[float, float]]) -> Path:
    """Cubic curves through the points, level at each, so that they never leave its height range."""
    vertices, codes = [points[0]], [Path.MOVETO]
    for (x0, y0), (x1, y1) in pairwise(points):
        middle = (x0 + x1) / 2
        vertices += [(middle, y0), (middle, y1), (x1, y1)]
        codes += [Path.CURVE4] * 3
    return Path(vertices, codes)


def _frame(ax: Axes, width: float, height: float, title: str | None, bottom: float = 0.0) -> None:
    ax.set_xlim(-MARGIN, width + MARGIN)
    ax.set_ylim(-MARGIN - bottom, height + MARGIN)
    ax.set_aspect("equal")
    ax.axis("off")
    if title is not None:
        ax.set_title(title)
