"""Published numbers on ELPV beside those of this run under the same reading of the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers.core.metrics import Interval, exact_interval
from helpers.core.style import percent, with_interval
from helpers.results.label_mappings import MAPPINGS

HALF = "bad = p >= 1/2 (used here)"
# work, model, mapping ("" if the source does not show it), accuracy, F1, remark; per cent
PUBLISHED = (
    ("Deitsch et al. 2019", "SVM", "", "82.4", "", "doi 10.1016/j.solener.2019.02.067"),
    ("Deitsch et al. 2019", "CNN", "", "88.4", "", "doi 10.1016/j.solener.2019.02.067"),
    ("Song et al. 2024", "VGG19", HALF, "89.8 ± 2.0", "82.5", "recomputed for p >= 1/2"),
    ("Demirci et al. 2024", "with class weights", "", "91.5", "", "89.7 without them"),
    (
        "Zhang et al. 2024",
        "searched, distilled",
        "",
        "91.7",
        "",
        "1.85 M parameters; protocol not visible",
    ),
)


def beside(mapped: pd.DataFrame, title: str) -> pd.DataFrame:
    """Return published numbers and this run's, by mapping of the labels, then by accuracy.

    Args:
        mapped: `label_mappings.mapping_table` of a model.
        title: of this model.

    Returns:
        Texts: `Work, Model, Labels, Accuracy, F1, Remark`. A mapping that a source does not show is
        "not stated", and such rows are the last. Empty if nothing is mapped.
    """
    columns = ["Work", "Model", "Labels", "Accuracy", "F1", "Remark"]
    if mapped.empty:
        return pd.DataFrame(columns=columns)
    rows = [
        [work, model, _short(labels) or "not stated", accuracy, f1 or "-", remark]
        for work, model, labels, accuracy, f1, remark in PUBLISHED
    ]
    for row in mapped.itertuples():
        accuracy = percent(row.accuracy)
        if not row.mapping.startswith("weighted"):  # whole cells: the interval is exact
            accuracy = with_interval(*_accuracy(row))
        images = f"{row.cells:.0f} images"
        rows.append(["this run", title, _short(row.mapping), accuracy, percent(row.f1), images])
    table = pd.DataFrame(rows, columns=columns)
    mappings = [*map(_short, MAPPINGS), "not stated"]
    accuracy = table.Accuracy.str.split().str[0].astype(float)
    order = np.lexsort((-accuracy, table.Labels.map(mappings.index)))
    return table.iloc[order].reset_index(drop=True)


def against(mapped: pd.DataFrame) -> str:
    """Say where this run's accuracy is beside the one published under the same mapping."""
    own = mapped[mapped.mapping == HALF]
    if own.empty:
        return ""
    known = [one for one in PUBLISHED if one[2] == HALF]
    texts = ", ".join(f"{published} % ({work})" for work, _, _, published, *_ in known)
    return (
        "Under p >= 1/2 this run's accuracy is "
        f"{with_interval(*_accuracy(own.iloc[0]), ' %')}, the published one {texts}, on another "
        "split."
    )


def _accuracy(row: Any) -> Interval:
    n = round(row.cells)
    return exact_interval(round(row.accuracy * n), n)


def _short(mapping: str) -> str:
    assert not mapping or mapping in MAPPINGS
    return mapping.removesuffix(" (used here)")
