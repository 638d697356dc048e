"""Figures of trainings: learning curves, the best epoch so far, the learning-rate range test."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from helpers.runs.names import DISTILLED, display_name, model_colours

TITLES = {"train_loss": "training loss", "val_loss": "validation loss", "val_auc": "validation AUC"}
INSIDE = 0.9  # share of the points that learning curves show


def learning_curves(
    curves: pd.DataFrame, columns: Sequence[str] = tuple(TITLES), title: str = ""
) -> Figure:
    """Draw loss and validation AUC over epochs, one line per model.

    The worst tenth of each model's points may be outside: it is the start of a training, and would
    leave little space for the differences at the end. Trainings of very different lengths share a
    logarithmic axis, which leaves space for the short ones.

    Args:
        curves: one row per epoch: `model, epoch, train_loss, val_loss, val_auc`, and `seed` and
            `fold` if models were trained several times. Their line is the mean, in a band of one
            standard deviation.
        columns: those of `curves` to draw, a panel each.
        title: of the figure.
    """
    figure, axes = plt.subplots(1, len(columns), figsize=(13, 10.8 / len(columns)))
    lengths = curves.groupby("model").epoch.max()
    unequal = lengths.max() > 3 * lengths.min()
    for ax, column in zip(axes, columns, strict=True):
        _line_per_model(ax, curves, column, legend=ax is axes[-1])
        shown = (1 - INSIDE, 1) if column == "val_auc" else (0, INSIDE)
        of_models = curves.groupby("model")[column]
        low, high = of_models.quantile(shown[0]).min(), of_models.quantile(shown[1]).max()
        if high > low:
            ax.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        ax.set(title=TITLES[column], ylabel="")
        if unequal:
            ax.set(xscale="log", xlabel="epoch (logarithmic)")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
            ax.xaxis.set_minor_locator(NullLocator())
        else:
            ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.suptitle(title)
    return figure


def best_so_far(curves: pd.DataFrame) -> Figure:
    """Draw the best validation AUC up to each epoch, one line per model.

    A dotted line marks the last epoch that all models have had.

    Args:
        curves: see `learning_curves`.
    """
    one = [column for column in ("model", "seed", "fold") if column in curves]
    curves = curves.reset_index(drop=True)
    best = curves.sort_values("epoch").groupby(one, dropna=False).val_auc.cummax()
    figure, ax = plt.subplots(figsize=(9, 4))
    _line_per_model(ax, curves.assign(best=best), "best")
    common = int(curves.groupby("model").epoch.max().min())
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
    return figure


def augmented(views: np.ndarray) -> Figure:
    """Draw `finetune.augmented_views`: a column per image, as it is above its random views."""
    rows, columns = views.shape[:2]
    size = (1.5 * columns, 1.5 * rows + 0.4)
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False)
    for ax, pixels in zip(axes.ravel(), views.reshape(-1, *views.shape[2:]), strict=True):
        ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=1)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    axes[0][0].set_ylabel("as it is", fontsize=11)
    for row, first in enumerate(axes[1:, 0], start=1):
        first.set_ylabel(f"view {row}", fontsize=11)
    figure.suptitle("Training images and random views of them", fontsize=13)
    return figure


def lr_range(found: pd.DataFrame, lr: float) -> Figure:
    """Draw the losses of a learning-rate range test; a dotted line marks the rate in use.

    Args:
        found: what `lr_range_test` returns: `lr, loss, smoothed`.
        lr: the peak rate of the training.
    """
    figure, ax = plt.subplots(figsize=(7, 3.6))
    ax.plot(found.lr, found.loss, ".", color="0.7", label="each batch")
    ax.plot(found.lr, found.smoothed, label="smoothed")
    ax.axvline(lr, color="0.5", linestyle=":", label=f"in use: {lr:g}")
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    low, start = found.loss.min(), found.smoothed.iloc[0]
    ax.set_ylim(low - 0.05, start + 0.5 * (start - low) + 0.1)  # not of the diverging end
    ax.legend(loc="lower left")
    return figure


def _line_per_model(ax: Axes, curves: pd.DataFrame, column: str, legend: bool = True) -> None:
    """Draw a column over the epochs in the models' colours, with some twenty markers a line.

    The lines of distilled networks are dashed.
    """
    colours = model_colours(curves.model)
    palette = {display_name(name): colour for name, colour in colours.items()}
    dashes = {display_name(name): (4, 2) if name.endswith(DISTILLED) else "" for name in colours}
    sns.lineplot(
        curves.assign(model=curves.model.map(display_name)),
        x="epoch",
        y=column,
        hue="model",
        palette=palette,
        style="model",
        errorbar="sd",
        markers=True,
        markevery=max(1, int(curves.epoch.max()) // 20),
        dashes=dashes,
        ax=ax,
        legend=legend,
    )
    if legend:
        ax.legend(title="", loc="upper left", bbox_to_anchor=(1.02, 1))
