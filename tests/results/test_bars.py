"""Figures of points with intervals show the numbers that they were given."""

import numpy as np
import pandas as pd
import pytest

from helpers.models.names import display_name
from helpers.results import bars, comparison
from helpers.runs.run_models import read_all_predictions
from tests import planted

ONE = {
    "model": ["svm"],
    "val_auc": [0.8],
    "test_auc": [0.9],
    "test_auc_low": [0.85],
    "test_auc_high": [0.94],
}


def _arms(container, axis=0):
    return container.lines[2][0].get_segments()[0][:, axis].tolist()


def _legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_auc_bars_show_each_model_at_its_value_and_interval():
    table = pd.concat([pd.DataFrame(ONE), pd.DataFrame({"model": ["majority"], "test_auc": 0.5})])
    figure = bars.auc_bars(table)
    (ax,) = figure.axes
    assert [t.get_text() for t in ax.get_yticklabels()] == ["SVM"]
    assert _arms(ax.containers[0]) == [0.85, 0.94]
    assert [t.get_text() for t in ax.texts] == ["90.0"]
    assert _legend(figure) == ["95 % interval"]
    assert ax.get_xlabel() == "test AUC (sorted by validation AUC)"


def test_an_interval_that_its_estimate_lies_beside_by_rounding_is_drawn():
    # 06 stopped on a run of 20 test images with "'xerr' must not contain negative values"
    columns = {
        "val_auc": [0.9],
        "test_auc": [0.9],
        "test_auc_low": [0.9 + 1e-16],
        "test_auc_high": [0.9 - 1e-16],
    }
    assert bars.auc_bars(pd.DataFrame({"model": ["svm"], **columns})).axes[0].lines
    frame = pd.DataFrame({"x": [0.5], "low": [0.375], "high": [0.75]})
    assert [arm[0] for arm in bars.interval_arms(frame, "x")] == [0.125, 0.25]


def test_one_seed_of_several_looks_unlike_the_model_and_the_legend_names_both():
    table = pd.DataFrame(
        {
            "model": ["svm", "fbp"],
            "val_auc": [0.9, 0.8],
            "test_auc": [0.9, 0.8],
            "test_auc_low": [0.85, 0.7],
            "test_auc_high": [0.95, 0.9],
            "members": [np.nan, 3],
            "averaged": [None, "3 seeds"],
            "test_auc_mean": [np.nan, 0.78],
            "test_auc_std": [np.nan, 0.02],
        }
    )
    figure = bars.auc_bars(table)
    (ax,) = figure.axes
    models, one_seed = ax.containers
    names = [t.get_text() for t in ax.get_yticklabels()]
    assert names == ["FBP", "SVM"]
    assert models.lines[0].get_xdata().tolist() == [0.8, 0.9]
    assert _arms(one_seed) == pytest.approx([0.76, 0.8])
    assert -0.5 < one_seed.lines[0].get_ydata()[0] < 0  # below its model, the first from below
    assert models.lines[0].get_marker() != one_seed.lines[0].get_marker()
    assert models.lines[0].get_color() != one_seed.lines[0].get_color()
    assert _legend(figure)[1] == "one of the 3 seeds: mean ± standard deviation"


def test_the_auc_is_drawn_over_parameters_and_over_milliseconds():
    frame = pd.DataFrame({"model": ["cnn", "fbp"], "test_auc": [0.7, 0.9]})
    frame = frame.assign(parameters=[20_000, 3e6], ms_single=[0.5, 20.0], test_views=[1, 8])
    figure = bars.auc_against_cost(frame)
    figure.canvas.draw()
    for ax, cost in zip(figure.axes, ("parameters", "ms_single"), strict=True):
        points = [points.lines[0].get_xydata()[0].tolist() for points in ax.containers]
        own = frame.assign(ms_single=[0.5, 160.0])  # of all views
        assert points == own[[cost, "test_auc"]].iloc[::-1].values.tolist()  # the best first
    assert _legend(figure) == ["FBP", "Two-layer CNN"]
    many, few = ([t.get_text() for t in ax.get_xticklabels()] for ax in figure.axes)
    assert "100k" in many and "0.5" in few and not any("m" in text for text in few)


def test_networks_of_like_size_are_drawn_on_an_axis_with_several_numbers():
    frame = pd.DataFrame({"model": ["a", "b"], "test_auc": [0.9, 0.8]})
    frame = frame.assign(parameters=[101_082, 159_466], ms_single=[0.69, 0.8], test_views=1)
    figure = bars.auc_against_cost(frame)
    figure.canvas.draw()
    for ax in figure.axes:
        low, high = ax.get_xlim()
        assert sum(low <= tick <= high for tick in ax.get_xticks()) >= 3
    assert "smallest" in figure.get_suptitle()


def test_a_point_with_several_seeds_is_one_seed_as_the_mean_has_several_networks():
    table = pd.DataFrame(ONE | {"model": ["cnn"]}).assign(
        parameters=100, ms_single=1.0, test_views=1
    )
    fbp = {"model": "fbp", "parameters": 10, "ms_single": 2.0, "test_views": 1, "test_auc": 0.95}
    fbp |= {"test_auc_mean": 0.9, "test_auc_std": 0.01}
    figure = bars.auc_against_cost(pd.concat([table, pd.DataFrame([fbp])]))
    one, several = figure.axes[0].containers
    assert _arms(one, axis=1) == pytest.approx([0.85, 0.94])
    assert _arms(several, axis=1) == pytest.approx([0.89, 0.91])
    assert ["± sd" in text for text in _legend(figure)] == [False, True]


def test_validation_auc_is_shown_where_test_labels_are_hidden():
    frame = pd.DataFrame(
        {"model": ["cnn"], "parameters": 10, "ms_single": 1.0, "test_views": 1, "val_auc": 0.7}
    )
    assert bars.auc_against_cost(frame).axes[0].get_ylabel() == "val AUC"
    assert bars.auc_bars(frame).axes[0].get_xlabel() == "validation AUC"


def test_subgroups_and_differences_are_drawn_for_each_model(home):
    run_paths = planted.make_run()
    for seed, name in enumerate(("svm", "fbp", "cnn")):
        planted.plant(run_paths, name, 2.5 - 0.3 * seed, seed)
    scored = read_all_predictions(run_paths)
    split = scored["fbp"].test.assign(kind=np.where(np.arange(200) % 2, "a", "b"))
    groups = comparison.subgroup_table(scored, split, ["kind"])
    ax = bars.subgroup_auc(groups, ["cnn", "fbp"]).axes[0]
    assert [t.get_text().split(" ")[0] for t in ax.get_legend().get_texts()] == ["a", "b"]
    from_below = [display_name("fbp"), display_name("cnn")]
    assert [t.get_text() for t in ax.get_yticklabels()] == from_below
    compared = comparison.compare_with(scored, "svm")
    ax = bars.differences(compared, "svm").axes[0]
    for drawn, colour in zip(ax.containers, ("black", "white"), strict=True):
        points = drawn.lines[0]
        own = compared[(compared.p_holm >= 0.05) == (colour == "white")]
        assert points.get_markerfacecolor() == colour
        assert list(points.get_xdata()) == sorted(own.difference)  # the best is above
    worst_first = compared.sort_values("difference").model
    assert [t.get_text() for t in ax.get_yticklabels()] == [*map(display_name, worst_first)]


def test_groups_are_drawn_with_their_mistakes_and_those_that_say_nothing_are_left_out():
    table = pd.DataFrame({"group": ["lot01", "lot02", "lot03"], "bad_rate": [0.5, 0.1, 0.0]})
    table = table.assign(auc=[0.9, 1.0, np.nan], low=[0.7, 1.0, np.nan], high=[0.95, 1.0, np.nan])
    table = table.assign(escapes=[2, 0, 0], false_alarms=[1, 1, 0])
    row = {"test_auc": 0.93, "test_within_auc": 0.88}
    figure = bars.by_group(table, row, "test", "title")
    counts, aucs = figure.axes[1:]
    assert [bar.get_height() for bar in counts.patches] == [2, 0, 1, 1]
    assert counts.patches[2].get_y() == 2  # false alarms on top of escapes
    assert aucs.get_ylim()[0] < 0.7 and figure.get_suptitle() == "title"
    assert [t.get_text() for t in aucs.get_xticklabels()] == ["lot01", "lot02"]
    assert aucs.get_xlabel() == "group; left out: 1 with one class and no mistakes"
    hollow = [line for line in aucs.lines if line.get_markerfacecolor() == "white"]
    np.testing.assert_array_equal(hollow[0].get_ydata(), [np.nan, 1])
    legend = " ".join(t.get_text() for t in aucs.get_legend().get_texts())
    assert "together: 93.0" in legend and "the groups: 88.0" in legend


def test_so_many_groups_that_their_names_would_overlap_are_named_in_part():
    names = [f"lot{i:03d}" for i in range(130)]
    table = pd.DataFrame({"group": names, "bad_rate": 0.5, "auc": 0.9, "low": 0.8, "high": 0.95})
    row = {"test_auc": 0.9}
    figure = bars.by_group(table.assign(escapes=1, false_alarms=0), row, "test", "")
    aucs = figure.axes[2]
    assert [t.get_text() for t in aucs.get_xticklabels()] == names[::3]
    assert aucs.get_xlabel() == "group, 1 of 3 is named"


def test_groups_of_one_class_without_mistakes_leave_an_empty_picture():
    table = pd.DataFrame({"group": ["a"], "bad_rate": 0.0, "auc": np.nan, "low": np.nan})
    table = table.assign(high=np.nan, escapes=0, false_alarms=0)
    figure = bars.by_group(table, {"test_auc": 1.0}, "test", "")
    assert not len(figure.axes[1].patches) and "left out: 1 with" in figure.axes[2].get_xlabel()
