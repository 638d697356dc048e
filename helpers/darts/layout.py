"""Where the parts of a drawn cell go: a small layered layout, left to right, like Graphviz's dot.

Every column holds either states or edge labels. An edge has a place of its own in each column that
it passes, so that by construction no label, state or line covers another (Sugiyama et al., 1981;
Gansner et al., "A technique for drawing directed graphs", 1993). Lengths are in em of the labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

GAP = 0.7  # empty height between two neighbours in a column
LANE = 0.3  # height of a line that passes a column


@dataclass(frozen=True)
class Box:
    """A rectangle: its centre and its size."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Layout:
    """`states`, `labels` (by edge) and the corner points of each edge's route, labels left open.

    A route is a list of strokes; a stroke is a list of (x, y), to be joined by level-ended curves.
    """

    states: dict[int, Box]
    labels: dict[tuple[int, int], Box]
    routes: dict[tuple[int, int], list[list[tuple[float, float]]]]
    width: float
    height: float


Edge = tuple[int, int]  # source, target
Size = tuple[float, float]  # width, height
Item = (  # what has a place of its own in a column
    tuple[Literal["state"], int]
    | tuple[Literal["label"], Edge]
    | tuple[Literal["lane"], Edge, int]  # with its column
)
Link = tuple[Item, Item]


def lay_out(
    edges: Mapping[Edge, Size | None],
    sizes: Mapping[int, Size],
) -> Layout:
    """Layout of an acyclic graph.

    edges: {(source, target): (width, height) of its label, or None}; sizes: {state: (w, h)}.
    """
    ranks = _ranks(edges, sizes)
    chains = _chains(edges, ranks)
    columns: list[list[Item]] = [[] for _ in range(2 * max(ranks.values()) + 1)]
    for state in sizes:
        columns[2 * ranks[state]].append(("state", state))
    for (source, _), chain in chains.items():
        for offset, item in enumerate(chain[1:-1], start=1):
            columns[2 * ranks[source] + offset].append(item)
    links = sorted({link for c in chains.values() for link in pairwise(c)})
    columns = _order(columns, links)
    extent = {item: _extent(item, edges, sizes) for column in columns for item in column}
    y = _heights(columns, links, extent)
    return _place(columns, chains, links, extent, y)


def _ranks(edges: Mapping[Edge, Size | None], sizes: Mapping[int, Size]) -> dict[int, int]:
    """Longest path from an input, in edges; states are numbered so that sources come first."""
    ranks: dict[int, int] = {}
    for state in sorted(sizes):
        ranks[state] = max((ranks[s] + 1 for s, t in edges if t == state), default=0)
    return ranks


def _chains(edges: Mapping[Edge, Size | None], ranks: Mapping[int, int]) -> dict[Edge, list[Item]]:
    """What each edge occupies, column by column, its label in the emptiest column it passes."""
    chains: dict[Edge, list[Item]] = {}
    load: Counter[int] = Counter()
    for edge in sorted(edges, key=lambda e: (ranks[e[1]] - ranks[e[0]], e)):
        first, last = 2 * ranks[edge[0]], 2 * ranks[edge[1]]
        label = None
        if edges[edge] is not None:
            label = min(range(first + 1, last, 2), key=lambda column: (load[column], column))
            load[label] += 1
        between: list[Item] = [
            ("label", edge) if column == label else ("lane", edge, column)
            for column in range(first + 1, last)
        ]
        chains[edge] = [("state", edge[0]), *between, ("state", edge[1])]
    return chains


def _extent(item: Item, edges: Mapping[Edge, Size | None], sizes: Mapping[int, Size]) -> Size:
    if item[0] == "state":
        return sizes[item[1]]
    size = edges[item[1]] if item[0] == "label" else None
    return size or (0.0, LANE)


def _order(columns: list[list[Item]], links: Sequence[Link]) -> list[list[Item]]:
    """Columns reordered for few crossings: barycentre sweeps, then swaps of neighbours."""
    left = {item: [a for a, b in links if b == item] for column in columns for item in column}
    right = {item: [b for a, b in links if a == item] for column in columns for item in column}
    best, fewest = columns, _crossings(columns, links)
    for sweep in range(12):
        forward = sweep % 2 == 0
        neighbours = left if forward else right
        place = {item: i - len(c) / 2 for c in columns for i, item in enumerate(c)}
        columns = [list(column) for column in columns]
        for column in columns if forward else reversed(columns):
            centre = {
                item: np.mean([place[n] for n in neighbours[item]] or [place[item]])
                for item in column
            }
            column.sort(key=lambda item: (centre[item], place[item]))
            place.update({item: i - len(column) / 2 for i, item in enumerate(column)})
        columns = _swap_neighbours(columns, links)
        crossings = _crossings(columns, links)
        if crossings < fewest:
            best, fewest = columns, crossings
    return best


def _swap_neighbours(columns: list[list[Item]], links: Sequence[Link]) -> list[list[Item]]:
    crossings = _crossings(columns, links)
    for column in columns:
        for i in range(len(column) - 1):
            column[i : i + 2] = column[i + 1], column[i]
            swapped = _crossings(columns, links)
            if swapped < crossings:
                crossings = swapped
            else:
                column[i : i + 2] = column[i + 1], column[i]
    return columns


