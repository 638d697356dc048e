"""The figures show the numbers that they were given, and tell lines apart without colour."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from helpers.results import curves, decision
from helpers.runs import predictions, settings
from helpers.runs.names import display_name
from tests import planted


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def scored(home):
    run_paths = planted.make_run()
    for seed, name in enumerate(("svm", "svm_finetuned", "fbp", "cnn", "mine")):
        planted.plant(run_paths, name, 2.5 - 0.3 * seed, seed)
    return predictions.read_all_predictions(run_paths)


def _lines(ax):
    return {line.get_label(): line for line in ax.get_lines() if ":" in line.get_label()}


def test_every_model_is_in_one_panel_and_large_families_are_cut():
    names = ["svm", "lda", "svm_finetuned", "fbp", "darts_searched_distilled", "rank_average"]
    names += [f"m{i}" for i in range(8)]
    panels = curves.families(names)
    assert [name for own in panels.values() for name in own] == names
    assert panels["classical models"] == ["svm", "lda"]
    assert panels["networks"] == ["fbp", "darts_searched_distilled"]
    assert panels["ensembles"] == ["rank_average"]
    assert len(panels["other models"]) == 6 and len(panels["other models (2)"]) == 2


def test_lines_of_a_panel_differ_in_dash_pattern_as_well_as_colour(scored):
    figure = curves.roc_and_pr(scored)
    for ax in figure.axes:
        own = [line for line in ax.get_lines() if line.get_linewidth() > 1]
        patterns = [str(line._unscaled_dash_pattern) for line in own]
        assert len(set(patterns)) == len(own)


def test_the_roc_curve_s_area_is_the_auc_in_its_legend(scored):
    figure = curves.roc_and_pr(scored)
    lines = {k: v for ax in figure.axes for k, v in _lines(ax).items()}
    assert len(lines) == len(scored)
    for name, model in scored.items():
        auc = roc_auc_score(*model.labels_scores("test"))
        (text,) = [t for t in lines if t.startswith(display_name(name) + ":")]
        assert float(text.split(": ")[1].split(",")[0]) == pytest.approx(auc, abs=6e-4)
        assert np.trapezoid(lines[text].get_ydata(), lines[text].get_xdata()) == pytest.approx(auc)


def test_the_precision_recall_steps_enclose_the_average_precision(scored):
    figure = curves.roc_and_pr(scored)
    drawn = {}
    for ax in figure.axes:
        if "precision" in ax.get_ylabel():
            for line in ax.get_lines():
                if line.get_linewidth() > 1:
                    assert line.get_drawstyle() == "steps-post"
                    x, y = line.get_data()
                    drawn[round(float(-(np.diff(x) * y[:-1]).sum()), 9)] = line
    expected = [average_precision_score(*m.labels_scores("test")) for m in scored.values()]
    assert sorted(drawn) == sorted(round(float(value), 9) for value in expected)


def test_operating_points_lie_on_their_curves(scored):
    points = decision.operating_table(scored, settings.AnalysisSettings(), 0.3)
    figure = curves.overkill_against_escapes(scored, points, 0.01)
    first = points.drop_duplicates("model").set_index("model")
    for name in scored:
        labels, scores = scored[name].labels_scores("test")
        passed = scores < first.threshold[name]
        x, y = 100 * passed[labels == 1].mean(), 100 * (~passed)[labels == 0].mean()
        assert first.test_overkill_rate[name] < y / 100  # some of these are looked at again
        shown = [
            line
            for ax in figure.axes
            for line in ax.get_lines()
            if len(line.get_xdata()) == 1 and np.isclose(line.get_xydata()[0], [x, y]).all()
        ]
        assert len(shown) == 1
        lines = [line.get_xydata() for ax in figure.axes for line in ax.get_lines()]
        assert any(np.isclose(own, [x, y]).all(axis=1).any() for own in lines if len(own) > 2)


def test_the_decision_figure_counts_every_part_once_per_rule(scored):
    given = settings.AnalysisSettings(max_escape_rate=0.05)
    chosen = decision.decisions(scored["fbp"], given, 0.3)
    right = curves.decision_figure(scored["fbp"], given, 0.3).axes[1]
    labels, scores = scored["fbp"].labels_scores("test")
    n = np.bincount(labels)
    widths = np.reshape([bar.get_width() for bar in right.patches], (len(chosen), 2, 3))
    for (bins, *_), own in zip(chosen.values(), widths, strict=True):
        passed, rejected = scores < bins.pass_below, scores >= bins.reject_from
        for label in (0, 1):
            kinds = (passed, ~passed & ~rejected, rejected)
            counts = [(kind & (labels == label)).sum() for kind in kinds]
            assert own[label] == pytest.approx(100 * np.array(counts) / n[label])
    texts = " ".join(text.get_text() for text in right.texts)
    escapes = (scores[labels == 1] < chosen["expected"].bins.pass_below).sum()
    assert f"{escapes} escape ({100 * escapes / n[1]:.1f} %)" in texts


def test_the_decision_figure_marks_what_is_promised_and_what_cannot_be(scored):
    given = settings.AnalysisSettings(max_escape_rate=0.02)  # of 100 bad parts: k = 1, none
    left = curves.decision_figure(scored["fbp"], given, 0.3).axes[0]
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert any("promised expected" in t and t.endswith("\n2 % promised") for t in texts)
    assert any("confidence" in t and t.endswith("3 % promised (too few bad parts)") for t in texts)


def test_a_legend_says_how_many_seeds_a_line_averages(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "fbp", 2.5, 0, 1)
    scored = predictions.read_all_predictions(run_paths)
    points = decision.operating_table(scored, settings.AnalysisSettings(), 0.3)
    for figure in (
        curves.roc_and_pr(scored),
        curves.overkill_against_escapes(scored, points, 0.01),
    ):
        (text,) = figure.axes[0].get_legend().get_texts()
        assert text.get_text().startswith("FBP, 2 seeds averaged: ")


def test_the_brier_score_of_each_model_is_drawn_beside_the_calibration_of_one(scored):
    table = decision.calibration_table(scored, 0.3)
    left, right = curves.calibration_figure(scored["fbp"], table).axes
    assert left.get_title() == "FBP"
    names = [display_name(name) for name in table.model[:-1]]
    assert [t.get_text() for t in right.get_yticklabels()] == names[::-1]
    assert right.lines[0].get_xdata().tolist() == table.brier[:-1].tolist()[::-1]


def test_hidden_test_labels_are_said_in_the_titles(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "svm", 1, 0)
    planted.hide_test_labels(run_paths)
    figure = curves.roc_and_pr(predictions.read_all_predictions(run_paths))
    assert "validation set (test labels are hidden)" in figure.get_suptitle()
