"""The figures show the numbers that they were given."""

import pandas as pd
import pytest

from helpers.models.record import Model
from helpers.results import charts, comparison
from helpers.runs.scores import read_models
from tests import planted

AUCS = {"test_auc": [0.8, 0.9], "test_auc_low": [0.7, 0.85], "test_auc_high": [0.9, 0.94]}
TWO = pd.DataFrame({"model": ["fbp", "svm"], "title": ["FBP", "SVM"], **AUCS})
TWO["judged_by"] = "test"


@pytest.fixture
def run(home):
    on_fbp = Model("svm", features="fbp")
    return planted.run_of({"svm": 2.5, on_fbp: 2.2, "fbp": 1.9, "cnn": 1.6, "mine": 1.3})


def rows_of(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_auc_bars_show_each_model_at_its_value_and_interval_the_best_above():
    (ax,) = charts.auc_bars(TWO).axes
    assert rows_of(ax) == ["FBP", "SVM"] and [t.get_text() for t in ax.texts] == ["80.0", "90.0"]
    arms = ax.containers[0].lines[2][0].get_segments()[0]  # the ends of an interval, (x, y)
    assert arms[:, 0].tolist() == [0.7, 0.9]


def test_differences_are_filled_if_they_are_significant_and_the_best_is_above(run):
    compared = comparison.compare_with(read_models(run), "svm")
    (ax,) = charts.differences(compared, "test AUC minus that of SVM").axes
    for drawn, colour in zip(ax.containers, ("black", "white"), strict=True):
        own = compared[(compared.p_holm >= 0.05) == (colour == "white")]
        assert drawn.lines[0].get_markerfacecolor() == colour
        assert list(drawn.lines[0].get_xdata()) == sorted(own.difference)
    assert rows_of(ax) == compared.sort_values("difference").title.tolist()
