"""The same test scores judged under each reading of ELPV's labels that the literature uses.

An ELPV cell has a defect probability of 0, 1/3, 2/3 or 1 (Buerhop-Lutz et al. 2018). Papers derive
good and bad from it in different ways, and that alone changes the numbers. Published numbers are
put beside those of this run under the same reading.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.metrics import roc_auc_score

from helpers.core.metrics import exact_interval
from helpers.core.style import percent, with_interval
from helpers.results.predictions import Scored

HALF = "bad = p >= 1/2"  # used here
# name -> weight of a cell as a bad one and as a good one, from its defect probability p
MAPPINGS = {
    HALF: lambda p: (p >= 0.5, p < 0.5),
    "bad = p > 0": lambda p: (p > 0, p == 0),
    "p = 1/3 and 2/3 left out": lambda p: (p == 1, p == 0),
    "weighted: p bad, 1 - p good": lambda p: (p, 1 - p),
}
NOT_STATED = "not stated"  # the source does not show its mapping
PUBLISHED = (  # in per cent
    ("Deitsch et al. 2019", "SVM", NOT_STATED, "82.4", "-", "doi 10.1016/j.solener.2019.02.067"),
    ("Deitsch et al. 2019", "CNN", NOT_STATED, "88.4", "-", "doi 10.1016/j.solener.2019.02.067"),
    ("Song et al. 2024", "VGG19", HALF, "89.8 ± 2.0", "82.5", "recomputed for p >= 1/2"),
    ("Demirci et al. 2024", "with class weights", NOT_STATED, "91.5", "-", "89.7 without them"),
    (
        "Zhang et al. 2024",
        "searched, distilled",
        NOT_STATED,
        "91.7",
        "-",
        "1.85 M parameters; protocol not visible",
    ),
)
# columns of `mapping_table` for the eye, see `core.tables`
COLUMNS = {"Labels": "{mapping}", "Images": "{cells:.0f}", "Bad": "{bad:%}"}
COLUMNS |= {"Majority accuracy": "{majority:%}", "Accuracy": "{accuracy:%}"}
COLUMNS |= {"F1": "{f1:%}", "AUC": "{auc:%}"}


def mapping_table(scored: Scored, split: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the numbers of one model on test under every mapping.

    All rows have the decisions of one `threshold`, chosen on validation under the mapping used
    here, so only the labels make a difference. `split` has `id` and `probability`.

    Returns:
        One row per mapping: `mapping, cells` (the sum of weights), `bad, majority` (fractions),
        `accuracy, f1, auc`. Empty if there is no `probability` or the test labels are hidden.
    """
    columns = ["mapping", "cells", "bad", "majority", "accuracy", "f1", "auc"]
    if "probability" not in split or scored.judged_on != "test":
        return pd.DataFrame(columns=columns)
    frame = scored.test.merge(split[["id", "probability"]], on="id")
    p, scores = frame.probability.to_numpy(np.float64), frame.defect_score.to_numpy(np.float64)
    rows = []
    for name, weights in MAPPINGS.items():
        bad, good = (np.asarray(w, dtype=np.float64) for w in weights(p))
        total, called = bad.sum() + good.sum(), scores >= threshold
        right = bad[called].sum() + good[~called].sum()
        f1 = 2 * bad[called].sum() / (bad.sum() + (bad + good)[called].sum())
        share = bad.sum() / total
        row = [name, total, share, max(share, 1 - share), right / total, f1]
        rows.append([*row, weighted_auc(bad, good, scores)])
    return pd.DataFrame(rows, columns=columns)


def weighted_auc(bad: ArrayLike, good: ArrayLike, scores: ArrayLike) -> float:
    """Return the chance that a part drawn as bad outscores another drawn as good, ties half.

    `bad` (N,) is each part's weight as a bad one, `good` (N,) as a good one; a part with both is
    never compared with itself. ValueError if no pair has a weight.
    """
    bad, good = np.asarray(bad, dtype=np.float64), np.asarray(good, dtype=np.float64)
    itself = (bad * good).sum()
    every = bad.sum() * good.sum()
    if every - itself <= 0:
        raise ValueError("no pair of a bad part and another good one has a weight above 0")
    labels, both = np.repeat([1, 0], len(bad)), np.concatenate([bad, good])
    auc = roc_auc_score(labels, np.tile(scores, 2), sample_weight=both)
    return float((auc * every - itself / 2) / (every - itself))


def beside_published(mapped: pd.DataFrame, title: str) -> pd.DataFrame:
    """Return published numbers and this run's, by mapping of the labels, then by accuracy.

    Rows whose mapping is not stated are the last.

    Args:
        mapped: `mapping_table` of a model.
        title: of this model.
    """
    rows: list[tuple[str, ...]] = [*PUBLISHED]
    for row in mapped.itertuples():
        accuracy, n = percent(row.accuracy), round(row.cells)
        if not row.mapping.startswith("weighted"):  # whole cells: the interval is exact
            accuracy = with_interval(*exact_interval(round(row.accuracy * n), n))
        rows.append(("this run", title, row.mapping, accuracy, percent(row.f1), f"{n} images"))
    table = pd.DataFrame(rows, columns=["Work", "Model", "Labels", "Accuracy", "F1", "Remark"])
    accuracy = table.Accuracy.str.split().str[0].astype(float)
    order = np.lexsort((-accuracy, table.Labels.map([*MAPPINGS, NOT_STATED].index)))
    return table.iloc[order].reset_index(drop=True)
