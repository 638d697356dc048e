"""Frozen features with fewer training images: the same test images, nested draws, done once."""

import itertools

import numpy as np
import pandas as pd
import pytest

from helpers.core import files
from helpers.datasets.split_file import read_split
from helpers.results import training_size as sizes
from helpers.training import training_size
from helpers.training.features import Features, save_features
from tests import planted


@pytest.fixture
def stage(home):
    run_paths = planted.make_run(n=120)
    return planted.analysis_stage(run_paths)


def _save_features(stage):
    stage.notes["backbone"] = "frozen"
    label = stage.split.label.fillna(0).to_numpy(dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=(len(label), 60)).astype(np.float32)
    noise[:, 0] += 1.5 * label
    path = stage.paths.features("frozen")
    save_features(path, Features(stage.split.id.to_numpy(dtype=str), noise))


def test_more_images_give_a_better_auc_on_the_same_test_images(stage, monkeypatch):
    _save_features(stage)
    scores = training_size.scores_by_size(stage)
    assert scores.groupby("images").draw.nunique().tolist() == [5, 5, 1]
    assert scores.images.unique().tolist() == [60, 120, 240]  # of training and validation
    test = stage.split.id[stage.split.split == "test"].tolist()
    assert all(own.id.tolist() == test for _, own in scores.groupby(["images", "draw"]))
    table = sizes.size_table(scores, stage.split)
    assert table.auc.iloc[-1] > table.auc.iloc[0]
    monkeypatch.setattr(training_size, "pipeline_and_grid", None)  # a second call fits nothing
    again = training_size.scores_by_size(stage)
    pd.testing.assert_frame_equal(again, scores)


def test_hidden_test_labels_leave_validation_to_judge_and_training_to_fit(stage):
    planted.hide_test_labels(stage.paths)
    _save_features(stage)
    scores = training_size.scores_by_size(stage)
    assert scores.images.max() == 120 and scores.share.max() == 1
    assert set(scores.id) == set(stage.split.id[stage.split.split == "val"])


def test_a_class_with_few_images_or_a_run_without_features_gives_no_rows(home):
    stage = planted.analysis_stage(planted.make_run(n=12))
    assert training_size.scores_by_size(stage).empty
    _save_features(stage)
    assert training_size.scores_by_size(stage).empty


def test_whole_groups_are_drawn_where_the_split_keeps_them_apart():
    groups = np.repeat([f"g{k:02d}" for k in range(12)], 10)
    labels = np.tile([0, 1], 60)
    labels[groups == "g05"] = 0  # the first that is drawn
    draws = [training_size._drawn(labels, share, 0, 1, groups) for share in (0.05, 0.25, 0.5, 1)]
    assert all(set(smaller) < set(larger) for smaller, larger in itertools.pairwise(draws))
    assert [len(rows) for rows in draws] == [20, 30, 60, 120]
    assert all(len(rows) == 10 * len(set(groups[rows])) for rows in draws)
    assert np.bincount(labels[draws[0]]).min() >= training_size.FEWEST


def test_a_part_without_a_group_is_drawn_alone(home):
    run_paths = planted.make_run(n=120)
    split = read_split(run_paths.split_csv)
    split["group"] = None
    split.loc[:5, "group"], split.loc[120:125, "group"] = "a", "b"  # of training and validation
    files.save_csv(run_paths.split_csv, split)
    stage = planted.analysis_stage(run_paths)
    _save_features(stage)
    scores = training_size.scores_by_size(stage)
    # of 230 units, two of them with six parts
    units = {0.25: 58, 0.5: 115, 1.0: 230}
    more = scores.images - scores.share.map(units)
    assert set(more) <= {0, 5, 10} and scores.images.max() == 240


def test_a_small_draw_is_a_part_of_the_large_one():
    labels = np.repeat([0, 1], 20)
    small, large = (set(training_size._drawn(labels, share, 0, 1)) for share in (0.25, 0.5))
    assert small < large and len(small) == 10
