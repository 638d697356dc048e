"""Members: one training for each seed and fold, and the split as each of them sees it."""

import pandas as pd
import pytest

from helpers.core.members import Member, cross_fitted, judges, sides


@pytest.fixture
def split():
    folds = pd.array([1, 0, 2, pd.NA, pd.NA, 1], dtype="Int64")
    return pd.DataFrame(
        {"split": ["train", "val", "train", "test", "excluded", "train"], "fold": folds}
    )


def test_a_training_for_each_seed_and_fold_validates_on_its_fold_and_trains_on_the_others(split):
    assert cross_fitted(split, [4]) == [Member(4, 0), Member(4, 1), Member(4, 2)]
    assert cross_fitted(split.drop(columns="fold"), [4, 5]) == [Member(4), Member(5)]
    assert sides(split, 0).split.tolist() == split.split.tolist()  # what a single training sees
    seen = sides(split, 1).split.tolist()
    assert seen == ["val", "train", "train", "test", "excluded", "val"]


def test_without_a_test_set_a_model_is_judged_by_a_training_for_each_fold():
    split = pd.DataFrame({"split": ["val", "train", "train"], "fold": [0, 1, 1]})
    assert judges(split, [3]) == [Member(3, 0), Member(3, 1)]
    tested = pd.concat([split, pd.DataFrame({"split": ["test"], "fold": [pd.NA]})])
    assert judges(tested, [3, 4]) == [Member(3), Member(4)]
