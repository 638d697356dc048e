"""Draw the learning curves of trainings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from helpers.core.members import Member
from helpers.core.style import percent_axis
from helpers.models.record import Model
from helpers.training.fit import Fitted

TITLES = {"train_loss": "training loss", "val_auc": "validation AUC, %, one view"}
MARKERS = "P<>p*h^osDvX"  # and colours, by the order of names: a model keeps its own in 03 and 05
SMOOTHED = 0.1  # share of the epochs whose mean is a point of a learning curve


def curves(trained: Mapping[Model, Mapping[Member, Fitted]]) -> pd.DataFrame:
    """Return the record of each epoch as a row, with `model` (its slug), `seed` and `fold`."""
    tables = [
        pd.DataFrame(fitted.history).assign(model=model.slug, **member._asdict())
        for model, fits in trained.items()
        for member, fitted in fits.items()
    ]
    return pd.concat(tables, ignore_index=True)


def learning_curves(
    curves: pd.DataFrame, models: Sequence[Model], title: str = "", pale: Sequence[str] = ()
) -> Figure:
    """Draw training loss and validation AUC over epochs, one line per model, `pale` ones gray.

    A point is the mean over a tenth of the epochs around it: single epochs of many models would
    hide each other. `curves` has a row per epoch: `model` (its slug), `epoch, train_loss, val_auc`,
    and `seed` or `fold` if models were trained several times: a band is one standard deviation.
    """
    size = (10, max(3.6, 0.3 * curves.model.nunique()))  # space for the legend
    figure, axes = plt.subplots(1, len(TITLES), figsize=size)
    shown_models = {model.slug: model for model in models if model.slug in {*curves.model}}
    palette = sns.color_palette("colorblind").as_hex()
    hues = {slug: palette[m.order[0] % len(palette)] for slug, m in shown_models.items()}
    hues |= dict.fromkeys(pale, "0.65")
    trainings = curves.groupby(["model", *({"seed", "fold"} & {*curves})], dropna=False)
    smooth = curves.assign(**trainings[[*TITLES]].transform(_running_mean))
    smooth["epoch"] = 100 * smooth.epoch / smooth.groupby("model").epoch.transform("max")
    looks: dict[str, Any] = {"hue": "model", "style": "model", "dashes": False, "errorbar": "sd"}
    looks["palette"] = {model.title: hues[slug] for slug, model in shown_models.items()}
    looks["markers"] = {m.title: MARKERS[m.order[0] % len(MARKERS)] for m in shown_models.values()}
    smooth["model"] = smooth.model.map({slug: model.title for slug, model in shown_models.items()})
    for ax, (column, words) in zip(axes, TITLES.items(), strict=True):
        sns.lineplot(smooth, x="epoch", y=column, ax=ax, legend=ax is axes[-1], **looks)
        for line in ax.lines:  # some ten markers a line
            line.set_markevery(max(1, np.size(line.get_xdata()) // 10))
        ax.set(ylabel=words, xlabel="share of the epochs, %", xticks=range(0, 101, 25))
        if column == "val_auc":
            percent_axis(ax.yaxis)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)  # left of the legend
    handles = axes[-1].get_legend_handles_labels()
    axes[-1].get_legend().remove()
    figure.legend(*handles, loc="outside right upper")
    return figure


def _running_mean(values: pd.Series) -> pd.Series:
    window = max(1, round(SMOOTHED * len(values)))
    return values.rolling(window, center=True, min_periods=1).mean()
