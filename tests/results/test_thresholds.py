"""The threshold to move: its sentences by hand, its first place, and the parts that it shows."""

import re

import numpy as np
import pandas as pd

from helpers.core import slider
from helpers.models.record import Model
from helpers.results import decision, thresholds
from helpers.results.predictions import Scored
from helpers.results.settings import DecisionSettings

LABELS = np.array([0, 0, 0, 0, 1, 1])
SCORES = np.array([0.1, 0.2, 0.4, 0.9, 0.3, 0.8])
FRAME = pd.DataFrame({"id": [*"012345"], "label": LABELS, "defect_score": SCORES})
SCORED = Scored(Model("fbp"), FRAME, FRAME)


def test_its_sentence_counts_by_hand():
    costs = DecisionSettings(escape_cost=100, false_alarm_cost=2)
    text = thresholds.sentence(SCORED, 0.5, costs, bad_rate=0.1)
    assert "1 of 2 bad parts escape (1 % asked: missed here), 3 of 4 good ones pass, 1 are" in text
    # of 1,000 parts 50 bad ones and 675 good ones pass; 225 good ones are rejected
    assert f"{1e6 * 50 / 725:,.0f} ppm" in text and f"{50 * 100 + 225 * 2:,}." in text
    unknown = DecisionSettings(escape_cost=0, false_alarm_cost=0, review_cost=0)
    assert "cost" not in thresholds.sentence(SCORED, 0.5, unknown, 0.1)


class Images:
    """A cache of images of one gray value each, by which they are known."""

    def rows(self, ids):
        return ids.to_numpy(dtype=int)

    def take(self, rows):
        self.taken = getattr(self, "taken", []) + rows.tolist()
        return np.broadcast_to(rows.astype(np.uint8)[:, None, None, None], (len(rows), 4, 4, 1))


def test_it_starts_at_the_promised_threshold_and_shows_each_part_that_changes_sides(monkeypatch):
    settings, images = DecisionSettings(max_escape_rate=0.34), Images()
    monkeypatch.setattr(slider, "slider", lambda *given: given)
    frames, start, _ = thresholds.threshold_slider(SCORED, images, settings, 0.3)
    promised = decision.decisions(SCORED, settings, 0.3)["expected"].bins.pass_below
    below = [float(re.search(r"Pass below ([\d.]+):", frame)[1]) for frame in frames]
    assert below == sorted([0.3, 0.8, promised]) and below[start] == promised
    # a part is shown where it first passes: below .8 all but a bad and a good one do
    assert sorted(images.taken) == [0, 1, 2, 4]
