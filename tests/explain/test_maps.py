"""The figures of maps show the maps that they name."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import torch

from helpers.explain import maps
from helpers.explain.selection import gallery_parts, surest_of_each_class
from helpers.explain.subject import judged


def test_each_part_is_beside_its_maps_for_its_own_and_for_the_wrong_label(subject):
    parts = surest_of_each_class(subject)
    figure = maps.class_maps(subject)
    axes = np.array(figure.axes[:10]).reshape(2, 5)
    for row, part in enumerate(parts.itertuples()):
        image = axes[row, 0].images[0].get_array()
        np.testing.assert_array_equal(image, subject.pixels([part.id])[0].squeeze())
        assert part.id in axes[row, 0].get_title()
        for column, label in ((1, part.label), (3, 1 - part.label)):
            heat = subject.maps([part.id], int(label))[0]
            drawn = axes[row, column].images[0].get_array()
            np.testing.assert_allclose(drawn, maps.share_of_maximum(heat), atol=1e-6)
            kind = "own" if label == part.label else "wrong"
            word = ("good", "bad")[label]
            assert f'map for "{word}" ({kind} label)' in axes[row, column].get_title()
    assert figure.axes[10].get_ylabel() == maps.MAP_SCALE


def test_an_overlay_is_as_opaque_as_its_map_is_high_and_outlined_at_half():
    _, ax = plt.subplots()
    heat = torch.tensor([[0.0, 1.0], [2.0, 4.0]])
    maps.draw_overlay(ax, np.zeros((2, 2, 1), np.uint8), heat)
    above = ax.images[1]
    np.testing.assert_allclose(above.get_array(), heat / 4)
    np.testing.assert_allclose(above.get_alpha(), maps.OVERLAY_ALPHA * heat / 4)
    assert len(ax.collections) == 2  # the line at half the maximum, black under white
    assert ax.collections[0].levels.tolist() == [0.5]
    _, ax = plt.subplots()
    maps.draw_overlay(ax, np.zeros((2, 2, 1), np.uint8), 0 * heat, maps.map_title(1, 0 * heat))
    assert "empty" in ax.get_title() and "empty" not in maps.map_title(0, heat)
    assert not ax.images[1].get_alpha().any() and not ax.collections


def test_a_gallery_names_its_groups_and_each_part_with_label_and_score(subject):
    parts = subject.parts.copy()
    parts.loc[parts.index[0], "defect_score"] = 1 - parts.label[0]
    subject = replace(subject, parts=judged(parts, subject.threshold))
    figure = maps.gallery(subject)
    titles = [ax.get_title() for ax in figure.axes]
    chosen = gallery_parts(subject.parts, 6)
    for i, group in enumerate(chosen.group.unique()):
        assert figure.axes[12 * i].get_title(loc="left") == group
        expected = [maps.part_title(part) for part in chosen[chosen.group == group].itertuples()]
        assert titles[12 * i : 12 * i + len(expected)] == expected
        assert all(title.startswith("map for") for title in titles[12 * i + 6 :][: len(expected)])
    assert figure.axes[-1].get_ylabel() == maps.MAP_SCALE
