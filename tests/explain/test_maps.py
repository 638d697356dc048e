"""The maps of a subject, how they are drawn, and which parts are worth looking at."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from helpers.explain import maps


def test_images_maps_and_pixels_follow_the_order_of_the_ids(subject):
    ids = subject.parts.id.iloc[[5, 2, 30]]
    backwards = ids.iloc[::-1]
    torch.testing.assert_close(subject.maps(ids, 1).flip(0), subject.maps(backwards, 1))
    np.testing.assert_array_equal(subject.pixels(ids)[::-1], subject.pixels(backwards))
    mean, std = subject.model.spec.mean[0], subject.model.spec.std[0]
    expected = (subject.pixels(ids)[..., 0] / 255 - mean) / std
    np.testing.assert_allclose(subject.images(ids)[:, 0], expected, atol=1e-5)


def test_a_part_is_called_bad_from_the_threshold_on():
    parts = pd.DataFrame({"label": [1, 1, 0], "defect_score": [0.25, 0.5, 0.75]})
    judged = maps.judged(parts, 0.5)
    assert judged.called.tolist() == [0, 1, 1] and judged.right.tolist() == [False, True, False]
    assert judged.mistake.tolist() == [0.75, 0.5, 0.75]


def test_an_overlay_is_as_opaque_as_its_map_is_high_and_outlined_at_half():
    _, ax = plt.subplots()
    heat = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    maps.draw_overlay(ax, np.zeros((2, 2, 1), np.uint8), heat)
    above = ax.images[1]
    np.testing.assert_allclose(above.get_array(), heat / 4)
    np.testing.assert_allclose(above.get_alpha(), maps.OVERLAY_ALPHA * heat / 4)
    assert len(ax.collections) == 2  # the line at half the maximum, black under white
    assert ax.collections[0].levels.tolist() == [0.5]
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 1]]] * 2  # on the maximum
    _, ax = plt.subplots()
    maps.draw_overlay(ax, np.zeros((2, 2, 1), np.uint8), 0 * heat, maps.map_title(1, 0 * heat))
    assert "empty" in ax.get_title() and "empty" not in maps.map_title(0, heat)
    assert not ax.images[1].get_alpha().any() and not ax.collections


def test_an_overlay_on_the_scale_of_a_model_has_equal_colours_for_equal_values():
    for heat in (torch.tensor([[0, 0.1], [1, most]]) for most in (9, 1)):  # which does not matter
        figure, axes = maps.grid(1, 1, (3, 3), "", (100, "odds"))
        maps.draw_overlay(axes[0, 0], np.zeros((2, 2, 1), np.uint8), heat, scale=(100, ""))
        above, shares = axes[0, 0].images[1], (heat / np.log(100)).clamp(max=1)
        np.testing.assert_allclose(above.get_array(), shares, rtol=1e-6)
        np.testing.assert_allclose(above.get_alpha(), maps.OVERLAY_ALPHA * shares**0.5, rtol=1e-6)
        assert axes[0, 0].collections[0].levels.max() < shares[0, 1]  # around all that is marked
    assert [label.get_text() for label in figure.axes[1].get_yticklabels()] == ["1", "10", "100"]
    assert (maps.stops(heat), maps.stops(0 * heat)) == ("what stops it", "clean")


IDS = ["g1", "g2", "g3", "g4", "b1", "b2", "b3", "b4"]
SCORES = [0.1, 0.2, 0.3, 0.9, 0.95, 0.8, 0.45, 0.05]
PARTS = pd.DataFrame({"id": IDS, "label": [0] * 4 + [1] * 4, "defect_score": SCORES})
PARTS = maps.judged(PARTS, 0.5)


class Planted(maps.Subject):
    """A subject with maps of four pixels; `model` says how many are high, by label and id."""

    def maps(self, ids, target_class):
        high = [self.model[target_class].get(name, 4) for name in ids]
        return (torch.arange(4) < torch.tensor(high)[:, None]).float().reshape(-1, 2, 2)


def test_of_the_surest_right_parts_of_each_class_the_smallest_map_is_chosen(monkeypatch):
    high = {"g2": 1, "g3": 2, "g4": 1, "g1": 0}, {"b1": 2, "b2": 1, "b4": 1}
    subject = Planted(high, None, PARTS)
    chosen = maps.clearest_of_each_class(subject)
    assert chosen.id.tolist() == ["g2", "b2"]  # g1 has an empty map; g4 and b4 are called wrongly
    monkeypatch.setattr(maps, "MOST_TRIED", 1)
    assert maps.clearest_of_each_class(subject).id.tolist() == ["g1", "b1"]
    wrong = Planted(
        ({}, {}), None, PARTS[PARTS.id.isin(["g1", "b3", "b4"])]
    )  # no bad part is right
    assert maps.clearest_of_each_class(wrong).id.tolist() == ["g1", "b3"]
