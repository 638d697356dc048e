"""Four readings of the same defect probabilities."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from helpers.models.record import Model
from helpers.results import label_mappings
from helpers.results.predictions import Scored

RNG = np.random.default_rng(0)
P = RNG.choice([0, 0.3333, 0.6667, 1], 200, p=[0.5, 0.15, 0.1, 0.25])
SCORES = np.clip(0.5 * P + 0.6 * RNG.random(200), 0, 1).round(2)
IDS = [f"cell{i}" for i in range(200)]
SPLIT = pd.DataFrame({"id": IDS, "probability": P})


def model(hidden=False):
    labels = pd.Series((P >= 0.5).astype(int), dtype="Int64")
    frame = pd.DataFrame({"id": IDS, "label": labels, "defect_score": SCORES})
    return Scored(Model("svm"), frame, frame.assign(label=pd.NA) if hidden else frame)


@pytest.mark.parametrize(
    ("mapping", "labels", "kept"),
    [
        (label_mappings.HALF, P >= 0.5, P >= 0),
        ("bad = p > 0", P > 0, P >= 0),
        ("p = 1/3 and 2/3 left out", P == 1, (P == 0) | (P == 1)),
    ],
)
def test_hard_mappings_agree_with_scikit_learn(mapping, labels, kept):
    row = label_mappings.mapping_table(model(), SPLIT, 0.5).set_index("mapping").loc[mapping]
    labels, scores = labels[kept], SCORES[kept]
    assert row.cells == kept.sum()
    assert row.accuracy == pytest.approx(accuracy_score(labels, scores >= 0.5))
    assert row.f1 == pytest.approx(f1_score(labels, scores >= 0.5))
    assert row.auc == pytest.approx(roc_auc_score(labels, scores))
    assert row.majority == pytest.approx(max(labels.mean(), 1 - labels.mean()))


def test_without_probabilities_or_test_labels_there_is_nothing_to_map():
    assert label_mappings.mapping_table(model(), SPLIT[["id"]], 0.5).empty
    assert label_mappings.mapping_table(model(hidden=True), SPLIT, 0.5).empty
