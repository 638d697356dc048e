"""Learning curves: one line per model, the mean over its seeds."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import style
from helpers.models.record import Model
from helpers.training import figures


def learning_curves(curves):
    """Draw the curves of models that are called as their bases."""
    models = {"own_distilled": Model("own", teacher="fbp")}
    return figures.learning_curves(curves, [models.get(s, Model(s)) for s in {*curves.model}])


def test_a_point_of_a_long_training_is_the_mean_over_a_tenth_of_its_epochs():
    rng = np.random.default_rng(0)
    folds = [
        pd.DataFrame(
            {"model": "ll", "fold": fold, "epoch": range(1, 31), "val_auc": rng.random(30)}
        )
        for fold in (0, 1)
    ]
    curves = pd.concat(folds).assign(train_loss=1.0, val_loss=1.0)
    drawn = learning_curves(curves).axes[2].lines[0].get_ydata()
    aucs = np.array([own.val_auc for own in folds])  # (2, 30)
    assert drawn[14] == pytest.approx(aucs[:, 13:16].mean())
    assert drawn[0] == pytest.approx(aucs[:, :2].mean())


def test_learning_curves_show_the_columns_where_they_differ():
    auc = np.r_[0.3, 0.5, np.linspace(0.8, 0.9, 38)]
    loss = np.r_[9.0, 5.0, np.linspace(0.7, 0.4, 38)]
    curves = pd.DataFrame({"epoch": range(1, 41), "train_loss": loss, "val_auc": auc})
    curves["val_loss"] = loss + 1
    curves = pd.concat([curves.assign(model=name) for name in ("own", "own_distilled")])
    left, middle, right = learning_curves(curves).axes
    titles = [ax.get_title() for ax in (left, middle, right)]
    assert titles == ["training loss", "validation loss", "validation AUC, one view"]
    low, high = right.get_ylim()
    assert 0.75 < low < 0.82 and 0.9 < high < 0.92  # the bad start is outside, the best is inside
    low, high = left.get_ylim()
    assert 0.35 < low < 0.4 and 0.65 < high < 0.9
    styles = [line.get_linestyle() for line in left.lines if len(line.get_xdata()) == 40]
    assert styles == ["-", "--"]  # the distilled one is dashed


def test_the_legend_of_many_models_is_inside_the_figure_and_crosses_no_panel():
    style.use_style()
    one = pd.DataFrame({"epoch": [1, 2], "train_loss": 1.0, "val_loss": 1.0, "val_auc": [0.5, 0.6]})
    figure = learning_curves(pd.concat([one.assign(model=f"m{i}") for i in range(16)]))
    figure.draw_without_rendering()
    legend, panel = figure.legends[0].get_window_extent(), figure.axes[-1].get_window_extent()
    assert legend.y0 > 0 and panel.x1 < legend.x0 and panel.height > figure.bbox.height / 2


def test_a_model_has_the_same_colour_and_marker_beside_other_models():
    one = pd.DataFrame({"epoch": [1, 2], "train_loss": 1.0, "val_loss": 1.0, "val_auc": [0.5, 0.6]})

    def looks(*names):
        figure = learning_curves(pd.concat([one.assign(model=name) for name in names]))
        legend = figure.legends[0]
        lines = [(line.get_marker(), line.get_color()) for line in legend.get_lines()]
        return dict(zip((text.get_text() for text in legend.get_texts()), lines, strict=True))

    beside_the_last_layer = looks("cnn", "ll", "fbp")
    beside_cells = looks("fbp", "darts_v2", "random_cell")
    assert beside_the_last_layer["FBP"] == beside_cells["FBP"]
    assert len({*beside_the_last_layer.values(), *beside_cells.values()}) == 5


def test_augmented_views_are_below_the_image_that_they_show():
    views = np.linspace(0, 1, 3 * 4)[:, None, None, None] * np.ones((12, 5, 5, 1))
    figure = figures.augmented(views.reshape(3, 4, 5, 5, 1))
    shown = [ax.images[0].get_array().mean() for ax in figure.axes]
    np.testing.assert_allclose(shown, np.linspace(0, 1, 12))
    assert [figure.axes[k].get_ylabel() for k in (0, 4, 8)] == ["original", "view 1", "view 2"]


def test_a_short_training_is_inside_the_picture_of_a_long_one():
    # the CNN's 20 epochs were outside, as 500 of the linear probe set the limits
    long = pd.DataFrame({"model": "ll", "epoch": np.arange(500) + 1, "train_loss": 0.2})
    short = pd.DataFrame({"model": "cnn", "epoch": np.arange(20) + 1, "train_loss": 0.6})
    curves = pd.concat([long, short]).assign(val_loss=0.5, val_auc=0.5)
    axes = learning_curves(curves).axes
    low, high = axes[0].get_ylim()
    assert low < 0.2 and high > 0.6
    assert [line.get_xdata()[-1] for line in axes[0].lines[:2]] == [100, 100]  # per cent
