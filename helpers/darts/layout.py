"""Place the parts of a drawn cell in columns so that no state, label or line covers another.

The column of a state is the length of the longest path that leads to it. The labels of its edges
are at its left, one above the other. An edge that passes a column has a lane of its own there.
The columns are filled from left to right: each item is placed as near to the heights that its lines
come from as its neighbours allow. Lengths are in em of the labels; y points up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from sklearn.isotonic import isotonic_regression

STATE_WIDTH, STATE_HEIGHT = 3.2, 1.9
PORT = 0.8  # least height of a state's box for each edge that enters it
LANE = 0.3  # height of a line without a label
GAP = 0.7  # empty height between two neighbours
TAIL = 1.5  # width between the labels and their state
INPUTS_APART = 5.0  # height between the two inputs

Edge = tuple[int, int]  # source, target
Size = tuple[float, float]  # width, height


class Box(NamedTuple):
    """A rectangle: its centre and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass
class Layout:
    """Boxes of the states and of the labels (by edge), and the route of each edge.

    A route is a list of strokes, interrupted by the label. A stroke is a list of corners (x, y), to
    be joined by curves that are level at each corner. x runs from 0 to `right`.
    """

    states: dict[int, Box]
    labels: dict[Edge, Box]
    routes: dict[Edge, list[list[tuple[float, float]]]]
    right: float = 0.0
    bottom: float = 0.0
    top: float = 0.0


class _Item(NamedTuple):
    """Describe what needs height in a column: a state with its edges, or an edge passing by."""

    target: int  # the state, or the one to which the edge leads
    edges: list[Edge]  # from the lowest up
    heights: list[float]  # of the edges' labels
    wanted: float  # y
    box: float  # height of the state; 0 for an edge passing by
    height: float  # of the state or of all labels, whichever is larger


def lay_out(edges: Mapping[Edge, Size | None], states: Sequence[int]) -> Layout:
    """Return the layout of an acyclic graph whose states are sorted: sources before targets.

    edges: {(source, target): (width, height) of its label, or None without one}.
    """
    sizes = {edge: label or (0.0, LANE) for edge, label in edges.items()}
    column_of: dict[int, int] = {}
    for state in states:
        column_of[state] = max((column_of[s] + 1 for s, t in edges if t == state), default=0)
    layout = Layout({}, {}, {})
    level: dict[Edge, float] = {}  # y of the edges that are on their way
    for column in range(max(column_of.values()) + 1):
        passing = [e for e in level if column_of[e[1]] > column]
        items = [_Item(e[1], [e], [LANE], level[e], 0.0, LANE) for e in passing]
        for state in (state for state in states if column_of[state] == column):
            entering = sorted((e for e in level if e[1] == state), key=level.__getitem__)
            wanted = np.mean([level[e] for e in entering]) if entering else -INPUTS_APART * state
            heights, box = [sizes[e][1] for e in entering], max(STATE_HEIGHT, PORT * len(entering))
            height = max(box, sum(heights) + GAP * (len(heights) - 1))
            items.append(_Item(state, entering, heights, float(wanted), box, height))
        # Edges from one source with the farthest targets take the outer lanes.
        middle = np.mean([item.wanted for item in items])
        items.sort(key=lambda i: (i.wanted, i.target if i.wanted > middle else -i.target))
        weights = [1.0 if item.box else 8.0 for item in items]  # lanes run straight
        centres = _stacked([item.wanted for item in items], [i.height for i in items], weights)
        layout.bottom = min(layout.bottom, centres[0] - items[0].height / 2)
        layout.top = max(layout.top, centres[-1] + items[-1].height / 2)
        before, climb = dict(level), 0.0
        for item, y in zip(items, centres, strict=True):
            ys = _stacked([y] * len(item.edges), item.heights)
            level.update(zip(item.edges, ys, strict=True))
            climb = max([climb, *(abs(level[e] - before[e]) for e in item.edges)])
        # Steep lines need room; the labels are left of the states of their column.
        left = layout.right + (min(max(0.5 * climb, 1.5), 6.0) if column else 0.0)
        widths = [sizes[e][0] for item in items if item.box for e in item.edges]
        labels_right = left + max(widths, default=0.0)
        box_left = labels_right + (TAIL if column else 0.0)
        layout.right = box_left + STATE_WIDTH
        for item, y in zip(items, centres, strict=True):
            if not item.box:
                (edge,) = item.edges
                layout.routes[edge][-1] += [(left, level[edge]), (layout.right, level[edge])]
                continue
            layout.states[item.target] = Box(box_left + STATE_WIDTH / 2, y, STATE_WIDTH, item.box)
            for i, edge in enumerate(item.edges):
                strokes, at = layout.routes[edge], level.pop(edge)
                strokes[-1].append((left, at))
                if edges[edge] is not None:
                    label = Box((left + labels_right) / 2, at, *sizes[edge])
                    layout.labels[edge] = label
                    strokes[-1].append((label.x - label.width / 2, at))
                    strokes.append([(label.x + label.width / 2, at), (labels_right, at)])
                port = y + item.box * ((i + 0.5) / len(item.edges) - 0.5)
                strokes[-1].append((box_left, port))
            for edge in (edge for edge in edges if edge[0] == item.target):
                layout.routes[edge], level[edge] = [[(layout.right, y)]], y
    return layout


def _stacked(
    wanted: Sequence[float], heights: Sequence[float], weights: Sequence[float] | None = None
) -> list[float]:
    """Return the centres nearest to `wanted` of items from the lowest up, GAP apart."""
    if not wanted:
        return []
    half = np.array(heights) / 2
    offsets = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:] + GAP)])
    fitted = isotonic_regression(np.array(wanted) - offsets, sample_weight=weights)
    return (fitted + offsets).tolist()
