"""Learning curves: one line per model, the mean over its trainings; and what networks cost."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.core.errors import UserError
from helpers.models import backbones
from helpers.models.record import Model
from helpers.training import curves_and_costs


def trained(*aucs):
    """Return trainings of which only the records of their epochs are known."""
    return [
        SimpleNamespace(
            history=[{"epoch": i + 1, "val_loss": 1.0, "val_auc": a} for i, a in enumerate(own)]
        )
        for own in aucs
    ]


def test_a_point_of_a_long_training_is_the_mean_over_a_tenth_of_its_epochs():
    aucs = np.random.default_rng(0).random((2, 30))  # of two folds
    figure = curves_and_costs.learning_curves({Model("ll"): trained(*aucs)})
    drawn = figure.axes[1].lines[0].get_ydata()
    assert drawn[14] == pytest.approx(aucs[:, 13:16].mean())
    assert drawn[0] == pytest.approx(aucs[:, :2].mean())


def test_a_model_has_the_same_colour_and_marker_beside_other_models():
    def looks(*names):
        figure = curves_and_costs.learning_curves({Model(n): trained([0.5, 0.6]) for n in names})
        legend = figure.legends[0]
        lines = [(line.get_marker(), line.get_color()) for line in legend.get_lines()]
        return dict(zip((text.get_text() for text in legend.get_texts()), lines, strict=True))

    beside_the_last_layer = looks("cnn", "ll", "fbp")
    beside_cells = looks("fbp", "darts_v2", "random_cell")
    assert beside_the_last_layer["FBP"] == beside_cells["FBP"]
    assert len({*beside_the_last_layer.values(), *beside_cells.values()}) == 5


def test_the_summary_has_a_row_for_each_trained_network():
    network = backbones.build(backbones.spec_of("cnn", 2, 16))
    network.facts = backbones.Facts(views=4)
    fitted = SimpleNamespace(network=network, history=[{}] * 3, seconds=2.5, device="CPU")
    cost = curves_and_costs.cost(network.spec, "no")
    assert cost["ms_single"] > 0 and cost["macs"] > cost["parameters"]
    table = pd.DataFrame({"model": ["cnn", "fbp", "lda"], "val_auc": [0.8, 0.9, 0.7]})
    summary = curves_and_costs.summary(
        table.assign(judged_by="out-of-fold"),
        {"fbp": [fitted, fitted], "cnn": [fitted], "own": []},
        {"cnn": cost, "fbp": cost},
        {"cnn": 50.0},
    ).set_index("model")
    assert [*summary.index] == ["cnn", "fbp"] and summary.search_s.cnn == 50
    assert summary.training_s.fbp == 5 and pd.isna(summary.search_s.fbp)
    assert (summary.test_views == 4).all() and summary.val_auc.tolist() == [0.8, 0.9]


def test_a_network_of_a_cell_has_no_cost_before_it_is_built():
    with pytest.raises(UserError, match="your own"):
        curves_and_costs.cost(dataclasses.replace(backbones.spec_of("cnn", 2, 16), kind="own"))


def test_the_milliseconds_of_an_image_are_the_median_batch_s_without_the_first(monkeypatch):
    model = backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, 16, 1))
    clock, batches = iter([0, 9, 10, 10.5, 11, 11.3, 12, 12.4]), []  # 9 s, then .5, .3 and .4
    monkeypatch.setattr(curves_and_costs.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        curves_and_costs.Scorer, "score_batch", lambda self, images: batches.append(images.shape)
    )
    found = curves_and_costs.milliseconds_per_image(model, 4, "no", repeats=3)
    assert found == pytest.approx(100) and batches == [(4, 1, 16, 16)] * 4
