"""Figures of points with intervals: a row or a point per model."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import (
    EngFormatter,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    StrMethodFormatter,
)

from helpers.core.style import PALETTE, SIDES, SIGNIFICANT, p_value, percent, percent_axis
from helpers.models.names import display_name, model_colours

MODEL: dict[str, Any] = {"fmt": "o", "color": "black", "capsize": 3}
ONE_OF_SEVERAL: dict[str, Any] = {"fmt": "D", "color": PALETTE["bad"], "elinewidth": 4, "ms": 7}
ONE_OF_SEVERAL |= {"mec": "black"}
LEGEND_BELOW: dict[str, Any] = {"loc": "outside lower center", "borderaxespad": 2}
LEGEND_BELOW |= {"ncols": 2, "frameon": False, "fontsize": 11}  # above the footnote
MARKERS = "osD^vP"
MOST_TICKS = 60  # names of groups below a picture
# columns of costs, in words
COSTS = {"parameters": "parameters", "ms_single": "milliseconds per image with all its views"}


def interval_arms(frame: pd.DataFrame, column: str, prefix: str = "") -> list[pd.Series]:
    """Return the lengths of an interval's two arms (N,) for `errorbar`, at least 0.

    The ends are in `<prefix>low` and `<prefix>high`; without them the arms have length 0. Rounding
    may put an end on the other side of the estimate.
    """
    low, high = (frame.get(f"{prefix}{end}", frame[column]) for end in ("low", "high"))
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
    """Draw the AUC of every model with its 95 % interval, on test or, if hidden, on validation.

    A model of several trainings is the mean of their scores; below it one training is drawn as mean
    and standard deviation, which shows how much seed and fold matter. `table` is that of
    `results_table`; the models are sorted by validation AUC, as in the tables.
    """
    column = _auc_column(table)
    frame = table[table.model != "majority"].sort_values("val_auc", kind="stable")
    frame = frame.reset_index(drop=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.6))
    arms = interval_arms(frame, column, f"{column}_")
    ax.errorbar(frame[column], frame.index, xerr=arms, label="95 % interval", **MODEL)
    several = frame[frame.members.notna()] if "members" in frame else frame[:0]
    if len(several):
        mean, spread = (several[f"{column}_{name}"] for name in ("mean", "std"))
        words = f"one of the {' or '.join(several.averaged.unique())}: mean ± standard deviation"
        ax.errorbar(mean, several.index - 0.3, xerr=spread, label=words, **ONE_OF_SEVERAL)
    name_rows(ax, frame.model.map(display_name), frame[column].map(percent))
    order = "" if column == "val_auc" else " (sorted by validation AUC)"
    ax.set(xlabel=f"{SIDES[column.split('_')[0]]} AUC{order}")
    figure.suptitle(title, fontsize=12, wrap=True)
    figure.legend(**LEGEND_BELOW)
    return figure


def auc_against_cost(summary: pd.DataFrame) -> Figure:
    """Draw the AUC over parameters and over milliseconds, on test or, if hidden, on validation.

    `summary` has a row per model: `model, parameters, ms_single, test_views, val_auc, test_auc`
    with the ends of the intervals. A model of several trainings is drawn as one of them, from
    `<auc>_mean` and `<auc>_std`. The legend has the best model first.
    """
    column = _auc_column(summary)
    nothing = pd.Series(np.nan, summary.index)
    mean, spread = (summary.get(f"{column}_{name}", nothing) for name in ("mean", "std"))
    frame = summary.assign(auc=mean.fillna(summary[column]), spread=spread)
    frame["ms_single"] *= frame.test_views.fillna(1)
    frame = frame.sort_values("auc", ascending=False)
    figure, axes = plt.subplots(len(COSTS), 1, figsize=(9.5, 8))
    colours = model_colours(frame.model)
    for ax, (cost, words) in zip(axes, COSTS.items(), strict=True):
        for (_, row), marker in zip(frame.groupby("model", sort=False), itertools.cycle(MARKERS)):
            label, arms = display_name(row.model.item()), interval_arms(row, "auc", f"{column}_")
            if row.spread.notna().item():
                label, arms = f"{label}, one training ± sd", row.spread
            look: dict[str, Any] = {"fmt": marker, "color": colours[row.model.item()], "capsize": 3}
            ax.errorbar(row[cost], row.auc, yerr=arms, label=label, ms=7, **look)
        if frame[cost].max() > 3 * frame[cost].min():  # else such a locator may find no second tick
            ax.set_xscale("log")
            ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        # 200k parameters, 0.5 milliseconds; the default writes a formula
        many = EngFormatter(sep="") if cost == "parameters" else StrMethodFormatter("{x:g}")
        ax.xaxis.set_major_formatter(many)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.set(xlabel=words, ylabel=f"{column.split('_')[0]} AUC")
        percent_axis(ax.yaxis)
    shown = axes[0].get_legend_handles_labels()
    about = "bars: 95 % intervals, or as named"
    figure.legend(*shown, loc="outside right center", title=about, fontsize=9)
    best, smallest = frame.iloc[0], frame.iloc[frame.parameters.argmin()]
    title = f"{display_name(best.model)} has the highest AUC, {percent(best.auc)}"
    if best.model != smallest.model:
        title += (
            f"; the smallest, {display_name(smallest.model)}, has\n"
            f"{100 * smallest.parameters / best.parameters:.1f} % of its parameters and an AUC of "
            f"{percent(smallest.auc)}"
        )
    elif len(frame) > 1:
        title += ", and is the smallest"
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def differences(
    table: pd.DataFrame,
    reference: str,
    side: str = "test",
    by_groups: bool = False,
    title: str = "",
) -> Figure:
    """Draw `comparison.compare_with`: the AUC on `side` minus that of the reference model.

    The best are above, those that differ significantly are filled. `by_groups` is True if the split
    keeps groups apart, so that these are the units of the intervals.
    """
    frame = table.sort_values("difference", kind="stable", ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.8))
    clear = frame.p_holm < SIGNIFICANT
    looks = (
        (clear, "black", "significant by Holm's correction"),
        (~clear, "white", "not significant"),
    )
    for is_own, colour, words in looks:
        own = frame[is_own]
        arms = interval_arms(own, "difference")
        ax.errorbar(own.difference, own.index, xerr=arms, mfc=colour, label=words, **MODEL)
    ax.axvline(0, color="0.4", lw=1)
    name_rows(ax, frame.model.map(display_name), frame.p_holm.map(p_value))
    test = "Obuchowski, by groups" if by_groups else "DeLong"
    ax.set_xlabel(
        f"{side} AUC minus that of {display_name(reference)}, points\n({test}, 95 % interval; "
        "Holm's p)"
    )
    figure.legend(**LEGEND_BELOW)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def subgroup_auc(
    table: pd.DataFrame, models: Sequence[str], side: str = "test", title: str = ""
) -> Figure:
    """Draw the AUC of models on `side` by kind of part, a panel per grouping, the first on top.

    `table` is `comparison.subgroup_table`.
    """
    groups, names = list(table.group.unique()), list(models)[::-1]
    # not those of good and bad
    colours = ("0.2", "#cc78bc", "#029e73", "0.55", "#56b4e9")
    size = (7.5 * len(groups), 0.5 * len(names) + 2)
    figure, axes = plt.subplots(1, len(groups), figsize=size, squeeze=False)
    for ax, group in zip(axes[0], groups, strict=True):
        own = table[table.group == group]
        kinds = list(own.kind.unique())
        for i, (kind, colour) in enumerate(zip(kinds, itertools.cycle(colours), strict=False)):
            rows = own[own.kind == kind].set_index("model").loc[names]
            ax.errorbar(
                rows.auc,
                np.arange(len(names)) + 0.36 * (0.5 - (i + 0.5) / len(kinds)),
                xerr=interval_arms(rows, "auc"),
                capsize=2,
                fmt=MARKERS[i % len(MARKERS)],
                mfc="white" if i % 2 else colour,
                color=colour,
                label=f"{kind} ({rows.n_good.iloc[0]} good, {rows.n_bad.iloc[0]} bad)",
            )
        name_rows(ax, [display_name(name) for name in names])
        ax.set(xlabel=f"{side} AUC with its 95 % interval")
        ax.set_title(f"by {group.replace('_', ' ')}", fontsize=12)
        below = (0, -0.9 / figure.get_figheight())
        ax.legend(loc="upper left", bbox_to_anchor=below, fontsize=10, frameon=False)
    figure.suptitle(title, fontsize=11, wrap=True)
    return figure


def by_group(table: pd.DataFrame, row: Mapping[str, Any], side: str, title: str) -> Figure:
    """Draw each group's share of bad parts, its mistakes, and the AUC inside it.

    Groups with parts of one class and without mistakes are left out. `table` is
    `comparison.group_table`, `row` that of the model in `results_table`.
    """
    is_mixed = table.bad_rate.between(0, 1, inclusive="neither")
    shown = table[is_mixed | (table.escapes + table.false_alarms > 0)]
    left_out = len(table) - len(shown)
    size = (min(9.5, max(7, 0.24 * len(shown) + 2)), 7.5)
    figure, (top, middle, bottom) = plt.subplots(3, 1, figsize=size, sharex=True)
    places = np.arange(len(shown))
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1.01, 0.5), "fontsize": 10}
    top.bar(places, shown.bad_rate, color=PALETTE["bad"], width=0.7)
    top.set(ylabel="share of\nbad parts", ylim=(0, 1.02))
    below = np.zeros(len(shown))
    looks = {"escapes": ("bad", "good", ""), "false_alarms": ("good", "bad", "///")}
    for column, (label, called, hatch) in looks.items():
        colour, text = PALETTE[label], f"{label} called {called}"
        middle.bar(places, shown[column], 0.7, below, color=colour, hatch=hatch, label=text)
        below = below + shown[column].to_numpy()
    middle.set(ylabel="mistakes", ylim=(0, max([1, *(1.1 * below)])))
    middle.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    middle.legend(**beside)
    certain, arms = shown.auc.isin([0, 1]), interval_arms(shown, "auc")
    bottom.errorbar(places, shown.auc.mask(certain), yerr=arms, **MODEL)
    if certain.any():
        text = "no interval: AUC\nof 100 or 0"
        hollow = shown.auc.where(certain)
        bottom.plot(places, hollow, "o", mfc="white", mec="black", clip_on=False, label=text)
    means = {
        "_auc": ("--", "all groups\ntogether"),
        "_within_auc": (":", "mean inside\nthe groups"),
    }
    for end, (line, text) in means.items():
        if pd.notna(auc := row.get(f"{side}{end}", np.nan)):
            bottom.axhline(auc, color="0.3", ls=line, label=f"{text}: {percent(auc)}")
    bottom.legend(**beside)
    bottom.set(ylabel="AUC inside\nthe group", ylim=(bottom.get_ylim()[0], 1.05))
    percent_axis(bottom.yaxis)
    step = 1 + len(shown) // MOST_TICKS
    bottom.set_xticks(places[::step], shown.group[::step], rotation=90, fontsize=9)
    words = f"group, 1 of {step} is named" if step > 1 else "group"
    out = f"; left out: {left_out} with one class and no mistakes" if left_out else ""
    bottom.set_xlabel(words + out, fontsize=10)
    for ax in figure.axes:
        ax.grid(axis="x", visible=False)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure
