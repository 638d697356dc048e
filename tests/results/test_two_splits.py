"""The same models on a random split and on one by groups."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from helpers.core import tables
from helpers.core.metrics import roc_auc
from helpers.core.rules import SettingsError
from helpers.models.record import Model
from helpers.results import two_splits
from helpers.results.predictions import Scored


def model_of(name, separation, apart):
    """Scores of 200 test parts in 20 groups."""
    rng = np.random.default_rng(0)
    labels = (np.arange(200) % 3 == 0).astype(int)
    frame = pd.DataFrame({"id": [f"{i:03d}" for i in range(200)], "label": labels})
    frame["defect_score"] = 1 / (1 + np.exp(-rng.normal(size=200) - separation * labels))
    frame["group"] = [f"lot{i // 10}" for i in range(200)]
    return Scored(Model(name), frame, frame, groups_apart=apart)


def both():
    random, groups = model_of("fbp", 3.0, apart=False), model_of("fbp", 1.0, apart=True)
    return {"fbp": random, "only_random": random}, {"fbp": groups, "only_groups": groups}


def test_the_difference_is_that_of_unseen_groups_minus_random():
    random, groups = both()
    table = two_splits.compare(random, groups)
    assert table.model.tolist() == ["fbp"]
    row = table.iloc[0]
    assert row.random_auc == pytest.approx(roc_auc(*random["fbp"].labels_scores()))
    assert row.groups_auc == pytest.approx(roc_auc(*groups["fbp"].labels_scores()))
    assert row.difference == pytest.approx(row.groups_auc - row.random_auc) and row.difference < 0
    assert row.difference_low < row.difference < row.difference_high < 0
    shown = tables.filled(table, two_splits.COMPARED).iloc[0]
    assert shown["Unseen groups minus random"].startswith(f"{100 * row.difference:.1f} [")
    assert shown["Model"] == "FBP"


def test_runs_without_a_common_model_or_with_hidden_labels_are_refused():
    random, groups = both()
    with pytest.raises(SettingsError, match="no model"):
        two_splits.compare(random, {"only_groups": groups["only_groups"]})
    own = groups["fbp"]
    hidden = {"fbp": dataclasses.replace(own, test=own.test.assign(label=pd.NA))}
    with pytest.raises(SettingsError, match="test labels"):
        two_splits.compare(random, hidden)
