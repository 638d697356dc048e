"""Frozen features with fewer training images: what would more images bring?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from helpers.core import seeding
from helpers.datasets.split_file import keeps_groups_apart
from helpers.training.baselines import pipeline_and_grid
from helpers.training.features import Features

SHARES = (0.25, 0.5, 1.0)  # of the training images
DRAWS = 5  # of each share below 1
C = 0.01  # of the logistic regression, the same for all sizes: nothing is chosen
FEWEST = 5  # images of a class in the smallest share
COLUMNS = ("share", "images", "draw", "id", "defect_score")


def scores_by_size(features: Features, split: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """Fit logistic regression on shares of the training images, and score the test images.

    A share is drawn `DRAWS` times: by class, or of whole groups if the split (`id`, `label`,
    `split`, perhaps `group`) keeps them apart. Training and validation images are both used to fit;
    if the test labels are hidden, training images are, and validation images are scored.

    Returns:
        A row for each scored image, share and draw with `COLUMNS`; `images` is the number fitted
        on. Without rows if a class has too few images.
    """
    split = split[split.label.notna()]
    is_known = split[split.split == "test"].label.nunique() == 2
    fitted_on = split[split.split.isin(["train", "val"] if is_known else ["train"])]
    judged = split[split.split == ("test" if is_known else "val")]
    groups = None
    if keeps_groups_apart(split):  # a part without a group is one of its own
        groups = fitted_on.group.fillna("part " + fitted_on.id).to_numpy()
    x, y = features.of(fitted_on.id), fitted_on.label.to_numpy(dtype=np.int64)
    seen, rows = features.of(judged.id), []
    enough = np.bincount(y, minlength=2).min() * min(SHARES) >= FEWEST
    for share in SHARES if enough else ():
        for draw in range(DRAWS if share < 1 else 1):
            kept = _drawn(y, share, seed, draw, groups)
            model, _ = pipeline_and_grid("LR", 1, 0)
            model.set_params(model__C=C).fit(x[kept], y[kept])
            row = {"share": share, "images": len(kept), "draw": draw, "id": judged.id}
            rows.append(pd.DataFrame(row | {"defect_score": model.predict_proba(seen)[:, 1]}))
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def _drawn(
    labels: np.ndarray, share: float, seed: int, draw: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Return the rows of a share of each class, or of the groups.

    Smaller shares of a draw are parts of larger ones. Groups are added while a class has too few
    images.
    """
    if groups is not None:
        stream = seeding.numpy_stream(seed, f"training size, draw {draw}, groups")
        order = stream.permutation(np.unique(groups.astype(str)))
        n = max(1, round(share * len(order)))
        while True:
            rows = np.flatnonzero(np.isin(groups.astype(str), order[:n]))
            if n == len(order) or np.bincount(labels[rows], minlength=2).min() >= FEWEST:
                return rows
            n += 1
    kept = []
    for label in np.unique(labels):
        stream = seeding.numpy_stream(seed, f"training size, draw {draw}, class {label}")
        order = stream.permutation(np.flatnonzero(labels == label))
        kept.append(order[: round(share * len(order))])
    return np.sort(np.concatenate(kept))
