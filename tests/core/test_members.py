"""Members: one training for each seed and fold, and the split as each of them sees it."""

import pandas as pd

from helpers.core.members import Member, judges, sides


def test_a_training_of_a_fold_validates_on_it_and_trains_on_the_others_but_not_on_excluded_images():
    folds = pd.array([1, 0, 2, pd.NA, pd.NA, 1], dtype="Int64")
    split = ["train", "val", "train", "test", "excluded", "train"]
    seen = sides(pd.DataFrame({"split": split, "fold": folds}), 1).split.tolist()
    assert seen == ["val", "train", "train", "test", "excluded", "val"]


def test_without_a_test_set_a_model_is_judged_by_a_training_for_each_fold():
    split = pd.DataFrame({"split": ["val", "train", "train"], "fold": [0, 1, 1]})
    assert judges(split, [3]) == [Member(3, 0), Member(3, 1)]
    tested = pd.concat([split, pd.DataFrame({"split": ["test"], "fold": [pd.NA]})])
    assert judges(tested, [3, 4]) == [Member(3), Member(4)]
