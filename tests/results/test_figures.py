"""The figures show the numbers that they were given."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from helpers.datasets.split_file import read_split
from helpers.models.record import Model
from helpers.results import bars, comparison, curves, decision, results_table
from helpers.results.settings import AnalysisSettings
from helpers.runs.run_models import read_all_predictions
from tests import planted

AUCS = {"test_auc": [0.8, 0.9], "test_auc_low": [0.7, 0.85], "test_auc_high": [0.9, 0.94]}
TWO = pd.DataFrame({"model": ["fbp", "svm"], "title": ["FBP", "SVM"], **AUCS})
TWO = TWO.assign(parameters=[3e6, 20_000], ms_single=[20.0, 0.5], test_views=[8, 1])


@pytest.fixture
def run(home):
    run_paths = planted.make_run()
    for seed, name in enumerate(("svm", Model("svm", features="fbp"), "fbp", "cnn", "mine")):
        planted.plant(run_paths, name, 2.5 - 0.3 * seed, seed)
    return run_paths


def rows_of(ax):
    return [text.get_text() for text in ax.get_yticklabels()]


def arms_of(container, axis=0):
    return container.lines[2][0].get_segments()[0][:, axis].tolist()


def test_auc_bars_show_each_model_at_its_value_and_interval_the_best_above():
    (ax,) = bars.auc_bars(TWO).axes
    assert rows_of(ax) == ["FBP", "SVM"] and [t.get_text() for t in ax.texts] == ["80.0", "90.0"]
    assert arms_of(ax.containers[0]) == [0.7, 0.9]
    hidden = TWO.drop(columns=AUCS).assign(val_auc=[0.6, 0.7])
    assert bars.auc_bars(hidden).axes[0].get_xlabel().startswith("validation AUC")


def test_an_interval_whose_end_is_on_the_wrong_side_by_rounding_is_drawn():
    frame = pd.DataFrame({"x": [0.5, 0.9], "x_low": [0.375, 0.91], "x_high": [0.75, 0.89]})
    assert [arm.tolist() for arm in bars.interval_arms(frame, "x")] == [[0.125, 0], [0.25, 0]]


def test_the_auc_is_drawn_over_the_milliseconds_of_all_views():
    figure = bars.auc_against_cost(TWO)
    figure.canvas.draw()
    (ax,) = figure.axes
    points = [points.lines[0].get_xydata()[0].tolist() for points in ax.containers]
    assert points == [[0.5, 0.9], [160.0, 0.8]]  # the best first
    assert arms_of(ax.containers[0], axis=1) == pytest.approx([0.85, 0.94])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["SVM (20 k parameters)", "FBP (3.0 M parameters)"]


def test_differences_are_filled_if_they_are_significant_and_the_best_is_above(run):
    compared = comparison.compare_with(read_all_predictions(run), "svm")
    (ax,) = bars.differences(compared, "test AUC minus that of SVM").axes
    for drawn, colour in zip(ax.containers, ("black", "white"), strict=True):
        own = compared[(compared.p_holm >= 0.05) == (colour == "white")]
        assert drawn.lines[0].get_markerfacecolor() == colour
        assert list(drawn.lines[0].get_xdata()) == sorted(own.difference)
    assert rows_of(ax) == compared.sort_values("difference").title.tolist()


def test_three_curves_are_drawn_that_of_the_wanted_model_first(run):
    scored = read_all_predictions(run)
    table = results_table.results_table(scored, read_split(run.split_csv))
    drawn = curves.best_of_kinds(table, scored, "cnn")
    assert list(drawn) == ["cnn", "svm_on_fbp", "svm"]  # the best of each other kind
    points = decision.operating_table(scored, AnalysisSettings(), 0.3)
    figure = curves.roc_and_overkill(drawn, points, 0.01, "title")
    left, right = figure.axes
    labels, scores = scored["cnn"].labels_scores()
    x, y = left.lines[0].get_xydata().T
    assert np.trapezoid(y, x) == pytest.approx(roc_auc_score(labels, scores))
    point = points[(points.model == "cnn") & (points.rule == "expected")].iloc[0]
    marked = next(line for line in right.lines if line.get_marker() not in ("None", ""))
    passed = np.mean(scores[labels == 0] < point.threshold)
    escaped = 100 * point.test_escape_rate
    assert marked.get_xydata().tolist() == [pytest.approx([escaped, 100 * passed])]


def test_the_decision_is_drawn_with_its_promises_marked(run):
    scored, settings = read_all_predictions(run)["fbp"], AnalysisSettings(max_escape_rate=0.05)
    (ax,) = curves.decision_figure(scored, settings, 0.3).axes
    texts = [line.get_label() for line in ax.lines]
    assert "measured on test" in texts
    marked = [line for line in ax.lines if line.get_label().startswith("promised")]
    decisions = decision.decisions(scored, settings, 0.3)
    rates = [100 * decisions[rule].promised for rule in decision.PROMISES]
    assert [line.get_ydata()[0] for line in marked] == pytest.approx(rates)
