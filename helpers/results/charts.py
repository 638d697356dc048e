"""Figures of models and scores: AUCs with their intervals, and the decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from helpers.core import tables
from helpers.core.metrics import rate_interval
from helpers.core.style import SIGNIFICANT, evenly, percent, percent_axis, percent_up
from helpers.results import decision, operating_point
from helpers.results.predictions import Scored
from helpers.results.settings import DecisionSettings

MODEL: dict[str, Any] = {"fmt": "o", "color": "black", "capsize": 3}
LEGEND_BELOW: dict[str, Any] = {"loc": "outside lower center", "borderaxespad": 2}
LEGEND_BELOW |= {"ncols": 2, "frameon": False, "fontsize": 11}  # above the footnote
ROOT = (lambda values: np.sqrt(np.clip(values, 0, None)), np.square)  # of an axis
MOST_POINTS = 100  # of a curve with intervals
PROMISE_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#029e73", "ls": "--", "lw": 2.2, "marker": "o"},
    {"color": "#d55e00", "ls": ":", "lw": 2.2, "marker": "s"},
)


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


def auc_bars(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the AUC of every model with its 95 % interval, the best above.

    It is the AUC on test, on validation if the test labels are hidden, or out of fold; `table` is
    that of `results_table`.
    """
    column = "test_auc" if "test_auc" in table else "val_auc"
    frame = table[table.model != "majority"].sort_values(column, kind="stable", ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.6))
    ax.errorbar(frame[column], frame.index, xerr=interval_arms(frame, column), **MODEL)
    name_rows(ax, frame.title, frame[column].map(percent))
    ax.set(xlabel=f"{table.judged_by.iloc[0]} AUC with its 95 % interval")
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def differences(table: pd.DataFrame, xlabel: str, title: str = "") -> Figure:
    """Draw differences of AUC with their 95 % intervals, the largest above.

    `table` has `title`, `difference` with its ends, and `p_holm`: that of `compare_with` or
    `out_of_fold.three_columns`. Differences that are significant are filled, those of references,
    which have no `p_holm`, are gray.
    """
    frame = table.sort_values("difference", kind="stable", ignore_index=True)
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.8))
    looks = [
        (frame.p_holm < SIGNIFICANT, "black", "significant by Holm's correction"),
        (frame.p_holm >= SIGNIFICANT, "white", "not significant"),
    ]
    if (untested := frame.p_holm.isna()).any():
        looks.append((untested, "0.7", "reference, not tested"))
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


def decision_figure(
    scored: Scored, settings: DecisionSettings, bad_rate: float, title: str = ""
) -> Figure:
    """Draw what a line engineer decides by: how many good parts pass, and how many bad ones escape.

    At every threshold: the promised escape rates and the measured one with its 95 % interval, over
    the share of the good parts that pass. The markers are the thresholds of `decision.decisions` on
    a line where the fraction `bad_rate` is bad.
    """
    chosen, asked = decision.decisions(scored, settings, bad_rate), settings.max_escape_rate
    figure, ax = plt.subplots(figsize=(9.5, 5.2))
    sweep = operating_point.threshold_sweep(*scored.labels_scores("val"))
    n_bad, top = int(sweep.n_escaped[-1]), max(0.2, 4 * asked)
    # of all thresholds that let as many bad parts escape, the highest
    last = np.flatnonzero(np.diff(sweep.n_escaped) > 0)
    last = last[sweep.n_escaped[last] <= 1.5 * top * n_bad]
    last = last[evenly(len(last), MOST_POINTS)]
    thresholds, n_escaped = sweep.thresholds[last], sweep.n_escaped[last]
    labels, scores = scored.labels_scores()
    bad, groups = labels == 1, scored.groups()
    of_bad = None if groups is None else groups[bad]
    passed = np.array([100 * np.mean(scores[~bad] < t) for t in thresholds])
    points = [rate_interval(scores[bad] < t, of_bad) for t in thresholds]
    measured, low, high = 100 * np.transpose(points)
    measured_by = f"measured by {scored.judged_by} scores"
    ax.plot(passed, measured, color="black", lw=1.8, label=measured_by)
    ax.fill_between(passed, low, high, color="0.85", label="its 95 % interval")
    for (rule, word), look in zip(decision.PROMISES.items(), PROMISE_LINES, strict=True):
        rates = 100 * operating_point.promised_rate(n_bad, n_escaped, rule)
        bins, promised, is_kept = chosen[rule]
        at = 100 * np.mean(scores[~bad] < bins.pass_below)
        few = "" if is_kept else " (too few bad parts)"
        text = f"promised {word}; marked: {at:.0f} % of the good\n"
        text += f"pass, {percent_up(promised)} % promised{few}"
        ax.plot(passed, rates, **look | {"marker": ""})
        ax.plot(at, 100 * promised, label=text, mec="black", ms=9, clip_on=False, **look)
    ax.axhline(100 * asked, color="0.3", lw=1)
    look = {"ha": "right", "va": "bottom", "fontsize": 10}
    ax.annotate(f"asked: {100 * asked:g} %", (99, 100 * asked), **look)
    ax.set_yscale("function", functions=ROOT)
    ax.set_yticks([tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 40, 60, 100) if tick <= 100 * top])
    ax.set(xlim=(0, 100), xlabel="good parts that pass without a look, %")
    ax.set(ylim=(0, 100 * top), ylabel="bad parts that escape, % (square-root scale)")
    ax.set_title(f"Escapes against good parts that pass ({n_bad} bad parts held out)", fontsize=12)
    figure.legend(**LEGEND_BELOW | {"fontsize": 10, "handlelength": 3.4})
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure
