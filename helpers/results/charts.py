"""Figures of models: AUCs and their differences with intervals."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.core.style import percent, percent_axis

MODEL: dict[str, Any] = {"fmt": "o", "color": "black", "capsize": 3}
LEGEND_BELOW: dict[str, Any] = {"loc": "outside lower center", "borderaxespad": 2}
LEGEND_BELOW |= {"ncols": 2, "frameon": False, "fontsize": 11}  # above the footnote


def interval_arms(frame: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return the lengths of an interval's two arms (N,) for `errorbar`; 0 without `<column>_low`.

    They are at least 0: rounding may put an end on the other side of the estimate.
    """
    low, high = (frame.get(f"{column}_{end}", frame[column]) for end in ("low", "high"))
    return [(frame[column] - low).clip(lower=0), (high - frame[column]).clip(lower=0)]


def name_rows(ax: Axes, names: Sequence[str], beside: Iterable[str] = ()) -> None:
    """Name the rows of a picture of AUCs, the first below, with a text at the right of each."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.5, len(names) - 0.5)
    for y, text in enumerate(beside):
        ax.annotate(text, (1.01, y), xycoords=ax.get_yaxis_transform(), va="center", fontsize=10)
    percent_axis(ax.xaxis)


def auc_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the AUC of every model of a `results_table`, the best above, and the prior as a line."""
    column = "test_auc" if "test_auc" in table else "val_auc"
    frame = table[table.model != "majority"].sort_values(column, kind="stable", ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.6))
    ax.errorbar(frame[column], frame.index, xerr=interval_arms(frame, column), **MODEL)
    for prior in frame[column][frame.model == "module_prior"]:
        ax.axvline(prior, color="tab:orange")  # the line to beat
    name_rows(ax, frame.title, frame[column].map(percent))
    ax.set(xlabel=f"{table.judged_by.iloc[0]} AUC, %, with its 95 % interval")
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure
