"""Pictures of the retraining: the best epoch so far, and how much a parameter buys."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from helpers.names import display_name, without_seed
from helpers.plots import interval_or_spread, mark_every, model_colours

LABEL_SPACING = 0.075  # of the axes' height, between two labels of size 9 or less


def best_so_far(curves: pd.DataFrame) -> Figure:
    """The best validation AUC up to each epoch, one line per model, up to the longest training.

    `curves` holds the columns epoch, val_auc and model; of several seeds the mean is drawn, in a
    band of one standard deviation. A dotted line marks the last epoch that all models have had.
    """
    frame = curves.sort_values(["model", "epoch"]).assign(
        best=lambda f: f.groupby("model").val_auc.cummax(),
        model=lambda f: f.model.map(without_seed).map(display_name),
    )
    colours = model_colours(curves.model.map(without_seed))
    palette = {display_name(name): colour for name, colour in colours.items()}
    order = list(palette)
    figure, ax = plt.subplots(figsize=(9, 4))
    sns.lineplot(
        frame,
        x="epoch",
        y="best",
        hue="model",
        hue_order=order,
        palette=palette,
        style="model",
        style_order=order,
        errorbar="sd",
        markers=True,
        markevery=mark_every(frame.epoch),
        dashes=False,
        ax=ax,
    )
    common = int(frame.groupby("model").epoch.max().min())
    ax.axvline(common, color="0.5", linestyle=":")
    ax.annotate(
        f"all have {common}",
        (common, 0),
        (4, 6),
        xycoords=("data", "axes fraction"),
        textcoords="offset points",
        fontsize=9,
        color="0.35",
    )
    ax.set(ylabel="best validation AUC so far")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    ax.legend(title="", loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


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
