"""The figures show the maps that they name, of parts that are worth looking at."""

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from helpers.datasets import DataError
from helpers.explain import maps
from helpers.explain.maps import gallery_parts, surest_of_each_class
from helpers.explain.subject import Subject, judged


def test_each_part_is_beside_its_maps_for_its_own_and_for_the_wrong_label(subject):
    parts = surest_of_each_class(subject)
    figure = maps.class_maps(subject)
    axes = np.array(figure.axes[:6]).reshape(2, 3)
    for row, part in enumerate(parts.itertuples()):
        image = axes[row, 0].images[0].get_array()
        np.testing.assert_array_equal(image, subject.pixels([part.id])[0].squeeze())
        assert part.id in axes[row, 0].get_title()
        for column, label in ((1, part.label), (2, 1 - part.label)):
            heat = subject.maps([part.id], int(label))[0]
            drawn = axes[row, column].images[1].get_array()
            np.testing.assert_allclose(drawn, maps.share_of_maximum(heat), atol=1e-6)
            kind = "right" if label == part.label else "wrong"
            word = ("good", "bad")[label]
            assert f'map for "{word}" ({kind} label)' in axes[row, column].get_title()
    assert figure.axes[6].get_ylabel() == maps.MAP_SCALE


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


PARTS = judged(
    pd.DataFrame(
        {
            "id": ["g1", "g2", "g3", "g4", "b1", "b2", "b3", "b4"],
            "label": [0] * 4 + [1] * 4,
            "defect_score": [0.1, 0.2, 0.3, 0.9, 0.95, 0.8, 0.45, 0.05],
        }
    ),
    0.5,
)


class Planted(Subject):
    """A subject with maps of one pixel, which are empty for the ids in `model[label]`."""

    def maps(self, ids, target_class):
        filled = [name not in self.model.get(target_class, ()) for name in ids]
        return torch.tensor(filled).float()[:, None, None]


def planted(parts, empty):
    return Planted(empty, None, parts, 0.5)


def test_the_surest_right_part_with_two_filled_maps_is_chosen_in_each_class():
    chosen = maps.surest_of_each_class(planted(PARTS, {}))
    assert chosen.id.tolist() == ["g1", "b1"]
    subject = planted(PARTS, {1: ["g1"], 0: ["g2", "b1"]})
    chosen = maps.surest_of_each_class(subject)
    assert chosen.id.tolist() == ["g3", "b2"]


def test_if_all_maps_that_are_tried_are_empty_the_surest_is_chosen(monkeypatch):
    subject = planted(PARTS, {1: ["g1", "g2", "g3"], 0: ["b1"]})
    assert maps.surest_of_each_class(subject).id.tolist() == ["g1", "b2"]
    parts = PARTS[PARTS.id.isin(["g1", "b3", "b4"])]  # no bad part is right
    chosen = maps.surest_of_each_class(planted(parts, {}))
    assert chosen.id.tolist() == ["g1", "b3"]
    with pytest.raises(DataError, match="there is no bad part among the 4 labelled"):
        maps.surest_of_each_class(planted(PARTS[PARTS.label == 0], {}))
    monkeypatch.setattr(maps, "MOST_TRIED", 1)
    assert maps.surest_of_each_class(subject).id.tolist() == ["g1", "b1"]


def test_a_gallery_holds_surest_hits_worst_misses_and_least_certain_parts():
    chosen = maps.gallery_parts(PARTS, 2).groupby("group", sort=False).id.agg(list)
    assert chosen["surest hits"] == ["g1", "b1"]
    assert chosen["worst misses"] == ["g4", "b4"]
    assert chosen["least certain"] == ["b3", "g3"]
    chosen = maps.gallery_parts(PARTS, 4).groupby("group", sort=False).id.agg(list)
    assert chosen["surest hits"] == ["g1", "g2", "b1", "b2"]
    assert chosen["worst misses"] == ["g4", "b4", "b3"]  # there is one wrong good part
    assert chosen["least certain"] == ["g3"]  # no part is shown twice
    few = maps.gallery_parts(PARTS[PARTS.id.isin(["g1", "b1", "b2"])], 3)
    assert few.id[few.group == "surest hits"].tolist() == ["g1", "b1", "b2"]
    assert "worst misses" not in set(few.group)


def test_half_of_each_takes_the_first_and_fills_up_from_the_other():
    parts = pd.DataFrame({"id": list("abcdefgh"), "called": [1, 0, 0, 0, 0, 1, 0, 0]})
    assert maps.half_of_each(parts, "called", 4).id.tolist() == list("bcaf")
    assert maps.half_of_each(parts, "called", 6).id.tolist() == list("bcdeaf")
    assert len(maps.half_of_each(parts, "called", 100)) == 8
