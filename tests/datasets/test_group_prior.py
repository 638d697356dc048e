import numpy as np
import pandas as pd
import pytest

from helpers.datasets.group_prior import PSEUDO_IMAGES, group_prior


def counted(split: pd.DataFrame) -> list[float]:
    """Count image by image what the package computes with tables."""
    fold = split.fold.fillna(-1) if "fold" in split else None
    training = split.split == "train" if fold is None else fold >= 0
    rows = list(split[training].itertuples())
    rate = np.mean([row.label for row in rows])
    scores = []
    for image in split.itertuples():
        others = [row for row in rows if row.group == image.group and row.Index != image.Index]
        if fold is not None:
            others = [row for row in others if row.fold != fold[image.Index]]
        bad = sum(row.label for row in others) + PSEUDO_IMAGES * rate
        scores.append(bad / (len(others) + PSEUDO_IMAGES))
    return scores


@pytest.fixture
def split() -> pd.DataFrame:
    """400 images in 9 groups, which differ in their share of bad ones; a few have no group."""
    rng = np.random.default_rng(0)
    number = rng.integers(0, 9, 400)
    labels = (rng.random(400) < number / 9).astype(int)
    groups = pd.Series([f"m{n}" for n in number]).where(rng.random(400) > 0.1)
    sides = rng.permutation(["train"] * 250 + ["val"] * 50 + ["test"] * 90 + ["excluded"] * 10)
    return pd.DataFrame({"label": pd.array(labels, "Int64"), "group": groups, "split": sides})


@pytest.mark.parametrize("folds", [0, 3])
def test_the_bad_rate_is_that_of_other_images_of_the_group_and_of_other_folds_alone(split, folds):
    hidden = split.assign(label=split.label.mask(split.split == "test"))
    if folds:
        fold = pd.Series(1 + np.arange(400) % folds, dtype="Int64").mask(split.split == "val", 0)
        hidden["fold"] = fold.mask(split.split.isin(["test", "excluded"]))
    found, unknown = group_prior(hidden), split.group.isna().to_numpy()
    np.testing.assert_allclose(found, counted(hidden))
    trained = hidden.fold.notna() if folds else split.split == "train"
    assert unknown.any() and found[unknown] == pytest.approx(split.label[trained].mean())
