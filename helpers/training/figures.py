"""Pictures of the retraining: the best epoch so far, and how much a parameter buys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator, StrMethodFormatter

from helpers.runs.names import display_name, model_colours, without_seed

if TYPE_CHECKING:
    pass


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


def mark_every(epochs: pd.Series) -> int:
    """Epochs between two markers of a line: some twenty along the longest training."""
    return max(1, int(epochs.max()) // 20)


def learning_curves(curves: pd.DataFrame) -> Figure:
    """Loss and validation AUC over epochs (columns of training histories).

    One line per model; of several seeds the mean, in a band of one standard deviation. Trainings of
    very different lengths share a logarithmic axis, which leaves the short ones room.
    """
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6))
    lengths = curves.groupby("model").epoch.max()
    unequal = lengths.max() > 3 * lengths.min()
    colours = model_colours(curves.model.map(without_seed))
    palette = {display_name(name): colour for name, colour in colours.items()}
    frame = curves.assign(model=curves.model.map(without_seed).map(display_name))
    for ax, column, title in (
        (axes[0], "train_loss", "training loss"),
        (axes[1], "val_loss", "validation loss"),
        (axes[2], "val_auc", "validation AUC"),
    ):
        sns.lineplot(
            frame,
            x="epoch",
            y=column,
            hue="model",
            palette=palette,
            style="model",
            errorbar="sd",
            markers=True,
            markevery=mark_every(frame.epoch),
            dashes=False,
            ax=ax,
            legend=ax is axes[2],
        )
        ax.set(title=title, ylabel="")
        if unequal:
            ax.set(xscale="log", xlabel="epoch (logarithmic)")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:.0f}"))
            ax.xaxis.set_minor_locator(NullLocator())
        else:
            ax.xaxis.get_major_locator().set_params(integer=True)
    axes[2].legend(title="", loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure
