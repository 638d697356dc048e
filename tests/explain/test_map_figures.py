"""The pictures of maps show the numbers that they were given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from helpers.explain import maps
from helpers.explain import numbers as gradcam_numbers
from helpers.explain import shown as explain
from tests.explain_run import write_masks, write_run


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def shown(home, parts_folder):
    write_masks(parts_folder)
    return explain.open_model(write_run(parts_folder), "cnn")


def texts(figure):
    return "\n".join(t.get_text() for t in figure.findobj(plt.Text))


def test_each_part_stands_beside_its_maps_for_its_own_and_for_the_wrong_label(shown):
    parts = shown.parts.iloc[[3, 30]]
    assert parts.label.tolist() == [1, 0] or parts.label.tolist() == [0, 1]
    figure = maps.class_maps(shown, parts)
    axes = np.array(figure.axes[:10]).reshape(2, 5)
    for row, part in enumerate(parts.itertuples()):
        image = axes[row, 0].images[0].get_array()
        np.testing.assert_array_equal(image, shown.pixels([part.id])[0].squeeze())
        for column, label in ((1, part.label), (3, 1 - part.label)):
            heat = shown.maps([part.id], int(label))[0]
            drawn = axes[row, column].images[0].get_array()
            np.testing.assert_allclose(drawn, maps.share_of_maximum(heat), atol=1e-6)
            word = ("good", "bad")[label]
            kind = "own" if label == part.label else "wrong"
            assert f'map for "{word}" ({kind} label)' in axes[row, column].get_title()
        assert part.id in axes[row, 0].get_title()
    (bar,) = figure.axes[10:]
    assert bar.get_ylabel() == maps.MAP_SCALE


def test_the_rule_by_which_the_parts_were_chosen_stands_above_them(shown):
    text = texts(maps.class_maps(shown))
    assert "most surely right part of each class whose two maps are not empty (good: number" in text


def test_an_overlay_is_as_opaque_as_its_map_is_high_and_outlined_at_half():
    _, ax = plt.subplots()
    heat = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    maps.draw_overlay(ax, np.zeros((2, 2, 1), np.uint8), heat)
    above = ax.images[1]
    np.testing.assert_allclose(above.get_array(), heat / 4)
    np.testing.assert_allclose(above.get_alpha(), maps.OVERLAY_ALPHA * heat / 4)
    assert len(ax.collections) == 2  # the line at half the maximum, black under white
    assert ax.collections[0].levels.tolist() == [0.5]


def test_an_empty_map_is_called_empty_and_covers_nothing():
    _, ax = plt.subplots()
    heat = torch.zeros(2, 2)
    assert maps.map_title(1, heat) == 'map for "bad", empty'
    assert maps.map_title(0, heat + 1) == 'map for "good"'
    maps.draw_overlay(ax, np.zeros((2, 2, 1), np.uint8), heat)
    assert not ax.images[1].get_alpha().any() and not ax.collections


def test_a_gallery_names_each_group_and_each_part_with_label_and_score(shown):
    text = texts(maps.gallery(shown, columns=4))
    parts = explain.gallery_parts(shown.parts, shown.threshold, 4)
    for part in parts.itertuples():
        assert explain.part_title(part) in text
    assert "surest hits" in text and "least certain" in text
    assert ("worst misses: none" in text) != (parts.group == "worst misses").any()


def test_curves_and_areas_are_those_of_the_numbers(shown):
    numbers = gradcam_numbers.measure(shown, 12)
    figure = maps.insertion_deletion(numbers)
    panels = [(c, kind) for c in (0, 1) for kind in ("insertion", "deletion")]
    for ax, (label, kind) in zip(figure.axes, panels, strict=True):
        found = numbers.curves[label]
        for line, curves in zip(ax.lines, (found.maps, found.random), strict=True):
            np.testing.assert_allclose(line.get_ydata(), getattr(curves, kind).mean(dim=0))
        area = getattr(found.maps, f"{kind}_area").mean()
        assert f"area {area:.3f}" in ax.get_xlabel()
        assert f"parts called {('good', 'bad')[label]}" in ax.get_title()


def test_maps_of_random_weights_stand_below_the_trained_ones_and_the_model_stays(shown):
    before = {name: w.clone() for name, w in shown.model.state_dict().items()}
    numbers = gradcam_numbers.measure(shown, 6)
    figure = maps.sanity(shown, numbers, columns=4)
    trained, random = figure.axes[0].images[1], figure.axes[4].images[1]
    part = numbers.sample.iloc[0]
    heat = shown.maps([part.id], int(part.called))[0]
    np.testing.assert_allclose(trained.get_array(), maps.share_of_maximum(heat), atol=1e-6)
    assert not np.allclose(trained.get_array(), random.get_array(), atol=0.05)
    assert f"mean of 6 parts {numbers.correlation.mean():.2f}" in texts(figure)
    torch.testing.assert_close(dict(shown.model.state_dict()), before, rtol=0, atol=0)


def test_maps_on_masks_go_from_the_most_to_the_least_energy_on_the_defect(shown):
    numbers = gradcam_numbers.measure(shown, 6)
    figure = maps.on_masks(shown, numbers, columns=3)
    shares = [float(ax.get_title().split()[-4]) for ax in figure.axes[3:6]]
    values = numbers.masks.energy.values
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == pytest.approx(values.max().item(), abs=5e-4)
    assert shares[-1] == pytest.approx(values.min().item(), abs=5e-4)
    best = numbers.masks.ids.iloc[int(values.argmax())]
    assert best in figure.axes[0].get_title()


def test_without_masks_there_is_nothing_to_show(home, parts_folder):
    shown = explain.open_model(write_run(parts_folder), "cnn")
    numbers = gradcam_numbers.measure(shown, 4)
    assert numbers.masks is None
    with pytest.raises(ValueError, match="the source has no masks of the defects"):
        maps.on_masks(shown, numbers)
