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


def test_the_bad_rate_of_the_group_is_that_of_its_other_training_images_alone(split):
    hidden = split.assign(label=split.label.mask(split.split == "test"))
    np.testing.assert_allclose(group_prior(hidden), counted(split))
    unknown = split.group.isna().to_numpy()
    rate = split.label[split.split == "train"].mean()
    assert unknown.any() and group_prior(split)[unknown] == pytest.approx(rate)


def test_with_folds_the_whole_fold_of_an_image_is_left_out(split):
    fold = np.where(split.split == "val", 0, 1 + np.arange(400) % 3)
    split["fold"] = pd.array(fold, "Int64")
    split.loc[split.split.isin(["test", "excluded"]), "fold"] = pd.NA
    np.testing.assert_allclose(group_prior(split), counted(split))
