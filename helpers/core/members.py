"""The trainings of one model: one for each seed and, if it is cross-fitted, for each fold.

A split may have a column `fold` (0 to K - 1) for its training and validation images. A cross-fitted
model is then trained K times, each time without one fold, and each image is judged by a training
that has not seen it. Validation is fold 0: the training of fold 0 is what a single training is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import pandas as pd


class Member(NamedTuple):
    """One training of a model."""

    seed: int = 0
    fold: int | None = None  # that it does not see; None: it is trained on the side `train`

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


def sides(split: pd.DataFrame, fold: int | None) -> pd.DataFrame:
    """Return the split as a training without `fold` sees it: that fold is `val`, others `train`.

    None returns the split as it is.
    """
    if fold is None:
        return split
    own = split.fold.notna()
    side = split.split.mask(own, "train").mask(own & (split.fold == fold).fillna(False), "val")
    return split.assign(split=side)
