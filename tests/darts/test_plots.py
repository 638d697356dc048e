"""Drawings of cells and of a search show what they should, and no name is covered."""

from itertools import combinations

import pytest
from matplotlib.colors import to_hex
from matplotlib.transforms import Bbox

from helpers.darts import plots
from helpers.darts.genotypes import PUBLISHED, random_genotype
from helpers.darts.space import KINDS, NODE_STATES


def boxes_of(ax):
    """The boxes of the seven states by name, after a check that no two texts or boxes overlap."""
    ax.figure.draw_without_rendering()
    states = {text.get_text(): text.get_window_extent() for text in ax.texts[-7:]}
    boxes = [patch.get_window_extent() for patch in ax.patches]
    for box, name in zip(boxes, states.values(), strict=True):
        assert box.x0 < name.x0 and name.x1 < box.x1
    names = [text.get_window_extent() for text in ax.texts[:-7]]
    for one, other in combinations([*boxes, *names], 2):
        assert Bbox.intersection(one, other) is None
    return dict(zip(states, boxes, strict=True))


def drawn_edges(ax):
    """{(source, target): (colour, label)} by where the lines begin and end."""
    boxes = [*boxes_of(ax).values()]
    labels = {text.get_position()[1]: text.get_text() for text in ax.texts[:-7]}
    edges, at = {}, ax.transData.transform
    for path, end in zip(ax.lines, ax.lines[1:], strict=False):
        if len(path.get_xdata()) == 3:  # down from the source's line, and to the right
            (x, y), (tip, height) = at(path.get_xydata()[0]), at(end.get_xydata()[-1])
            assert to_hex(path.get_color()) == to_hex(end.get_color())
            (source,) = (s for s, b in enumerate(boxes[:6]) if b.y0 < y < b.y1 and b.x1 < x)
            beyond = [(b.x0, s) for s, b in enumerate(boxes) if b.y0 < height < b.y1 and tip < b.x0]
            target = min(beyond)[1]
            label = labels.get(path.get_ydata()[-1], "")
            edges[source, target] = (to_hex(path.get_color()), label)
    return edges


@pytest.mark.parametrize("genotype", [*PUBLISHED.values(), *map(random_genotype, range(3))])
def test_a_picture_shows_each_edge_of_a_genotype_in_its_colour_and_nothing_overlaps(genotype):
    figure = plots.draw_genotypes({"a": genotype, "b": PUBLISHED["DARTS_V2"]})
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [f"{n}: {k} cell" for k in ("normal", "reduction") for n in "ab"]
    for ax, kind in zip(figure.axes[::2], KINDS, strict=True):
        expected = {(s, t): (plots.colour_of(op), op) for op, s, t in genotype.edges(kind)}
        assert drawn_edges(ax) == expected
        on = [line for line in ax.lines if to_hex(line.get_color()) == "#9a9a9a"]
        assert len(on) == 2 + len(NODE_STATES)  # each node's line runs to the output
