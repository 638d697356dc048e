"""Frozen features with fewer training images: the same test images, nested draws."""

import itertools

import numpy as np
import pandas as pd
import pytest

from helpers.results.comparison import size_table
from helpers.training import training_size
from helpers.training.features import Features


@pytest.fixture
def split():
    """120 good and bad images on each side, without groups."""
    sides = np.repeat(["train", "val", "test"], 120)
    ids = [f"i{i:03d}" for i in range(360)]
    return pd.DataFrame({"id": ids, "label": np.arange(360) % 2, "split": sides})


def _features(split):
    label = split.label.fillna(0).to_numpy(dtype=np.float32)
    noise = np.random.default_rng(0).normal(size=(len(label), 60)).astype(np.float32)
    noise[:, 0] += 1.5 * label
    return Features(split.id.to_numpy(dtype=str), noise)


def test_more_images_give_a_better_auc_on_the_same_test_images(split):
    scores = training_size.scores_by_size(_features(split), split)
    assert scores.groupby("images").draw.nunique().tolist() == [5, 5, 1]
    assert scores.images.unique().tolist() == [60, 120, 240]  # of training and validation
    test = split.id[split.split == "test"].tolist()
    assert all(own.id.tolist() == test for _, own in scores.groupby(["images", "draw"]))
    table = size_table(scores, split)
    assert table.auc.iloc[-1] > table.auc.iloc[0]


def test_hidden_test_labels_leave_validation_to_judge_and_training_to_fit(split):
    hidden = split.assign(label=split.label.where(split.split != "test"))
    scores = training_size.scores_by_size(_features(split), hidden)
    assert scores.images.max() == 120 and scores.share.max() == 1
    assert set(scores.id) == set(split.id[split.split == "val"])


def test_a_class_with_few_images_gives_no_rows(split):
    few = split.groupby("split").head(12)
    assert training_size.scores_by_size(_features(split), few).empty


def test_draws_are_nested_and_of_whole_groups_where_the_split_keeps_them_apart():
    labels = np.repeat([0, 1], 20)
    small, large = (set(training_size._drawn(labels, share, 0, 1)) for share in (0.25, 0.5))
    assert small < large and len(small) == 10
    groups = np.repeat([f"g{k:02d}" for k in range(12)], 10)
    labels = np.tile([0, 1], 60)
    labels[groups == "g05"] = 0  # the first that is drawn
    draws = [training_size._drawn(labels, share, 0, 1, groups) for share in (0.05, 0.25, 0.5, 1)]
    assert all(set(smaller) < set(larger) for smaller, larger in itertools.pairwise(draws))
    assert [len(rows) for rows in draws] == [20, 30, 60, 120]
    assert all(len(rows) == 10 * len(set(groups[rows])) for rows in draws)
    assert np.bincount(labels[draws[0]]).min() >= training_size.FEWEST


def test_a_part_without_a_group_is_drawn_alone(split):
    group = pd.Series(None, split.index, dtype=object)
    group[:6], group[120:126] = "a", "b"  # of training and validation
    scores = training_size.scores_by_size(_features(split), split.assign(group=group))
    # of 230 units, two of them with six parts
    units = {0.25: 58, 0.5: 115, 1.0: 230}
    more = scores.images - scores.share.map(units)
    assert set(more) <= {0, 5, 10} and scores.images.max() == 240
