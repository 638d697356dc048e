"""Stratified folds, by groups if there are any."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold


def stratified_folds(
    labels: ArrayLike, n: int, random_state: int, groups: ArrayLike | None = None
) -> np.ndarray:
    """Return the fold (N,) of each part, 0 to n - 1, each fold with about the same share of labels.

    The numbers are drawn: scikit-learn would put the groups that are hardest to place into the
    first folds whatever the seed, and a test set that is one fold would always hold them.

    Args:
        labels: (N,) classes or strata.
        n: folds; fewer if there are fewer groups.
        random_state: of the shuffling.
        groups: (N,) no group is in two folds; a missing one is a group of its own. None, or a
            single group: parts are drawn one by one.
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
    found = [rows for _, rows in splits]
    drawn = np.random.default_rng(random_state).permutation(len(found))
    for number, rows in zip(drawn, found, strict=True):
        fold[rows] = number
    return fold


def one_holds_a_class(folds: np.ndarray, labels: ArrayLike) -> bool:
    """Return True if one fold (N,) holds all parts of a class (N,): the other folds lack it."""
    labels = np.asarray(labels)
    return any(len(np.unique(folds[labels == label])) < 2 for label in np.unique(labels))
