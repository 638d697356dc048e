"""Score images by their group alone, without a pixel: the bad rate of the other images in it."""

import numpy as np
import pandas as pd

PSEUDO_IMAGES = 1  # with the overall bad rate, added to each group: one image says little


def group_prior(split: pd.DataFrame) -> np.ndarray:
    """Return the smoothed bad rate (N,) of each image's group among the training images.

    An image does not count for itself: it is left out, and with folds so is its whole fold. If no
    other training image has its group, the score is the bad rate of all training images.
    """
    has_folds = "fold" in split
    is_training = split.fold.notna() if has_folds else split.split == "train"
    # what is left out together: a fold, or each image alone
    apart = split.fold.fillna(-1) if has_folds else pd.Series(range(len(split)), split.index)
    # The same for all images: a leave-one-out rate is lower for a bad image than for a good one, so
    # it would reveal the labels (inverted).
    bad = split.label.where(is_training, 0).astype(float)
    rate = bad.sum() / is_training.sum()
    n_bad, n = (
        values.groupby(split.group).transform("sum")
        - values.groupby([split.group, apart]).transform("sum")
        for values in (bad, is_training.astype(float))
    )
    return ((n_bad + PSEUDO_IMAGES * rate) / (n + PSEUDO_IMAGES)).fillna(rate).to_numpy()
