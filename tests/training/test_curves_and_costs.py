"""Learning curves: one line per model, the mean over its trainings; and what networks cost."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from helpers.models import backbones
from helpers.models.record import Model
from helpers.training import curves_and_costs


def test_a_point_of_a_long_training_is_the_mean_over_a_tenth_of_its_epochs():
    aucs = np.random.default_rng(0).random((2, 30))  # of two folds
    table = [pd.DataFrame({"epoch": range(1, 31), "val_loss": 1.0, "val_auc": own}) for own in aucs]
    fits = [SimpleNamespace(history=own.to_dict("records")) for own in table]
    figure = curves_and_costs.learning_curves({Model("ll"): fits})
    drawn = figure.axes[1].lines[0].get_ydata()
    assert drawn[14] == pytest.approx(aucs[:, 13:16].mean())
    assert drawn[0] == pytest.approx(aucs[:, :2].mean())


def test_each_of_several_backbones_has_its_own_colour():
    history = [{"epoch": 1, "val_loss": 1.0, "val_auc": 0.7}] * 2
    several = [Model("fbp", f"resnet{n}") for n in (18, 34, 50)] + [Model("ll")]
    fits = {model: [SimpleNamespace(history=history)] for model in several}
    drawn = curves_and_costs.learning_curves(fits).axes[1].lines
    assert len({line.get_color() for line in drawn}) == len(several)


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


def test_the_milliseconds_of_an_image_are_the_median_batch_s_without_the_first(monkeypatch):
    model = backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, 16, 1))
    clock, batches = iter([0, 9, 10, 10.5, 11, 11.3, 12, 12.4]), []  # 9 s, then .5, .3 and .4
    monkeypatch.setattr(curves_and_costs.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(curves_and_costs, "REPEATS", 3)
    monkeypatch.setattr(
        curves_and_costs.Scorer, "score_batch", lambda self, images: batches.append(images.shape)
    )
    found = curves_and_costs.milliseconds_per_image(model, 4, "no")
    assert found == pytest.approx(100) and batches == [(4, 1, 16, 16)] * 4