def _crossings(columns: Sequence[Sequence[Item]], links: Sequence[Link]) -> int:
    place = {item: (c, i) for c, column in enumerate(columns) for i, item in enumerate(column)}
    ends = np.array([(place[a][0], place[a][1], place[b][1]) for a, b in links])
    same = ends[:, None, 0] == ends[None, :, 0]
    return int(
        (same & (ends[:, None, 1] < ends[None, :, 1]) & (ends[:, None, 2] > ends[None, :, 2])).sum()
    )


def _heights(
    columns: list[list[Item]], links: Sequence[Link], extent: Mapping[Item, Size]
) -> dict[Item, float]:
    """y of every item: near its neighbours' mean, in the column's order, GAP apart."""
    y = {}
    for column in columns:
        tops = np.cumsum([extent[item][1] + GAP for item in column])
        y.update({item: top - tops[-1] / 2 for item, top in zip(column, tops, strict=True)})
    pulls: dict[Item, list[tuple[Item, float]]] = {item: [] for item in y}
    for a, b in links:
        # Lines that only pass pull harder, so that long edges run straight.
        pull = 8.0 if a[0] == b[0] == "lane" else 4.0 if "lane" in (a[0], b[0]) else 1.0
        pulls[a].append((b, pull))
        pulls[b].append((a, pull))
    for _ in range(60):
        for column in columns:
            wanted = [
                sum(y[other] * pull for other, pull in pulls[item])
                / sum(pull for _, pull in pulls[item])
                for item in column
            ]
            half = np.array([extent[item][1] / 2 for item in column])
            offsets = np.concatenate([[0.0], np.cumsum(half[:-1] + half[1:] + GAP)])
            fitted = _isotonic(np.array(wanted) - offsets) + offsets
            y.update(zip(column, fitted.tolist(), strict=True))
    return y


def _isotonic(values: np.ndarray) -> np.ndarray:
    """The nearest non-decreasing sequence (pool adjacent violators)."""
    blocks: list[list[float]] = []  # mean, count
    for value in values:
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, count = blocks.pop()
            before = blocks[-1]
            before[0] = (before[0] * before[1] + mean * count) / (before[1] + count)
            before[1] += count
    return np.concatenate([np.full(int(count), mean) for mean, count in blocks])


def _place(
    columns: list[list[Item]],
    chains: Mapping[Edge, list[Item]],
    links: Sequence[Link],
    extent: Mapping[Item, Size],
    y: Mapping[Item, float],
) -> Layout:
    column_of = {item: c for c, column in enumerate(columns) for item in column}
    widths = [max(extent[item][0] for item in column) for column in columns]
    climb = [0.0] * len(columns)  # steepest link that leaves the column
    for a, b in links:
        climb[column_of[a]] = max(climb[column_of[a]], abs(y[a] - y[b]))
    left = np.concatenate(
        [
            [0.0],
            np.cumsum([w + np.clip(0.5 * c, 1.5, 6.0) for w, c in zip(widths, climb, strict=True)]),
        ]
    )
    low = min(y[item] - extent[item][1] / 2 for item in y)
    high = max(y[item] + extent[item][1] / 2 for item in y)
    boxes = {
        item: Box(left[c] + widths[c] / 2, high - y[item], *extent[item])  # first item on top
        for item, c in column_of.items()
    }
    span = {item: (left[c], left[c] + widths[c]) for item, c in column_of.items()}
    ports = _ports(chains, boxes)
    return Layout(
        states={item[1]: box for item, box in boxes.items() if item[0] == "state"},
        labels={item[1]: box for item, box in boxes.items() if item[0] == "label"},
        routes={e: _route(chain, boxes, span, ports[e]) for e, chain in chains.items()},
        width=float(left[len(columns) - 1] + widths[-1]),
        height=float(high - low),
    )


def _ports(chains: Mapping[Edge, list[Item]], boxes: Mapping[Item, Box]) -> dict[Edge, float]:
    """y at which each edge enters its target: spread over the box in the order of arrival."""
    ports = {}
    for target in {edge[1] for edge in chains}:
        box = boxes["state", target]
        arriving = sorted(
            (edge for edge in chains if edge[1] == target), key=lambda e: boxes[chains[e][-2]].y
        )
        for i, edge in enumerate(arriving):
            ports[edge] = box.y + box.height * ((i + 0.5) / len(arriving) - 0.5)
    return ports


def _route(
    chain: list[Item],
    boxes: Mapping[Item, Box],
    span: Mapping[Item, tuple[float, float]],
    port: float,
) -> list[list[tuple[float, float]]]:
    start, *between, end = chain
    box = boxes[start]
    strokes = [[(box.x + box.width / 2, box.y)]]
    if span[start][1] > strokes[0][0][0] + 1e-9:  # level out to the end of the column
        strokes[0].append((span[start][1], box.y))
    for item in between:
        box = boxes[item]
        first, last = (span[item][0], box.y), (span[item][1], box.y)
        if item[0] == "lane":
            strokes[-1] += [first, last]
        else:
            strokes[-1] += [first, (box.x - box.width / 2, box.y)]
            strokes.append([(box.x + box.width / 2, box.y), last])
    box = boxes[end]
    strokes[-1].append((span[end][0], port))
    if box.x - box.width / 2 > span[end][0] + 1e-9:
        strokes[-1].append((box.x - box.width / 2, port))
    return strokes
