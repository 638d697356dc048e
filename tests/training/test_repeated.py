"""Cheap models on repeated splits: a feature that names the group pays on random splits alone."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from helpers.training import repeated
from helpers.training.features import Features

OPTIONS = {"folds": 2, "trees": 10, "seed": 0, "cv_images": 0}


@pytest.fixture
def split():
    """480 images of 24 groups with other shares of bad ones."""
    rng = np.random.default_rng(0)
    group, rates = np.repeat(np.arange(24), 20), np.repeat(rng.random(24), 20)
    return pd.DataFrame(
        {
            "id": [f"i{i:03d}" for i in range(480)],
            "path": "x.png",
            "label": (rng.random(480) < rates).astype(int),
            "split": np.repeat(["train", "val", "test"], 160),
            "group": [f"lot{i}" for i in group],
        }
    )


def test_a_leak_by_groups_pays_on_random_splits_and_not_on_unseen_groups(split):
    one_hot = pd.get_dummies(split.group).to_numpy(dtype=np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, one_hot.shape).astype(np.float32)
    leaking = Features(split.id.to_numpy(dtype=str), one_hot + noise)
    facts, aucs = split.set_index("id"), []
    for (kind, number), table in repeated.draws(split, repeats=2).items():
        assert ("group" in table) == (kind == "groups") and number in (0, 1)
        tested = table.id[table.split == "test"]
        if kind == "groups":  # a quarter of the groups, whole ones
            groups = facts.group[tested]
            assert groups.nunique() == 6 and len(groups) == 6 * 20
        scores = repeated.score(leaking, table, **OPTIONS)
        assert {*scores.id} == {*tested}
        aucs += [
            (kind, roc_auc_score(facts.label[own.id], own.defect_score))
            for _, own in scores.groupby("model")
        ]
    means = pd.DataFrame(aucs).groupby(0)[1].mean()
    assert means["random"] > 0.75 and means["groups"] < 0.7


def test_near_duplicates_stay_on_one_side(split):
    clusters = pd.DataFrame({"id": split.id[::2], "cluster": np.arange(240) // 4})
    for table in repeated.draws(split, 1, clusters).values():
        side = table.set_index("id").split[clusters.id].to_numpy()
        assert pd.Series(side).groupby(clusters.cluster.to_numpy()).nunique().max() == 1


def test_too_few_groups_or_none_give_no_draw(split, capsys):
    few = split.group.isin(["lot0", "lot1", "lot2"])
    assert repeated.draws(split.assign(group=split.group.where(few)), 2) == {}
    assert "too few groups" in capsys.readouterr().out
    assert repeated.draws(split.drop(columns="group"), 2) == {}
