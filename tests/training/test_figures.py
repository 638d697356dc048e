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


@pytest.mark.parametrize(("epochs", "scale"), [((12, 100), "log"), ((12, 20), "linear")])
def test_a_short_training_is_not_squeezed_beside_a_long_one(epochs, scale):
    frames = [
        pd.DataFrame({"epoch": range(1, n + 1), "val_auc": 0.5, "val_loss": 1.0, "train_loss": 1.0})
        for n in epochs
    ]
    curves = pd.concat([frames[0].assign(model="fbp"), frames[1].assign(model="ll")])
    axes = figures.learning_curves(curves).axes
    assert [ax.get_xscale() for ax in axes] == [scale] * 3


def test_learning_curves_show_the_columns_where_they_differ():
    auc = np.r_[0.3, 0.5, np.linspace(0.8, 0.9, 38)]
    loss = np.r_[9.0, 5.0, np.linspace(0.7, 0.4, 38)]
    curves = pd.DataFrame({"epoch": range(1, 41), "train_loss": loss, "val_auc": auc})
    curves["val_loss"] = loss + 1
    curves = pd.concat([curves.assign(model=name) for name in ("own", "own_distilled")])
    left, middle, right = figures.learning_curves(curves).axes
    titles = [ax.get_title() for ax in (left, middle, right)]
    assert titles == ["training loss", "validation loss", "validation AUC, one view of each image"]
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
    assert [figure.axes[k].get_ylabel() for k in (0, 4, 8)] == ["original", "view 1", "view 2"]


def test_a_short_training_is_inside_the_picture_of_a_long_one():
    # the CNN's 20 epochs were outside, as 500 of the linear probe set the limits
    long = pd.DataFrame({"model": "ll", "epoch": np.arange(500) + 1, "train_loss": 0.2})
    short = pd.DataFrame({"model": "cnn", "epoch": np.arange(20) + 1, "train_loss": 0.6})
    curves = pd.concat([long, short]).assign(val_loss=0.5, val_auc=0.5)
    low, high = figures.learning_curves(curves).axes[0].get_ylim()
    assert low < 0.2 and high > 0.6


def test_the_curves_of_a_search_have_a_panel_for_the_eigenvalue_if_it_was_measured():
    names = ("train_plain_loss", "val_loss", "train_auc", "val_auc", "skips")
    names += ("entropy_normal", "entropy_reduce", "alpha_loss")
    history = [
        {"epoch": epoch, "eigenvalue": None} | dict.fromkeys(names, epoch) for epoch in (1, 2, 3, 4)
    ]
    history[0]["alpha_loss"] = None  # of a warm-up
    first = figures.search_curves(history).axes[0]
    (gray,) = first.patches
    assert [gray.get_x(), gray.get_x() + gray.get_width()] == [0.5, 1.5]
    titles = [ax.get_title() for ax in figures.search_curves(history).axes]
    assert len(titles) == 4 and not any("eigenvalue" in title for title in titles)
    history[1]["eigenvalue"], history[3]["eigenvalue"] = 0.3, 0.4
    figure = figures.search_curves(history)
    (ax,) = [ax for ax in figure.axes if "eigenvalue" in ax.get_title()]
    assert ax.lines[0].get_xydata().tolist() == [[2, 0.3], [4, 0.4]]


def test_the_curves_of_cells_have_a_column_for_labels_alone_and_one_for_a_teacher():
    epochs = range(1, 9)
    frames = [
        pd.DataFrame({"model": name, "seed": seed, "epoch": epochs, "train_loss": 1.0})
        for name in ("fbp", "darts_searched", "darts_searched_distilled")
        for seed in (0, 1)
    ]
    curves = pd.concat(frames)
    curves["val_auc"] = 0.8 + 0.02 * curves.seed + 0.001 * curves.epoch
    figure = figures.curves_of_cells(curves)
    titles = [ax.get_title() for ax in figure.axes]
    sides = ["", ", distilled"]
    assert titles == [
        f"{what}{side}" for what in ("validation AUC", "training loss") for side in sides
    ]
    left, right = figure.axes[:2]
    means = 0.81 + 0.001 * np.arange(1, 9)
    assert np.allclose(_lines(left)[0], means) and np.allclose(_lines(right)[-2], means)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["FBP", "DARTS searched"]
    assert figure.get_suptitle().endswith("+0.2 points on average (+0.2 to +0.2)")
    assert left.get_ylim() == right.get_ylim() and left.get_ylim()[0] > means[1] - 0.001
    figure.canvas.draw()
    alone = figures.curves_of_cells(curves[curves.model == "fbp"].assign(val_auc=1.0))
    alone.canvas.draw()  # a perfect AUC is finite on its scale
    assert len(alone.axes) == 2
