"""Bars and points with intervals."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.runs.names import display_name

if TYPE_CHECKING:
    pass

from helpers.core.style import PALETTE

ONE_MODEL = {"fmt": "o", "color": "black", "capsize": 3}
SEVERAL_SEEDS = {
    "fmt": "D",
    "color": PALETTE["bad"],
    "elinewidth": 4,
    "ms": 7,
    "mec": "black",
    "label": "several seeds: mean ± standard deviation",
}


def interval_arms(estimate: pd.Series, low: pd.Series, high: pd.Series) -> list[pd.Series]:
    """Lengths of an interval's two arms (N,) for `errorbar`, none below 0.

    All resamples of few parts can be equal but for rounding, and a percentile interval need not
    hold its estimate.
    """
    return [(estimate - low).clip(lower=0), (high - estimate).clip(lower=0)]


def auc_bars(table: pd.DataFrame) -> Figure:
    """Test AUC of every model with its 95 % interval; validation AUC where labels are hidden.

    Of several seeds the mean and one standard deviation, drawn otherwise: that says how much the
    seed matters, an interval how much the draw of the parts does.
    """
    column = "test_auc" if "test_auc" in table and table.test_auc.notna().any() else "val_auc"
    frame = table[table.model != "majority"].iloc[::-1].assign(y=lambda f: np.arange(len(f)))
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.6))
    for rows, arms, style in interval_or_spread(frame, column):
        ax.errorbar(rows[column], rows.y, xerr=arms, **style)
        ends = rows[column] + arms[1].fillna(0)
        for value, y, end in zip(rows[column], rows.y, ends, strict=True):
            ax.annotate(f"{value:.3f}", (end, y), (6, 0), textcoords="offset points", va="center")
    ax.set_yticks(frame.y, [display_name(name) for name in frame.model])
    ax.margins(x=0.16, y=0.5 / len(frame))
    ax.set(xlabel=f"{column.split('_')[0]} AUC")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=11)
    return figure


def interval_or_spread(
    frame: pd.DataFrame, column: str
) -> Iterator[tuple[pd.DataFrame, list[pd.Series], dict[str, Any]]]:
    """The rows of one model and those of several seeds, each with arms and style for `errorbar`.

    The arms are a 95 % interval's (`column` with _low and _high; NaN where a table has none), or
    one standard deviation (_std).
    """
    spread = frame.get(f"{column}_std", pd.Series(np.nan, frame.index)).astype(float)
    one, several = frame[spread.isna()], frame[spread.notna()]
    if len(one):
        ends = [one.get(f"{column}_{end}", one[column]) for end in ("low", "high")]
        label = "one model: 95 % interval" if len(several) else "95 % interval"
        yield one, interval_arms(one[column], *ends), ONE_MODEL | {"label": label}
    if len(several):
        yield several, [spread[several.index]] * 2, SEVERAL_SEEDS


LABEL_SPACING = 0.075  # of the axes' height, between two labels of size 9 or less


def parameters_against_auc(summary: pd.DataFrame) -> Figure:
    """Test AUC (validation AUC where labels are hidden) over the number of parameters.

    `summary` holds one row per model: model, parameters, val_auc, test_auc, with the ends of their
    95 % intervals, or of several seeds the standard deviation. The names stand in a column at the
    right, in the order of the points' heights, so that they cannot overlap.
    """
    has_test = "test_auc" in summary and summary.test_auc.notna().any()
    column = "test_auc" if has_test else "val_auc"
    frame = summary.sort_values(column)
    figure, ax = plt.subplots(figsize=(9, max(4, 0.32 * len(frame) + 1)))
    for rows, arms, style in interval_or_spread(frame, column):
        ax.errorbar(rows.parameters, rows[column], yerr=arms, **style)
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=10)
    ax.set_xscale("log")
    ax.margins(x=0.1, y=0.12)
    ax.set(xlabel="parameters", ylabel=f"{column.split('_')[0]} AUC")
    low, high = ax.get_ylim()
    ax.set_ylim(low, high)
    heights = spread_out(((frame[column] - low) / (high - low)).to_numpy(), LABEL_SPACING)
    for row, height in zip(frame.itertuples(), heights, strict=True):
        ax.annotate(
            display_name(row.model),
            (row.parameters, getattr(row, column)),
            (1.04, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            arrowprops={"arrowstyle": "-", "color": "0.7", "shrinkB": 4, "relpos": (0, 0.5)},
        )
    return figure


def spread_out(heights: np.ndarray, spacing: float) -> np.ndarray:
    """Ascending heights (N,) moved as little as needed to be `spacing` apart, about 0 to 1.

    Where more than fit are given they are set closer, at equal distances.
    """
    n = len(heights)
    if n < 2:
        return np.asarray(heights, dtype=np.float64)
    spacing = min(spacing, 1 / (n - 1))
    offsets = spacing * np.arange(n)
    # y_i - i * spacing has to be non-decreasing: isotonic regression is the nearest such sequence
    from sklearn.isotonic import isotonic_regression

    moved = isotonic_regression(np.asarray(heights) - offsets, y_min=0, y_max=1 - offsets[-1])
    return moved + offsets
