"""Drawings of cells and of a search show what they should, and nothing in them overlaps."""

from itertools import combinations, product

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

from helpers.darts import search_plots
from helpers.darts.draw import OUTPUT, STYLES, draw_cell, draw_genotypes, draw_search_space
from helpers.darts.genotypes import PUBLISHED, random_genotype
from helpers.darts.space import EDGES, KINDS, NODE_STATES, PRIMITIVES


def parts(ax, prefix):
    """{gid without prefix: [artists]} of the drawing's parts of one kind."""
    found = {}
    for artist in [*ax.patches, *ax.lines]:
        kind, _, name = (artist.get_gid() or "").partition(" ")
        if kind == prefix:
            found.setdefault(name, []).append(artist)
    return found


def boxes(ax, *prefixes):
    return {
        (prefix, name): artists[0].get_window_extent()
        for prefix in prefixes
        for name, artists in parts(ax, prefix).items()
    }


def overlap(a, b):
    return Bbox.intersection(a, b) is not None


def is_inside(box, frame):
    return all(map(frame.containsx, box.intervalx)) and all(map(frame.containsy, box.intervaly))


def assert_nothing_overlaps(ax):
    ax.figure.draw_without_rendering()
    assert not ax.texts  # text sized in points would not shrink with its axes
    solid = boxes(ax, "label", "legend", "state")
    for (one, a), (other, b) in combinations(solid.items(), 2):
        assert not overlap(a, b), f"{one} overlaps {other}"
    for kind, (one, box) in product(("edge", "rail"), solid.items()):
        inner = box.padded(-0.5)  # lines end at the border of a state
        for name, lines in parts(ax, kind).items():
            for line in lines:
                path = line.get_path().transformed(line.get_transform())
                assert not path.intersects_bbox(inner, filled=False), f"{name} runs through {one}"
    outside = [one for one, box in solid.items() if not is_inside(box, ax.bbox.padded(0.01))]
    assert not outside


def test_nothing_overlaps_in_random_cells_whatever_the_size_of_their_axes():
    for seed, kind in product(range(10), KINDS):
        assert_nothing_overlaps(draw_cell(random_genotype(seed), kind))
        plt.close("all")
    figure, axes = plt.subplots(2, 2, figsize=(6, 3))
    for ax, kind in zip(axes.flat, KINDS * 2, strict=True):
        draw_cell(PUBLISHED["DARTS_V1"], kind, ax)
    figure.set_size_inches(3, 8)
    for ax in axes.flat:
        assert_nothing_overlaps(ax)


@pytest.mark.parametrize(("name", "kind"), [*product(PUBLISHED, KINDS)])
def test_a_picture_shows_each_edge_of_the_genotype_in_its_style_and_nothing_overlaps(name, kind):
    genotype = PUBLISHED[name]
    ax = draw_cell(genotype, kind)
    assert_nothing_overlaps(ax)
    expected = {f"{s}-{t}": op for op, s, t in genotype.edges(kind)}
    assert set(parts(ax, "label")) == set(parts(ax, "edge")) == set(expected)
    states = {name: box for (_, name), box in boxes(ax, "state").items()}
    rows = {name: (box.y0 + box.y1) / 2 for name, box in states.items()}
    for edge, operation in expected.items():
        (label,) = parts(ax, "label")[edge]
        written = TextPath((0, 0), operation, size=1, prop={"family": "DejaVu Sans"}).vertices
        shift = label.get_path().vertices - written
        assert np.allclose(shift, shift[0]), f"{edge} is not labelled {operation}"
        first, last = parts(ax, "edge")[edge]
        assert to_hex(first.get_color()) == to_hex(last.get_color()) == STYLES[operation].color
        start = ax.transData.transform(first.get_xydata()[0])
        end = ax.transData.transform(last.get_xydata()[-1])
        assert start[1] == pytest.approx(rows[edge[0]]) and start[0] > states[edge[0]].x1
        target = states[edge[-1]]
        assert target.y0 < end[1] < target.y1 and end[0] < target.x0
    assert set(states) == {str(state) for state in range(7)}
    assert {str(state) for state in NODE_STATES} <= set(parts(ax, "rail"))  # on to the output
    for (_, state), box in boxes(ax, "name").items():  # names stay inside their boxes
        assert states[state].x0 < box.x0 < box.x1 < states[state].x1


def test_each_cell_of_a_genotype_has_a_row_in_one_scale():
    figure = draw_genotypes({"DARTS_V2": PUBLISHED["DARTS_V2"], "random": random_genotype(1)})
    figure.draw_without_rendering()
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        f"{n}: {k} cell" for n in ("DARTS_V2", "random") for k in ("normal", "reduction")
    ]
    for ax in figure.axes:
        assert_nothing_overlaps(ax)
    heights = [boxes(ax, "state")["state", "0"].height for ax in figure.axes]
    assert heights == pytest.approx([heights[0]] * 4, rel=0.03)


def test_the_search_space_shows_all_operations_on_all_candidate_edges():
    ax = draw_search_space(title="before the search")
    assert_nothing_overlaps(ax)
    strands = set(parts(ax, "strand"))
    assert strands == {f"{s}-{t} {op}" for (s, t), op in product(EDGES, PRIMITIVES)}
    assert len(parts(ax, "edge")) == 14 and str(OUTPUT) in parts(ax, "state")
    assert set(parts(ax, "legend")) == set(parts(ax, "sample")) == set(PRIMITIVES)
    solid = boxes(ax, "state", "legend")
    for one, box in boxes(ax, "strand", "sample").items():
        assert not any(overlap(box, other) for other in solid.values()), one


def history_of(epochs, beta=None):
    rng, history = np.random.default_rng(0), []
    for epoch in range(1, epochs + 1):
        record = {f"alpha_{kind}": rng.normal(size=(14, 8)).tolist() for kind in KINDS}
        record |= {f"entropy_{kind}": 2.0 - epoch / 100 for kind in KINDS}
        record |= {f"beta_{kind}": beta for kind in KINDS}
        record |= {"train_loss": 1 / epoch, "alpha_loss": 1 / epoch if epoch > 1 else None}
        history.append({"epoch": epoch, **record})
    return history


@pytest.mark.parametrize("beta", [None, [0.0, np.log(3), *[0.0] * 12]])
def test_the_heat_maps_show_the_last_alpha_frame_one_cell_and_dot_the_other(beta):
    cells = PUBLISHED["DARTS_V1"], PUBLISHED["PDARTS"]
    history = history_of(6, beta)
    curves = search_plots.search_curves(history)
    assert all(any(len(line.get_xdata()) for line in ax.lines) for ax in curves.axes)
    figure = search_plots.alpha_heat_maps(history, *cells)
    for ax, kind in zip(figure.axes[:2], KINDS, strict=True):
        values = np.array(ax.collections[0].get_array()).reshape(14, 8)
        alpha = np.exp(history[-1][f"alpha_{kind}"])
        np.testing.assert_allclose(values, alpha / alpha.sum(axis=1, keepdims=True))
        framed = {patch.get_xy() for patch in ax.patches}
        dotted = {tuple(line.get_xydata()[0] - 0.5) for line in ax.lines}
        for found, cell in zip((framed, dotted), cells, strict=True):
            places = {(PRIMITIVES.index(o), EDGES.index((s, t))) for o, s, t in cell.edges(kind)}
            assert found == places
        names = [label.get_text() for label in ax.get_yticklabels()]
        shares = [name.partition("β ")[2] for name in names[:3]]
        assert shares == (["0.25", "0.75", "0.33"] if beta else [""] * 3)
    figure.draw_without_rendering()
    labels = [t for ax in figure.axes[:2] for t in (*ax.get_xticklabels(), *ax.get_yticklabels())]
    shown = [t.get_window_extent() for t in labels if t.get_text() and t.get_visible()]
    assert not any(overlap(a, b) for a, b in combinations(shown, 2))
