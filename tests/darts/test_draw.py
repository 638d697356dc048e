"""Drawings of cells and of a search show what they should, and nothing in them overlaps."""

from itertools import combinations, pairwise, product

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import Polygon
from matplotlib.textpath import TextPath
from matplotlib.transforms import Bbox

from helpers.core import style as plots
from helpers.darts import search_plots
from helpers.darts.draw import (
    OUTPUT,
    STYLES,
    draw_cell,
    draw_genotypes,
    draw_search_space,
)
from helpers.darts.genotypes import PUBLISHED, new_edges, random_genotype, to_json
from helpers.darts.space import EDGES, KINDS, NODE_STATES, PRIMITIVES


def parts(ax, prefix):
    """{gid: [patches]} of the drawing's parts of one kind."""
    found = {}
    for patch in ax.patches:
        if (patch.get_gid() or "").startswith(prefix + " "):
            found.setdefault(patch.get_gid(), []).append(patch)
    return found


def boxes(ax, prefix):
    return {gid: patches[0].get_window_extent() for gid, patches in parts(ax, prefix).items()}


def line_points(patch):
    """Points along a drawn line, in pixels, at most 1 px apart."""
    path = patch.get_path().transformed(patch.get_transform())
    (corners,) = path.to_polygons(closed_only=False)
    pieces = [np.linspace(a, b, 2 + int(np.abs(b - a).max())) for a, b in pairwise(corners)]
    return np.concatenate(pieces)


def overlap(a, b):
    return Bbox.intersection(a, b) is not None


def assert_nothing_overlaps(ax):
    ax.figure.draw_without_rendering()
    assert not ax.texts  # text sized in points would not shrink with its axes
    texts = boxes(ax, "label") | boxes(ax, "legend")
    solid = texts | boxes(ax, "state")
    for (one, a), (other, b) in combinations(solid.items(), 2):
        assert not overlap(a, b), f"{one} overlaps {other}"
    for edge, lines in parts(ax, "edge").items():
        points = np.concatenate([line_points(line) for line in lines])
        for gid, box in solid.items():
            inside = (points > box.min + 0.01) & (points < box.max - 0.01)
            assert not inside.all(axis=1).any(), f"{edge} runs through {gid}"
    for gid, box in solid.items():
        inside = ax.bbox.padded(0.01)
        assert inside.containsx(box.x0) and inside.containsx(box.x1), f"{gid} leaves the axes"
        assert inside.containsy(box.y0) and inside.containsy(box.y1), f"{gid} leaves the axes"


def test_nothing_overlaps_in_fifty_random_cells():
    for seed, kind in product(range(25), KINDS):
        assert_nothing_overlaps(draw_cell(random_genotype(seed), kind))
        plt.close("all")


def test_nothing_overlaps_when_the_axes_are_resized_after_drawing():
    figure, axes = plt.subplots(2, 2, figsize=(6, 3))
    for ax, kind in zip(axes.flat, KINDS * 2, strict=True):
        draw_cell(PUBLISHED["DARTS_V1"], kind, ax)
    figure.set_size_inches(3, 8)
    figure.subplots_adjust(left=0.3, hspace=0.9)
    for ax in axes.flat:
        assert_nothing_overlaps(ax)


@pytest.mark.parametrize(("name", "kind"), [*product(PUBLISHED, KINDS)])
def test_a_picture_shows_each_edge_of_the_genotype_in_its_style_and_nothing_overlaps(name, kind):
    genotype = PUBLISHED[name]
    ax = draw_cell(genotype, kind)
    assert_nothing_overlaps(ax)
    expected = {f"{s}-{t}": op for op, s, t in genotype.edges(kind)}
    assert set(parts(ax, "label")) == {f"label {edge}" for edge in expected}
    for edge, operation in expected.items():
        (label,) = parts(ax, "label")[f"label {edge}"]
        written = TextPath((0, 0), operation, size=1, prop={"family": "DejaVu Sans"}).vertices
        shift = label.get_path().vertices - written
        assert np.allclose(shift, shift[0]), f"{edge} is not labelled {operation}"
    concat = {f"{state}-{OUTPUT}": "concat" for state in NODE_STATES}
    assert set(parts(ax, "edge")) == {f"edge {edge}" for edge in expected | concat}
    for edge, operation in (expected | concat).items():
        for line in parts(ax, "edge")[f"edge {edge}"]:
            assert to_hex(line.get_edgecolor()) == STYLES[operation].color
    names, states = boxes(ax, "name"), boxes(ax, "state")
    assert set(states) == {f"state {state}" for state in range(7)}
    for gid, box in names.items():  # names stay inside their boxes
        state = states[gid.replace("name", "state")]
        assert state.x0 < box.x0 < box.x1 < state.x1 and state.y0 < box.y0 < box.y1 < state.y1


