"""The figures show the numbers that they were given."""

import pandas as pd

from helpers.results import charts

AUCS = {"test_auc": [0.8, 0.9], "test_auc_low": [0.7, 0.85], "test_auc_high": [0.9, 0.94]}
TWO = pd.DataFrame({"model": ["fbp", "svm"], "title": ["FBP", "SVM"], **AUCS})
TWO["judged_by"] = "test"


def rows_of(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def test_auc_bars_show_each_model_at_its_value_and_interval_the_best_above():
    (ax,) = charts.auc_bars(TWO).axes
    assert rows_of(ax) == ["FBP", "SVM"] and [t.get_text() for t in ax.texts] == ["80.0", "90.0"]
    arms = ax.containers[0].lines[2][0].get_segments()[0]  # the ends of an interval, (x, y)
    assert arms[:, 0].tolist() == [0.7, 0.9]
