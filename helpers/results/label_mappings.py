"""The same test scores judged under each reading of ELPV's labels that the literature uses.

An ELPV cell has a defect probability of 0, 1/3, 2/3 or 1 (Buerhop-Lutz et al. 2018). Papers derive
good and bad from it in different ways, and that alone changes the numbers.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.metrics import accuracy_score, f1_score

from helpers.core.metrics import roc_auc
from helpers.results.predictions import Scored

HALF = "bad = p >= 1/2"  # used here
# name -> which cells are bad and which are good by their defect probability p; others are left out
MAPPINGS = {
    HALF: lambda p: (p >= 0.5, p < 0.5),
    "bad = p > 0": lambda p: (p > 0, p == 0),
    "p = 1/3 and 2/3 left out": lambda p: (p == 1, p == 0),
}
# columns of `mapping_table` for the eye, see `core.tables`
COLUMNS = {"Labels": "{mapping}", "Images": "{cells}", "Bad": "{bad:%}"}
COLUMNS |= {"Majority accuracy": "{majority:%}", "Accuracy": "{accuracy:%}"}
COLUMNS |= {"F1": "{f1:%}", "AUC": "{auc:%}"}


def mapping_table(scored: Scored, split: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Return the numbers of one model on test under every mapping.

    All rows have the decisions of one `threshold`, chosen on validation under the mapping used
    here, so only the labels make a difference. `split` has `id` and `probability`.

    Returns:
        One row per mapping: `mapping, cells, bad, majority` (fractions), `accuracy, f1, auc`. Empty
        if there is no `probability` or the test labels are hidden.
    """
    columns = ["mapping", "cells", "bad", "majority", "accuracy", "f1", "auc"]
    if "probability" not in split or scored.judged_on != "test":
        return pd.DataFrame(columns=columns)
    frame = scored.test.merge(split[["id", "probability"]], on="id")
    rows = []
    for name, mapping in MAPPINGS.items():
        bad, good = mapping(frame.probability.to_numpy(np.float64))
        labels, scores = bad[bad | good].astype(int), frame.defect_score[bad | good].to_numpy()
        share, called = labels.mean(), scores >= threshold
        measured = (accuracy_score(labels, called), f1_score(labels, called))
        row = [name, len(labels), share, max(share, 1 - share), *measured]
        rows.append([*row, roc_auc(labels, scores)])
    return pd.DataFrame(rows, columns=columns)
