"""The figures show the numbers that they were given, and tell lines apart without colour."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score

from helpers.results import curves, decision
from helpers.results.settings import AnalysisSettings
from helpers.runs.run_models import read_all_predictions
from tests import planted


@pytest.fixture
def scored(home):
    run_paths = planted.make_run()
    for seed, name in enumerate(("svm", "svm_on_fbp", "fbp", "cnn", "mine")):
        planted.plant(run_paths, name, 2.5 - 0.3 * seed, seed)
    return read_all_predictions(run_paths)


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def _curves(ax):
    return [line for line in ax.get_lines() if line.get_linewidth() > 1 and len(line.get_xdata())]


@pytest.mark.parametrize(
    ("model", "family"),
    [
        ("svm", "classical, frozen features"),
        ("lr_on_brightness", "classical, frozen features"),
        ("svm_efficientnet_lite2_on_fbp", "classical, fine-tuned features"),
        ("ll_efficientnet_lite2", "fine-tuned"),
        ("random_cell_3", "from scratch"),
        ("darts_imagenet", "from scratch"),
        ("darts_searched", "searched"),
        ("darts_searched_distilled", "distilled"),
        ("rank_average", "ensemble"),
        ("mine", "own"),
    ],
)
def test_every_model_has_a_family(model, family):
    assert curves.family(model) == family


def test_the_best_of_each_family_is_the_best_on_validation_and_the_best_on_test_comes_first(scored):
    rows = [("svm", 0.8, 0.9), ("svm_on_fbp", 0.9, 0.8), ("fbp", 0.7, 0.7), ("mine", 0.5, 0.5)]
    table = pd.DataFrame(rows, columns=["model", "val_auc", "test_auc"]).assign(n_val=10)
    lda = pd.DataFrame({"model": ["lda", "majority"], "val_auc": [0.85, 0.5], "n_val": 10})
    lda["test_auc"] = [0.6, 0.5]
    found = curves.best_of_families(pd.concat([table, lda]), scored | {"lda": scored["svm"]})
    assert list(found) == ["svm_on_fbp", "fbp", "lda", "mine"]


def _drawn(scored):
    points = decision.operating_table(scored, AnalysisSettings(), 0.3)
    return curves.roc_and_overkill(scored, points, 0.01), points


def test_lines_differ_in_dash_pattern_and_stand_in_one_legend(scored):
    figure, _ = _drawn(scored)
    for ax in figure.axes:
        lines = [line for line in _curves(ax) if len(line.get_xdata()) > 2]
        patterns = {str(line._unscaled_dash_pattern) for line in lines}
        assert len(patterns) == len(lines) == len(scored)
    assert len(_legend(figure)) == len(scored)


def test_the_roc_curve_s_area_is_the_auc_in_the_legend(scored):
    figure, _ = _drawn(scored)
    for line, text, model in zip(
        _curves(figure.axes[0]), _legend(figure), scored.values(), strict=True
    ):
        auc = roc_auc_score(*model.labels_scores("test"))
        assert f": {model.title}: " in text or text.startswith(f"{model.title}: ")
        assert float(text.split(": ")[-1].split(";")[0]) == pytest.approx(100 * auc, abs=0.06)
        assert np.trapezoid(line.get_ydata(), line.get_xdata()) == pytest.approx(auc)


def test_the_corner_of_the_roc_is_shown_only_if_every_model_is_there(scored):
    assert _drawn({"svm": scored["svm"]})[0].axes[0].get_xlim()[1] == 0.5
    assert scored["mine"].name == "mine" and roc_auc_score(*scored["mine"].labels_scores()) < 0.9
    poor = dataclasses.replace(scored["mine"], test=scored["mine"].test.assign(defect_score=0.5))
    assert _drawn(scored | {"mine": poor})[0].axes[0].get_xlim()[1] > 1


def test_operating_points_lie_on_their_curves(scored):
    figure, points = _drawn(scored)
    assert figure.get_suptitle().startswith("At the marked thresholds ")
    right = figure.axes[1]
    first = points.drop_duplicates("model").set_index("model")
    for name in scored:
        labels, scores = scored[name].labels_scores("test")
        passed = scores < first.threshold[name]
        x, y = 100 * passed[labels == 1].mean(), 100 * (~passed)[labels == 0].mean()
        assert first.test_overkill_rate[name] < y / 100  # some of these are looked at again
        lines = [line.get_xydata() for line in right.get_lines()]
        assert sum(len(own) == 1 and np.isclose(own[0], [x, y]).all() for own in lines) == 1
        assert any(np.isclose(own, [x, y]).all(axis=1).any() for own in lines if len(own) > 2)


def test_the_decision_figure_counts_every_part_once_per_rule(scored):
    given = AnalysisSettings(max_escape_rate=0.05)
    chosen = decision.decisions(scored["fbp"], given, 0.3)
    above = curves.decision_figure(scored["fbp"], given, 0.3, "").axes[0]
    labels, scores = scored["fbp"].labels_scores("test")
    n = np.bincount(labels)
    widths = np.reshape([bar.get_width() for bar in above.patches], (len(chosen), 2, 3))
    for (bins, *_), own in zip(chosen.values(), widths, strict=True):
        passed, rejected = scores < bins.pass_below, scores >= bins.reject_from
        for label in (0, 1):
            kinds = (passed, ~passed & ~rejected, rejected)
            counts = [(kind & (labels == label)).sum() for kind in kinds]
            assert own[label] == pytest.approx(100 * np.array(counts) / n[label])
    texts = " ".join(text.get_text() for text in above.texts)
    escapes = (scores[labels == 1] < chosen["expected"].bins.pass_below).sum()
    assert f"{escapes} escapes ({100 * escapes / n[1]:.1f} %)" in texts


def test_rules_that_choose_the_same_thresholds_share_their_bars(scored):
    given = AnalysisSettings(max_escape_rate=0.005)  # no bad part may escape by either
    above = curves.decision_figure(scored["fbp"], given, 0.3, "").axes[0]
    assert len(above.patches) == 2 * 2 * 3
    few = "(too few bad parts held out)"
    shared = f"expected {few}, at 95 % confidence {few}: pass below"
    assert [t.get_text().startswith(shared) for t in above.texts].count(True) == 1


def test_the_decision_figure_marks_what_is_promised_and_what_cannot_be(scored):
    given = AnalysisSettings(max_escape_rate=0.02)  # of 100 bad parts: k = 1, none
    texts = _legend(curves.decision_figure(scored["fbp"], given, 0.3, ""))
    assert any("promised expected" in t and t.endswith("\n2 % promised") for t in texts)
    assert any("confidence" in t and t.endswith("3 % promised (too few bad parts)") for t in texts)


def test_a_legend_says_how_many_seeds_a_line_averages(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "fbp", 2.5, 0, 1)
    scored = read_all_predictions(run_paths)
    (text,) = _legend(_drawn(scored)[0])
    assert text.startswith("fine-tuned: FBP, 2 seeds averaged: ")


def test_the_calibration_of_a_model_is_drawn_before_and_after_scaling(scored):
    table = decision.calibration_table(scored, 0.3)
    figure = curves.calibration_figure(scored["fbp"], table, "")
    (ax,) = figure.axes
    assert len(ax.get_legend().get_texts()) == 2 and ax.get_title() == "FBP"
    fraction, mean = calibration_curve(*scored["fbp"].labels_scores("test"), n_bins=10)
    np.testing.assert_allclose(ax.containers[0].lines[0].get_xydata().T, [mean, fraction])
    near = curves.calibration_figure(scored["fbp"], table.assign(temperature=0.96), "")
    (text,) = near.axes[0].get_legend().get_texts()
    assert text.get_text() == "scores as they are"  # the scaled line would hide it


def test_hidden_test_labels_are_said_in_the_titles(home):
    run_paths = planted.make_run()
    planted.plant(run_paths, "svm", 1, 0)
    planted.hide_test_labels(run_paths)
    figure, _ = _drawn(read_all_predictions(run_paths))
    assert "validation set (test labels are hidden)" in figure.get_suptitle()
