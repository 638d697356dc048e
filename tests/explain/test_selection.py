"""The parts that are chosen for pictures and samples."""

import pandas as pd
import pytest
import torch

from helpers.explain import selection
from helpers.explain.subject import ExplainError, Subject, judged

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
    chosen = selection.surest_of_each_class(planted(PARTS, {}))
    assert chosen.id.tolist() == ["g1", "b1"]
    subject = planted(PARTS, {1: ["g1"], 0: ["g2", "b1"]})
    chosen = selection.surest_of_each_class(subject)
    assert chosen.id.tolist() == ["g3", "b2"]


def test_if_all_maps_that_are_tried_are_empty_the_surest_is_chosen(monkeypatch):
    subject = planted(PARTS, {1: ["g1", "g2", "g3"], 0: ["b1"]})
    assert selection.surest_of_each_class(subject).id.tolist() == ["g1", "b2"]
    parts = PARTS[PARTS.id.isin(["g1", "b3", "b4"])]  # no bad part is right
    chosen = selection.surest_of_each_class(planted(parts, {}))
    assert chosen.id.tolist() == ["g1", "b3"]
    with pytest.raises(ExplainError, match="there is no bad part among the 4 labelled"):
        selection.surest_of_each_class(planted(PARTS[PARTS.label == 0], {}))
    monkeypatch.setattr(selection, "MOST_TRIED", 1)
    assert selection.surest_of_each_class(subject).id.tolist() == ["g1", "b1"]


def test_a_gallery_holds_surest_hits_worst_misses_and_least_certain_parts():
    chosen = selection.gallery_parts(PARTS, 2).groupby("group", sort=False).id.agg(list)
    assert chosen["surest hits"] == ["g1", "b1"]
    assert chosen["worst misses"] == ["g4", "b4"]
    assert chosen["least certain"] == ["b3", "g3"]
    chosen = selection.gallery_parts(PARTS, 4).groupby("group", sort=False).id.agg(list)
    assert chosen["surest hits"] == ["g1", "g2", "b1", "b2"]
    assert chosen["worst misses"] == ["g4", "b4", "b3"]  # there is one wrong good part
    assert chosen["least certain"] == ["g3"]  # no part is shown twice
    few = selection.gallery_parts(PARTS[PARTS.id.isin(["g1", "b1", "b2"])], 3)
    assert few.id[few.group == "surest hits"].tolist() == ["g1", "b1", "b2"]
    assert "worst misses" not in set(few.group)


def test_half_of_each_takes_the_first_and_fills_up_from_the_other():
    parts = pd.DataFrame({"id": list("abcdefgh"), "called": [1, 0, 0, 0, 0, 1, 0, 0]})
    assert selection.half_of_each(parts, "called", 4).id.tolist() == list("bcaf")
    assert selection.half_of_each(parts, "called", 6).id.tolist() == list("bcdeaf")
    assert len(selection.half_of_each(parts, "called", 100)) == 8
