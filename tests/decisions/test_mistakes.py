"""Mistakes are the parts on the wrong side of the threshold, the worst of each kind first."""

from dataclasses import replace

import numpy as np

from helpers.core import metrics
from helpers.decisions import mistakes
from tests.decisions.test_decision import scored

LABELS, SCORES = [1, 1, 1, 0, 0, 0], [0.1, 0.4, 0.9, 0.5, 0.8, 0.2]


def test_escapes_come_first_and_the_worst_of_each_kind_above():
    model = scored(test=(LABELS, SCORES))
    split = model.test.drop(columns="defect_score").assign(path="x.png", cell_type="mono")
    wrong = mistakes.mistakes(model, split, 0.5)
    assert wrong.id.tolist() == ["0", "1", "4", "3"]  # at the threshold a part is called bad
    assert wrong.kind.tolist() == ["escape"] * 2 + ["false alarm"] * 2
    assert {"path", "label", "defect_score", "cell_type"} <= set(wrong)


def test_mistakes_are_counted_with_intervals_by_groups_if_they_are_known():
    labels, scores = [1] * 20 + [0] * 50, [0.1] + [0.9] * 29 + [0.1] * 40
    model = scored(test=(labels, scores))
    escapes, alarms = mistakes.rates(model, 0.5)
    assert (escapes.what, alarms.what) == (
        "bad parts called good, of 20",
        "good parts called bad, of 50",
    )
    exact = metrics.exact_interval(1, 20)
    assert (escapes.estimate, escapes.low, escapes.high) == exact and alarms.estimate == 10 / 50
    grouped = replace(model, test=model.test.assign(group=np.arange(70) // 2))
    assert mistakes.rates(grouped, 0.5)[0].high > escapes.high
