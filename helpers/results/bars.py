"""Figures of points with intervals: a row or a point per model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from helpers.core import tables
from helpers.core.style import SIDES, SIGNIFICANT, percent, percent_axis

MODEL: dict[str, Any] = {"fmt": "o", "color": "black", "capsize": 3}
LEGEND_BELOW: dict[str, Any] = {"loc": "outside lower center", "borderaxespad": 2}
LEGEND_BELOW |= {"ncols": 2, "frameon": False, "fontsize": 11}  # above the footnote
MARKERS = "osD^vP"


def interval_arms(frame: pd.DataFrame, column: str) -> list[pd.Series]:
    """Return the lengths of an interval's two arms (N,) for `errorbar`, at least 0.

    The ends are in `<column>_low` and `<column>_high`; without them the arms have length 0.
    Rounding may put an end on the other side of the estimate.
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


def _auc_column(table: pd.DataFrame) -> str:
    return "test_auc" if "test_auc" in table and table.test_auc.notna().any() else "val_auc"


def auc_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the AUC of every model with its 95 % interval, the best above.

    It is the AUC on test or, if its labels are hidden, on validation; `table` is that of
    `results_table`.
    """
    column = _auc_column(table)
    frame = table[table.model != "majority"].sort_values(column, kind="stable", ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.6))
    ax.errorbar(frame[column], frame.index, xerr=interval_arms(frame, column), **MODEL)
    name_rows(ax, frame.title, frame[column].map(percent))
    ax.set(xlabel=f"{SIDES[column.split('_')[0]]} AUC with its 95 % interval")
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def auc_against_cost(summary: pd.DataFrame, title: str = "") -> Figure:
    """Draw the AUC over the milliseconds for an image with all its views, the best model first.

    `summary` has a row per model: `title, parameters, ms_single, test_views`, and the AUC on test
    or, if its labels are hidden, on validation, with the ends of its interval.
    """
    column = _auc_column(summary)
    frame = summary.assign(title=summary.get("title", summary.model))
    frame = frame.sort_values(column, ascending=False)
    cost = frame.ms_single * frame.test_views.fillna(1)
    arms = np.transpose(interval_arms(frame, column))
    figure, ax = plt.subplots(figsize=(9.5, 4.5))
    rows = zip(frame.to_dict("records"), cost, arms, itertools.cycle(MARKERS), strict=False)
    for row, ms, arm, marker in rows:
        label = tables.fill("{title} ({parameters:n} parameters)", row)
        ax.errorbar(ms, row[column], yerr=arm[:, None], label=label, fmt=marker, capsize=3, ms=7)
    if cost.max() > 3 * cost.min():  # else such a scale may have no second tick
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_minor_formatter(NullFormatter())
    ax.xaxis.set_major_formatter("{x:g}")
    side = SIDES[column.split("_")[0]]
    ax.set(xlabel="milliseconds per image with all its views")
    ax.set(ylabel=f"{side} AUC with its 95 % interval")
    percent_axis(ax.yaxis)
    figure.legend(loc="outside right center", fontsize=9)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def differences(table: pd.DataFrame, xlabel: str, title: str = "") -> Figure:
    """Draw differences of AUC with their 95 % intervals, the largest above.

    `table` has `title`, `difference` with its ends, and `p_holm`: that of `compare_with` or
    `two_splits.compare`. Differences that are significant are filled.
    """
    frame = table.sort_values("difference", kind="stable", ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.8))
    clear = frame.p_holm < SIGNIFICANT
    looks = (
        (clear, "black", "significant by Holm's correction"),
        (~clear, "white", "not significant"),
    )
    for chosen, colour, words in looks:
        rows = frame[chosen]
        arms = interval_arms(rows, "difference")
        ax.errorbar(rows.difference, rows.index, xerr=arms, mfc=colour, label=words, **MODEL)
    ax.axvline(0, color="0.4", lw=1)
    name_rows(ax, frame.title, tables.filled(frame, {"p": "p {p_holm:p}"}).p)
    ax.set_xlabel(f"{xlabel}, points (95 % interval; Holm's p)")
    figure.legend(**LEGEND_BELOW)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure
