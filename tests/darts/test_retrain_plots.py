"""Pictures of the retraining."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from helpers.core import style
from helpers.results import bars
from helpers.training import figures


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_names_beside_the_points_do_not_overlap_even_where_the_points_do():
    style.use_style()
    names = ["darts_imagenet", "darts_searched", *(f"random_cell_{i}" for i in range(8)), "fbp"]
    aucs = [0.8501, 0.8502, *[0.85] * 8, 0.91]
    frame = pd.DataFrame({"model": names, "parameters": 100_000, "test_auc": aucs})
    figure = bars.parameters_against_auc(frame)
    figure.canvas.draw()
    texts = figure.axes[0].texts
    assert len(texts) == len(names)
    boxes = [Text.get_window_extent(text) for text in texts]  # without the leader line
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    axes = figure.axes[0].get_window_extent()
    assert all(box.x0 > axes.x1 for box in boxes)  # nor points, which lie inside


def test_heights_are_moved_as_little_as_needed():
    np.testing.assert_allclose(bars.spread_out(np.array([0.1, 0.5]), 0.2), [0.1, 0.5])
    np.testing.assert_allclose(bars.spread_out(np.array([0.5, 0.5]), 0.2), [0.4, 0.6])
    np.testing.assert_allclose(bars.spread_out(np.array([1.0, 1.0]), 0.2), [0.8, 1.0])
    crowded = bars.spread_out(np.zeros(11), 0.2)
    np.testing.assert_allclose(crowded, np.linspace(0, 1, 11), atol=1e-12)


def test_validation_auc_is_shown_where_test_labels_are_hidden():
    frame = pd.DataFrame({"model": ["cnn"], "parameters": [10], "val_auc": [0.7]})
    figure = bars.parameters_against_auc(frame)
    assert figure.axes[0].get_ylabel() == "val AUC"


def test_a_single_training_has_its_interval_and_the_legend_tells_it_from_the_seeds():
    frame = pd.DataFrame(
        {
            "model": ["cnn", "fbp"],
            "parameters": [100, 10],
            "test_auc": [0.7, 0.9],
            "test_auc_low": [0.6, 0.88],
            "test_auc_high": [0.75, 0.92],
            "test_auc_std": [np.nan, 0.01],
        }
    )
    figure = bars.parameters_against_auc(frame)
    one, several = figure.axes[0].containers
    arms = [kind.lines[2][0].get_segments()[0] for kind in (one, several)]
    np.testing.assert_allclose(arms[0], [[100, 0.6], [100, 0.75]])
    np.testing.assert_allclose(arms[1], [[10, 0.89], [10, 0.91]])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert ["interval" in text for text in texts] == [True, False] and "seeds" in texts[1]


def test_the_best_so_far_never_falls_and_marks_the_common_epoch():
    curves = pd.DataFrame(
        {
            "model": ["cnn"] * 3 + ["fbp"] * 2,
            "epoch": [1, 2, 3, 1, 2],
            "val_auc": [0.7, 0.6, 0.8, 0.9, 0.85],
        }
    )
    axes = figures.best_so_far(curves).axes[0]
    lines = [list(line.get_ydata()) for line in axes.lines]
    assert [0.7, 0.7, 0.8] in lines and [0.9, 0.9] in lines
    assert [2, 2] in [list(line.get_xdata()) for line in axes.lines]
