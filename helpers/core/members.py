"""Folds, and the trainings of one model: one for each seed and, if cross-fitted, for each fold.

A split may have a column `fold` (0 to K - 1) for its training and validation images. A cross-fitted
model is then trained K times, each time without one fold, and each image is judged by a training
that has not seen it. Validation is fold 0: the trainings that have not seen it are deployed.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

CALIBRATION_FOLD = 0  # chooses thresholds and temperature of the members that have not seen it


class Member(NamedTuple):
    """One training of a model."""

    seed: int = 0
    fold: int | None = None  # the fold left out; None: it is trained on the side `train`

    def __str__(self) -> str:
        """Return "seed 0" or "seed 0, fold 3"."""
        return f"seed {self.seed}" if self.fold is None else f"seed {self.seed}, fold {self.fold}"


def folds_of(split: pd.DataFrame) -> list[int]:
    """Return the folds of a split in their order; an empty list if it has none."""
    return sorted(split.fold.dropna().astype(int).unique().tolist()) if "fold" in split else []


def cross_fitted(split: pd.DataFrame, seeds: Iterable[int]) -> list[Member]:
    """Return a member for each seed and fold, or for each seed if the split has no folds."""
    folds: list[int | None] = [*folds_of(split)] or [None]
    return [Member(seed, fold) for seed in seeds for fold in folds]


def judges(split: pd.DataFrame, seeds: Iterable[int]) -> list[Member]:
    """Return a member for each seed; without a test set, one for each seed and fold."""
    has_test = (split.split == "test").any()
    return [*map(Member, seeds)] if has_test else cross_fitted(split, seeds)


def sides(split: pd.DataFrame, fold: int | None) -> pd.DataFrame:
    """Return the split as a training without `fold` sees it: that fold is `val`, others `train`.

    None leaves the folds as they are. Labels of the column `review` are for training only,
    because a model has selected their parts; images of the set `review` are added to training.
    """
    if fold is not None:
        has_fold = split.fold.notna()
        is_val = (split.fold == fold).fillna(False)
        side = split.split.mask(has_fold, "train").mask(has_fold & is_val, "val")
        split = split.assign(split=side)
    if "review" in split:
        side = split.split.replace("review", "train")
        label = split.review.where(side == "train").fillna(split.label)
        split = split.assign(split=side, label=label)
    return split


def stratified_folds(
    labels: ArrayLike, n: int, random_state: int, groups: ArrayLike | None = None
) -> np.ndarray:
    """Return the fold (N,) of each part, 0 to n - 1, each fold with about the same share of labels.

    The labels (N,) are classes or strata. No group of `groups` (N,) is in two folds, so there are
    at most as many folds as groups; a missing one is a group of its own. Without `groups`, or with
    a single one, parts are drawn one by one. A fold of more than two thirds of the parts is the
    last, since the first folds test, validate or calibrate, and do not train.
    """
    labels = np.asarray(labels)
    fold = np.empty(labels.size, dtype=np.int64)
    splits = StratifiedKFold(n, shuffle=True, random_state=random_state).split(labels, labels)
    if groups is not None:
        numbers = pd.factorize(np.asarray(groups, dtype=object))[0]
        alone = numbers < 0
        numbers[alone] = numbers.max() + 1 + np.arange(alone.sum())
        if (count := len(np.unique(numbers))) > 1:
            splitter = StratifiedGroupKFold(min(n, count), shuffle=True, random_state=random_state)
            splits = splitter.split(labels, labels, numbers)
    tests = [rows for _, rows in splits]
    # scikit-learn puts the groups that are hardest to place into the first folds, whatever the seed
    drawn = np.random.default_rng(random_state).permutation(len(tests)).argsort()
    tests = sorted((tests[n] for n in drawn), key=lambda rows: 3 * len(rows) > 2 * labels.size)
    for number, rows in enumerate(tests):
        fold[rows] = number
    return fold


def one_holds_a_class(folds: np.ndarray, labels: ArrayLike) -> bool:
    """Return True if one fold holds all parts of a class; both arguments are (N,)."""
    labels = np.asarray(labels)
    return any(len(np.unique(folds[labels == label])) < 2 for label in np.unique(labels))
