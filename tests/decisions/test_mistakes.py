"""Mistakes are the parts on the wrong side of the threshold, the worst of each kind first."""

import numpy as np
import pandas as pd

from helpers.core import metrics
from helpers.datasets.split_file import read_split
from helpers.decisions import mistakes
from helpers.results import predictions
from tests import planted

JUDGED = pd.DataFrame({"id": [*"abcdef"], "label": [1, 1, 1, 0, 0, 0], "cell_type": "mono"})
JUDGED["defect_score"] = [0.1, 0.4, 0.9, 0.5, 0.8, 0.2]
JUDGED["group"] = ["x", "x", "y", "y", "y", None]
JUDGED["probability"] = [1, 2 / 3, 1, 0, 1 / 3, 0]


def test_escapes_come_first_and_the_worst_of_each_kind_above():
    wrong = mistakes.mistakes(JUDGED, 0.5)
    assert wrong.id.tolist() == ["a", "b", "e", "d"]
    assert wrong.kind.tolist() == ["escape"] * 2 + ["false alarm"] * 2


def test_judged_parts_are_those_of_the_test_side_with_the_split_s_columns(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "svm", 1, 0)
    split = read_split(run_paths.split_csv)
    scored = predictions.read_predictions(run_paths.predictions("svm"), split)
    judged = mistakes.judged_parts(scored, split)
    assert judged.id.tolist() == split.id[split.split == "test"].tolist()
    assert {"path", "label", "defect_score"} <= set(judged)


def test_mistakes_are_counted_with_intervals_by_groups_if_they_are_known():
    wrong = pd.DataFrame({"id": ["0", "30"]})
    judged = pd.DataFrame({"id": map(str, range(70)), "label": [1] * 20 + [0] * 50})
    escapes, alarms = mistakes.rates(wrong, judged)
    assert (escapes.what, alarms.what) == (
        "bad parts called good, of 20",
        "good parts called bad, of 50",
    )
    exact = metrics.exact_interval(1, 20)
    assert (escapes.estimate, escapes.low, escapes.high) == exact and alarms.estimate == 1 / 50
    by_group, _ = mistakes.rates(wrong, judged.assign(group=np.arange(70) // 2))
    assert by_group.high > escapes.high
    (alone,) = mistakes.rates(wrong, judged[:20])
    assert alone == escapes
