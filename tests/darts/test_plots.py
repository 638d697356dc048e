"""Drawings of cells name each edge, and no name is covered."""

from itertools import combinations

import pytest
from matplotlib.transforms import Bbox

from helpers.darts import plots
from helpers.darts.genotypes import PUBLISHED, random_genotype
from helpers.darts.space import KINDS


def state_at(ax, height):
    """The state whose box, but for the output's, is at this height."""
    boxes = enumerate(patch.get_bbox() for patch in ax.patches[: plots.OUTPUT])
    (state,) = (state for state, box in boxes if box.y0 < height < box.y1)
    return state


@pytest.mark.parametrize("genotype", [*PUBLISHED.values(), *map(random_genotype, range(3))])
def test_a_picture_names_each_edge_of_a_genotype_and_nothing_overlaps(genotype):
    figure = plots.draw_genotypes({"a": genotype, "b": PUBLISHED["DARTS_V2"]})
    figure.draw_without_rendering()
    for ax, kind in zip(figure.axes[::2], KINDS, strict=True):
        names = [text for text in ax.texts if text.get_text() not in plots.STATE_NAMES]
        lines = [line.get_ydata() for line in ax.lines if len(line.get_ydata()) == 3]
        starts, drawn = {line[1]: line[0] for line in lines}, set()  # down from the source's row
        for text in names:
            height = text.get_position()[1]
            ends = [state_at(ax, place) for place in (starts[height], height)]
            drawn.add((text.get_text(), *ends))
        assert drawn == {*genotype.edges(kind)}
        boxes = [one.get_window_extent() for one in (*ax.patches, *names)]
        for one, other in combinations(boxes, 2):
            assert Bbox.intersection(one, other) is None
        assert len(ax.patches) == len(plots.STATE_NAMES)
