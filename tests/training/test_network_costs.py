"""What networks cost, as a table."""

import dataclasses
from types import SimpleNamespace

import pandas as pd
import pytest

from helpers.core.errors import UserError
from helpers.models import backbones
from helpers.models.record import Model
from helpers.models.spec import Facts
from helpers.training import network_costs


def test_the_table_has_a_row_for_each_trained_network_the_best_first():
    network = backbones.build(backbones.spec_of("cnn", 2, 16))
    network.facts = dataclasses.replace(Facts(), views=4)
    fitted = SimpleNamespace(network=network, history=[{}] * 3, seconds=2.5, device="CPU")
    trained = {"fbp": [fitted, fitted], "cnn": [fitted], "own": []}
    cost = network_costs.cost(network.spec, "no")
    assert cost["ms_single"] > 0 and cost["macs"] > cost["parameters"]
    table = pd.DataFrame({"model": ["cnn", "fbp", "lda"], "val_auc": [0.8, 0.9, 0.7]})
    table["judged_by"] = "out-of-fold"
    costs = {"cnn": cost, "fbp": cost}
    summary = network_costs.summary(table, trained, costs, {"cnn": 50.0}).set_index("model")
    assert [*summary.index] == ["cnn", "fbp"] and summary.search_s.cnn == 50
    assert summary.training_s.fbp == 5 and pd.isna(summary.search_s.fbp)
    words = network_costs.cost_table(summary.reset_index(), [Model("fbp"), Model("cnn")])
    assert words["Out-of-fold AUC, one training"].tolist() == ["90.0", "80.0"]
    assert words.Model.tolist() == ["FBP", "Two-layer CNN"] and (words.Views == "4").all()


def test_a_network_of_a_cell_has_no_cost_before_it_is_built():
    with pytest.raises(UserError, match="your own"):
        network_costs.cost(dataclasses.replace(backbones.spec_of("cnn", 2, 16), kind="own"))


def test_the_milliseconds_of_an_image_are_the_median_batch_s_without_the_first(monkeypatch):
    model = backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, 16, 1))
    assert network_costs.milliseconds_per_image(model, 1, "no", repeats=1) > 0
    clock, batches = iter([0, 9, 10, 10.5, 11, 11.3, 12, 12.4]), []  # 9 s, then .5, .3 and .4
    monkeypatch.setattr(network_costs.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(
        network_costs.Scorer, "score_batch", lambda self, images: batches.append(images.shape)
    )
    found = network_costs.milliseconds_per_image(model, 4, "no", repeats=3)
    assert found == pytest.approx(100) and batches == [(4, 1, 16, 16)] * 4
