"""Cheap models on repeated splits: a feature that names the group pays on random splits alone."""

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.results import two_splits
from helpers.runs import stages
from helpers.training import repeated
from helpers.training.features import Features
from helpers.training.settings import BaselineSettings


@pytest.fixture
def stage(home):
    """An opened stage 02 on 480 images of 24 groups with other shares of bad ones."""
    rng = np.random.default_rng(0)
    group, rates = np.repeat(np.arange(24), 20), np.repeat(rng.random(24), 20)
    split = pd.DataFrame(
        {
            "id": [f"i{i:03d}" for i in range(480)],
            "path": "x.png",
            "label": (rng.random(480) < rates).astype(int),
            "split": np.repeat(["train", "val", "test"], 160),
            "group": [f"lot{i}" for i in group],
        }
    )
    settings = BaselineSettings(repeats=2, folds=2, trees=10)
    stage = stages.Stage("02_features_baselines", RunPaths("r"), "quick", settings, "key")
    files.save_csv(stage.paths.split_csv, split)
    return stage


def leaking(stage):
    one_hot = pd.get_dummies(stage.split.group).to_numpy(dtype=np.float32)
    noise = np.random.default_rng(1).normal(0, 0.1, one_hot.shape).astype(np.float32)
    return Features(stage.split.id.to_numpy(dtype=str), one_hot + noise)


def test_a_leak_by_groups_pays_on_random_splits_and_not_on_unseen_groups(stage, monkeypatch):
    scores = repeated.score_repeated_splits(stage, leaking(stage))
    table = two_splits.repeated_table(scores).groupby(["model", "split"]).auc.mean()
    for model in repeated.MODELS:
        assert table[model, "random"] > 0.75 and table[model, "groups"] < 0.7
    seen = scores[scores.split == "groups"].groupby(["model", "repetition"]).group.unique()
    assert all(len(groups) == 6 for groups in seen)  # a quarter of the groups, whole ones
    monkeypatch.setattr(repeated, "fit_baseline", None)  # a second call fits nothing
    pd.testing.assert_frame_equal(repeated.score_repeated_splits(stage, leaking(stage)), scores)


def test_too_few_groups_for_a_split_by_groups_are_said_and_nothing_is_drawn(stage, capsys):
    features, few = leaking(stage), stage.split.group.isin(["lot0", "lot1", "lot2"])
    files.save_csv(stage.paths.split_csv, stage.split.assign(group=stage.split.group.where(few)))
    bare = stages.Stage(stage.name, stage.paths, "quick", stage.settings, "key")
    assert repeated.score_repeated_splits(bare, features).empty
    assert "too few groups" in capsys.readouterr().out


def test_without_groups_or_repeats_nothing_is_done(stage):
    features = leaking(stage)
    files.save_csv(stage.paths.split_csv, stage.split.drop(columns="group"))
    bare = stages.Stage(stage.name, stage.paths, "quick", stage.settings, "key")
    assert repeated.score_repeated_splits(bare, features).empty
