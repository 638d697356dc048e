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


def test_the_weighted_mapping_is_the_mean_over_labels_drawn_by_the_probability():
    table = label_mappings.mapping_table(model(), SPLIT, 0.5).set_index("mapping")
    row = table.loc["weighted: p bad, 1 - p good"]
    rng = np.random.default_rng(1)
    drawn = [accuracy_score(rng.random(200) < P, SCORES >= 0.5) for _ in range(3000)]
    assert row.accuracy == pytest.approx(np.mean(drawn), abs=0.001)
    assert row.bad == pytest.approx(P.mean())


def test_the_weighted_auc_is_the_sum_over_all_pairs_of_different_parts():
    won = total = 0.0
    for i in range(60):
        for j in range(60):
            if i != j:
                weight = P[i] * (1 - P[j])
                total += weight
                won += weight * ((SCORES[i] > SCORES[j]) + 0.5 * (SCORES[i] == SCORES[j]))
    found = label_mappings.weighted_auc(P[:60], 1 - P[:60], SCORES[:60])
    assert found == pytest.approx(won / total)


def test_without_probabilities_or_test_labels_there_is_nothing_to_map():
    assert label_mappings.mapping_table(model(), SPLIT[["id"]], 0.5).empty
    assert label_mappings.mapping_table(model(hidden=True), SPLIT, 0.5).empty


def test_one_class_alone_is_named():
    with pytest.raises(ValueError, match="no pair of a bad part and another good one"):
        label_mappings.weighted_auc([1, 1], [0, 0], [0.1, 0.2])


def test_published_numbers_are_beside_those_of_the_same_mapping_by_accuracy():
    table = label_mappings.beside_published(
        label_mappings.mapping_table(model(), SPLIT, 0.5), "SVM"
    )
    assert len(table.Labels.drop_duplicates()) == (table.Labels != table.Labels.shift()).sum()
    assert table.Labels.iloc[-1] == label_mappings.NOT_STATED
    for _, own in table.groupby("Labels"):
        values = [float(text.split()[0]) for text in own.Accuracy]
        assert values == sorted(values, reverse=True)
    own = table[table.Work == "this run"].set_index("Labels")
    assert "[" in own.Accuracy[label_mappings.HALF]
    assert "[" not in own.Accuracy["weighted: p bad, 1 - p good"]