def test_edges_leave_their_source_and_point_at_their_target():
    genotype = PUBLISHED["PC_DARTS_IMAGENET"]
    ax = draw_cell(genotype)
    ax.figure.draw_without_rendering()
    states = boxes(ax, "state")
    tips = [
        ax.transData.transform(patch.get_xy()[1])
        for patch in ax.patches
        if isinstance(patch, Polygon)
    ]
    assert len(tips) == 8 + 4
    for target in range(2, 7):
        box = states[f"state {target}"]
        arriving = [y for x, y in tips if abs(x - box.x0) < 0.01 and box.y0 < y < box.y1]
        assert len(arriving) == (4 if target == OUTPUT else 2)
        assert len(set(np.round(arriving))) == len(arriving)
    for gid, lines in parts(ax, "edge").items():
        source = states[f"state {gid.split()[1][0]}"]
        x, y = line_points(lines[0])[0]
        assert x == pytest.approx(source.x1, abs=0.01)
        assert y == pytest.approx((source.y0 + source.y1) / 2, abs=0.01)


def test_genotypes_side_by_side_share_one_scale_and_do_not_overlap():
    figure = draw_genotypes({"DARTS_V2": PUBLISHED["DARTS_V2"], "random": random_genotype(1)})
    figure.draw_without_rendering()
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == [
        "DARTS_V2: normal cell",
        "DARTS_V2: reduction cell",
        "random: normal cell",
        "random: reduction cell",
    ]
    heights = []
    for ax in figure.axes:
        assert_nothing_overlaps(ax)
        heights += [box.height for gid, box in boxes(ax, "state").items() if gid == "state 0"]
    assert heights == pytest.approx([heights[0]] * 4, rel=0.03)
    assert plt.get_fignums() == [figure.number]


def test_the_search_space_shows_all_operations_on_all_candidate_edges():
    ax = draw_search_space(title="before the search")
    assert_nothing_overlaps(ax)
    strands = set(parts(ax, "strand"))
    assert strands == {f"strand {s}-{t} {op}" for (s, t), op in product(EDGES, PRIMITIVES)}
    assert len(parts(ax, "edge")) == 14 + 4
    assert set(parts(ax, "legend")) == {f"legend {op}" for op in PRIMITIVES}
    solid = boxes(ax, "state") | boxes(ax, "legend")
    for gid, (strand,) in (parts(ax, "strand") | parts(ax, "sample")).items():
        box = strand.get_window_extent()
        assert not any(overlap(box, other) for other in solid.values()), gid
    bundles = {}
    for gid, box in boxes(ax, "strand").items():
        bundles.setdefault(gid.split()[1], []).append(box)
    unions = {edge: Bbox.union(members) for edge, members in bundles.items()}
    for (one, a), (other, b) in combinations(unions.items(), 2):
        assert not overlap(a, b), f"bundle {one} overlaps {other}"


def _history(epochs, beta=None):
    rng, history = np.random.default_rng(0), []
    for epoch in range(1, epochs + 1):
        record = {f"alpha_{kind}": rng.normal(size=(14, 8)).tolist() for kind in KINDS}
        record |= {f"entropy_{kind}": 2.0 for kind in KINDS}
        record |= {f"beta_{kind}": beta for kind in KINDS}
        names = ("train_loss", "val_loss", "val_auc")
        record |= dict.fromkeys(names, 0.5 + 0.01 * epoch)
        history.append({"epoch": epoch, "skips": 1, "eigenvalue": None, **record})
    return history


def test_heat_maps_show_the_first_epoch_to_the_used_one():
    history = _history(7)
    cells = PUBLISHED["DARTS_V1"], PUBLISHED["PDARTS"]
    figure = search_plots.alpha_heat_maps(history, 6, *cells)
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    shown = [f"{word}, epoch {e}" for word in ("normal", "reduction") for e in (1, 2, 4, 5, 6)]
    assert titles == shown
    assert figure.axes[0].get_yticklabels()[13].get_text() == "2 → 3"
    for ax, (kind, epoch) in zip(figure.axes, product(KINDS, (1, 2, 4, 5, 6)), strict=False):
        values = np.array(ax.collections[0].get_array())
        assert values.sum(axis=1) == pytest.approx(np.ones(14))
        alpha = np.array(history[epoch - 1][f"alpha_{kind}"])
        assert (values.argmax(axis=1) == alpha.argmax(axis=1)).all()


