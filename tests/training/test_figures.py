"""Learning curves: one line per model, the mean over its seeds."""

import numpy as np
import pandas as pd
import pytest

from helpers.models.record import Model
from helpers.training import figures


def learning_curves(curves):
    """Draw the curves of models that are called as their bases."""
    return figures.learning_curves(curves, [Model(s) for s in {*curves.model}])


def test_a_point_of_a_long_training_is_the_mean_over_a_tenth_of_its_epochs():
    aucs = np.random.default_rng(0).random((2, 30))  # of two folds
    curves = pd.DataFrame({"fold": np.repeat([0, 1], 30), "epoch": np.tile(np.arange(30) + 1, 2)})
    curves = curves.assign(model="ll", val_auc=aucs.ravel(), train_loss=1.0)
    drawn = learning_curves(curves).axes[1].lines[0].get_ydata()
    assert drawn[14] == pytest.approx(aucs[:, 13:16].mean())
    assert drawn[0] == pytest.approx(aucs[:, :2].mean())


def test_a_model_has_the_same_colour_and_marker_beside_other_models():
    one = pd.DataFrame({"epoch": [1, 2], "train_loss": 1.0, "val_auc": [0.5, 0.6]})

    def looks(*names):
        figure = learning_curves(pd.concat([one.assign(model=name) for name in names]))
        legend = figure.legends[0]
        lines = [(line.get_marker(), line.get_color()) for line in legend.get_lines()]
        return dict(zip((text.get_text() for text in legend.get_texts()), lines, strict=True))

    beside_the_last_layer = looks("cnn", "ll", "fbp")
    beside_cells = looks("fbp", "darts_v2", "random_cell")
    assert beside_the_last_layer["FBP"] == beside_cells["FBP"]
    assert len({*beside_the_last_layer.values(), *beside_cells.values()}) == 5
