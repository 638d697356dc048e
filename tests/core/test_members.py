"""Members: one training for each seed and fold, and the split as each of them sees it."""

import pandas as pd

from helpers.core.members import Member, judges


def test_without_a_test_set_a_model_is_judged_by_a_training_for_each_fold():
    split = pd.DataFrame({"split": ["val", "train", "train"], "fold": [0, 1, 1]})
    assert judges(split, [3]) == [Member(3, 0), Member(3, 1)]
    tested = pd.concat([split, pd.DataFrame({"split": ["test"], "fold": [pd.NA]})])
    assert judges(tested, [3, 4]) == [Member(3), Member(4)]
