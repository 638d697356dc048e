"""Learning curves: one line per model, the mean over its seeds."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.training import figures


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def _lines(ax):
    return [list(line.get_ydata()) for line in ax.lines]


def test_the_best_so_far_never_falls_and_marks_the_common_epoch():
    curves = pd.DataFrame(
        {
            "model": ["cnn"] * 3 + ["fbp"] * 2,
            "epoch": [1, 2, 3, 1, 2],
            "val_auc": [0.7, 0.6, 0.8, 0.9, 0.85],
        }
    )
    axes = figures.best_so_far(curves).axes[0]
    assert [0.7, 0.7, 0.8] in _lines(axes) and [0.9, 0.9] in _lines(axes)
    assert [2, 2] in [list(line.get_xdata()) for line in axes.lines]


def test_the_best_so_far_of_several_seeds_is_the_mean_of_each_seed_s_best():
    one = pd.DataFrame({"model": "fbp", "epoch": [1, 2], "seed": 0, "val_auc": [0.5, 0.75]})
    other = one.assign(seed=1, val_auc=[1.0, 0.5])
    axes = figures.best_so_far(pd.concat([one, other])).axes[0]
    assert np.isclose(_lines(axes)[0], [0.75, 0.875]).all()


@pytest.mark.parametrize(("epochs", "scale"), [((12, 100), "log"), ((12, 20), "linear")])
def test_a_short_training_is_not_squeezed_beside_a_long_one(epochs, scale):
    frames = [
        pd.DataFrame({"epoch": range(1, n + 1), "val_auc": 0.5, "val_loss": 1.0, "train_loss": 1.0})
        for n in epochs
    ]
    curves = pd.concat([frames[0].assign(model="fbp"), frames[1].assign(model="ll")])
    axes = figures.learning_curves(curves).axes
    assert [ax.get_xscale() for ax in axes] == [scale] * 3


def test_learning_curves_show_the_columns_asked_for_where_they_differ():
    auc = np.r_[0.3, 0.5, np.linspace(0.8, 0.9, 38)]
    loss = np.r_[9.0, 5.0, np.linspace(0.7, 0.4, 38)]
    curves = pd.DataFrame({"epoch": range(1, 41), "val_auc": auc, "train_loss": loss})
    curves = pd.concat([curves.assign(model=name) for name in ("own", "own_distilled")])
    right, left = figures.learning_curves(curves, ["val_auc", "train_loss"]).axes
    assert (right.get_title(), left.get_title()) == ("validation AUC", "training loss")
    low, high = right.get_ylim()
    assert 0.75 < low < 0.82 and 0.9 < high < 0.92  # the bad start is outside, the best is inside
    low, high = left.get_ylim()
    assert 0.35 < low < 0.4 and 0.65 < high < 0.75
    styles = [line.get_linestyle() for line in left.lines if len(line.get_xdata()) == 40]
    assert styles == ["-", "--"]  # the distilled one is dashed


def test_augmented_views_are_below_the_image_that_they_show():
    views = np.linspace(0, 1, 3 * 4)[:, None, None, None] * np.ones((12, 5, 5, 1))
    figure = figures.augmented(views.reshape(3, 4, 5, 5, 1))
    shown = [ax.images[0].get_array().mean() for ax in figure.axes]
    np.testing.assert_allclose(shown, np.linspace(0, 1, 12))
    assert [figure.axes[k].get_ylabel() for k in (0, 4, 8)] == ["as it is", "view 1", "view 2"]


def test_a_short_training_is_inside_the_picture_of_a_long_one():
    # the CNN's 20 epochs were outside, as 500 of the linear probe set the limits
    long = pd.DataFrame({"model": "ll", "epoch": np.arange(500) + 1, "train_loss": 0.2})
    short = pd.DataFrame({"model": "cnn", "epoch": np.arange(20) + 1, "train_loss": 0.6})
    curves = pd.concat([long, short]).assign(val_loss=0.5, val_auc=0.5)
    low, high = figures.learning_curves(curves).axes[0].get_ylim()
    assert low < 0.2 and high > 0.6
