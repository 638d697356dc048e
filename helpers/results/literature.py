"""Published numbers on ELPV beside those of this run under the same reading of the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers.core.metrics import Interval, exact_interval
from helpers.core.style import percent, with_interval
from helpers.results.label_mappings import HALF, MAPPINGS

NOT_STATED = "not stated"  # the source does not show its mapping
COLUMNS = ["Work", "Model", "Labels", "Accuracy", "F1", "Remark"]
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


def beside(mapped: pd.DataFrame, title: str) -> pd.DataFrame:
    """Return published numbers and this run's, by mapping of the labels, then by accuracy.

    Rows whose mapping is not stated are the last.

    Args:
        mapped: `label_mappings.mapping_table` of a model.
        title: of this model.
    """
    rows: list[tuple[str, ...]] = [*PUBLISHED]
    for row in mapped.itertuples():
        accuracy = percent(row.accuracy)
        if not row.mapping.startswith("weighted"):  # whole cells: the interval is exact
            accuracy = with_interval(*_accuracy(row))
        images = f"{row.cells:.0f} images"
        rows.append(("this run", title, row.mapping, accuracy, percent(row.f1), images))
    table = pd.DataFrame(rows, columns=COLUMNS)
    accuracy = table.Accuracy.str.split().str[0].astype(float)
    order = np.lexsort((-accuracy, table.Labels.map([*MAPPINGS, NOT_STATED].index)))
    return table.iloc[order].reset_index(drop=True)


def against(mapped: pd.DataFrame) -> str:
    """Say where this run's accuracy is beside the one published under the same mapping."""
    own = mapped.set_index("mapping", drop=False).loc[HALF]
    known = [f"{row[3]} % ({row[0]})" for row in PUBLISHED if row[2] == HALF]
    return (
        "Under p >= 1/2 this run's accuracy is "
        f"{with_interval(*_accuracy(own), ' %')}, the published one {', '.join(known)}, on another "
        "split."
    )


def _accuracy(row: Any) -> Interval:
    n = round(row.cells)
    return exact_interval(round(row.accuracy * n), n)