def test_the_growing_cell_says_how_many_of_its_edges_are_new():
    names = ("PDARTS", "DARTS_V1", "DARTS_V1", "DARTS_V2")
    losses = (None, 0.5, 0.4, 0.3)  # alpha rests in the first epoch
    history = [
        {"genotype": to_json(PUBLISHED[name]), "alpha_loss": loss}
        for name, loss in zip(names, losses, strict=True)
    ]
    figure = search_plots.growing_cell(history, 4)
    titles = [ax.get_title() for ax in figure.axes]
    before, after = PUBLISHED["DARTS_V1"], PUBLISHED["DARTS_V2"]
    new = [len({*after.edges(kind)} - {*before.edges(kind)}) for kind in KINDS]
    assert sum(new) == new_edges(before, after) > 0
    expected = ["epoch 2: normal cell", "epoch 2: reduction cell"]
    expected += [f"epoch 3: {kind} cell, 0 of 8 edges new" for kind in ("normal", "reduction")]
    expected += [f"epoch 4: normal cell, {new[0]} of 8 edges new"]
    assert titles == [*expected, f"epoch 4: reduction cell, {new[1]} of 8 edges new"]
    strong = {p.get_gid() for p in figure.axes[4].patches if p.get_alpha() is None}
    added = {*after.edges("normal")} - {*before.edges("normal")}
    assert {f"label {s}-{t}" for _, s, t in added} == {g for g in strong if g.startswith("label")}
    pale = [p for p in figure.axes[4].patches if p.get_alpha() == 0.7]
    assert {p.get_gid() for p in pale} <= {f"label {s}-{t}" for _, s, t in before.edges("normal")}
    assert len(pale) == 8 - new[0]
    assert figure.get_suptitle().startswith(f"{16 - sum(new)} of 16 edges of the cell of epoch 4")


@pytest.mark.parametrize("used", [1, 6])
def test_the_last_heat_maps_frame_one_cell_and_dot_the_other(used):
    cells = PUBLISHED["DARTS_V1"], PUBLISHED["PDARTS"]
    figure = search_plots.alpha_heat_maps(_history(6), used, *cells)
    last = [ax for ax in figure.axes if ax.get_title().endswith(f"epoch {used}")]
    for ax, kind in zip(last, KINDS, strict=True):
        framed = {patch.get_xy() for patch in ax.patches}
        dotted = {tuple(line.get_xydata()[0] - 0.5) for line in ax.lines}
        for found, cell in zip((framed, dotted), cells, strict=True):
            places = {(PRIMITIVES.index(o), EDGES.index((s, t))) for o, s, t in cell.edges(kind)}
            assert found == places
    others = [ax for ax in figure.axes if ax.get_title() and ax not in last]
    assert not any(ax.patches or ax.lines for ax in others)


def test_the_last_heat_maps_name_each_edge_s_share_of_its_node_if_there_is_one():
    beta = [0.0, np.log(3), *[0.0] * 12]
    figure = search_plots.alpha_heat_maps(_history(2, beta), 2, *[PUBLISHED["DARTS_V1"]] * 2)
    for ax in figure.axes[1:4:2]:
        (shares,) = ax.child_axes
        names = [label.get_text().removeprefix("β ") for label in shares.get_yticklabels()]
        assert names[:5] == ["0.25", "0.75", "0.33", "0.33", "0.33"]
    assert not figure.axes[0].child_axes


@pytest.mark.parametrize("beta", [None, [0.0] * 14])
@pytest.mark.parametrize("size", [1, 16])
def test_no_label_of_the_heat_maps_covers_another(size, beta):
    plots.use_style()
    cells = [PUBLISHED["DARTS_V1"]] * 2
    figure = search_plots.alpha_heat_maps(_history(size, beta), size, *cells)
    figure.draw_without_rendering()
    texts = [figure._suptitle, *(ax.title for ax in figure.axes)]
    everything = [*figure.axes, *(child for ax in figure.axes for child in ax.child_axes)]
    texts += [t for ax in everything for t in [*ax.get_xticklabels(), *ax.get_yticklabels()]]
    shown = [t.get_window_extent() for t in texts if t.get_text() and t.get_visible()]
    boxes = [box for box in shown if box.width]
    assert not any(overlap(a, b) for a, b in combinations(boxes, 2))
