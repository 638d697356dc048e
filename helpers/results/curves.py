"""Figures of scores: ROC, good parts that pass against escapes, decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from helpers.core.evenly import evenly
from helpers.core.metrics import rate_interval, roc_auc
from helpers.core.style import SIDES, percent, percent_up
from helpers.models.record import colours
from helpers.results import decision, operating_point
from helpers.results.predictions import Scored
from helpers.results.settings import AnalysisSettings

DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)))
MARKERS = "osD^v"
MOST_CURVES = 3  # more lines in one panel cannot be told apart
ROOT = (lambda values: np.sqrt(np.clip(values, 0, None)), np.square)  # of an axis
MOST_POINTS = 100  # of a curve with intervals
PROMISE_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#029e73", "ls": "--", "lw": 2.2, "marker": "o"},
    {"color": "#d55e00", "ls": ":", "lw": 2.2, "marker": "s"},
)


def best_of_kinds(
    table: pd.DataFrame, scored: Mapping[str, Scored], wanted: str
) -> dict[str, Scored]:
    """Return the model that is `wanted` and the best of other kinds, `MOST_CURVES` in all.

    The best are those by validation AUC; `table` is that of `results_table`.
    """
    models = table[table.model.isin([*scored])].sort_values(
        "val_auc", ascending=False, kind="stable"
    )
    models = models.assign(kind=models.kind.mask(models.model == wanted, ""))
    names = [wanted, *models.drop_duplicates("kind").model.drop_duplicates()]
    return {name: scored[name] for name in [*dict.fromkeys(names)][:MOST_CURVES]}


def roc_and_overkill(
    scored: Mapping[str, Scored], points: pd.DataFrame, max_escape_rate: float, title: str = ""
) -> Figure:
    """Draw ROC curves, and beside them the good parts that pass over the bad ones that escape.

    On the right the markers are the first rule of each model in `decision.operating_table`, chosen
    on validation; the vertical line is the escape rate that was asked for, a fraction. The escapes'
    axis is a square root, because the decision is made at its left end.
    """
    points = points.drop_duplicates("model").set_index("model")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.9))
    colour = colours(own.model for own in scored.values())
    for (name, own), dash, marker in zip(scored.items(), DASHES, MARKERS, strict=False):
        labels, scores = own.labels_scores()
        look: dict[str, Any] = {"color": colour[name], "ls": dash, "lw": 1.8}
        false_alarms, hits, _ = roc_curve(labels, scores)
        left.plot(false_alarms, hits, **look)
        right.plot(100 * (1 - hits), 100 * (1 - false_alarms), **look)
        passed = scores < points.threshold[name]
        x, y = (100 * passed[labels == label].mean() for label in (1, 0))
        text = f"{own.title}: AUC {percent(roc_auc(labels, scores))}; {y:.0f} % of the good parts "
        text += f"pass, {x:.1f} % of the bad ones"
        right.plot(x, y, marker=marker, ms=9, mec="black", label=text, clip_on=False, **look)
    left.plot([0, 1], [0, 1], color="0.6", lw=0.8, zorder=1)
    left.set(xlabel="good parts called bad (false positive rate)", ylabel="bad parts found")
    left.set_title("ROC; gray: random calls")
    right.axvline(100 * max_escape_rate, color="0.3", lw=1)
    right.set_xscale("function", functions=ROOT)
    right.set_xticks([0, 1, 5, 10, 20, 40, 60, 100])
    right.set(xlim=(0, 100), ylim=(-2, 102), xlabel="bad parts that pass, % (square-root scale)")
    right.set_ylabel("good parts that pass, %")
    right.set_title(f"Line: {100 * max_escape_rate:g} % asked for; markers: chosen on validation")
    _legend_below(right)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def decision_figure(
    scored: Scored, settings: AnalysisSettings, bad_rate: float, title: str = ""
) -> Figure:
    """Draw what a line engineer decides by: how many parts pass, and how many bad ones escape.

    At every threshold: the promised escape rates and the measured one with its 95 % interval, over
    the share of all parts that pass. The markers are the thresholds of `decision.decisions`. Good
    and bad parts are weighted as on the line, where the fraction `bad_rate` is bad.
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
    shares = np.array([_passed(labels, scores, t, bad_rate) for t in thresholds])
    points = [rate_interval(scores[bad] < t, of_bad) for t in thresholds]
    measured, low, high = 100 * np.transpose(points)
    side = SIDES[scored.judged_on]
    ax.plot(100 * shares, measured, color="black", lw=1.8, label=f"measured on {side}")
    ax.fill_between(100 * shares, low, high, color="0.85", label="its 95 % interval")
    for (rule, word), look in zip(decision.PROMISES.items(), PROMISE_LINES, strict=True):
        rates = 100 * operating_point.promised_rate(n_bad, n_escaped, rule)
        bins, promised, is_kept = chosen[rule]
        at = 100 * _passed(labels, scores, bins.pass_below, bad_rate)
        few = "" if is_kept else " (too few bad parts)"
        text = f"promised {word}; marked: {at:.0f} % pass,\n{percent_up(promised)} % promised{few}"
        ax.plot(100 * shares, rates, **look | {"marker": ""})
        ax.plot(at, 100 * promised, label=text, mec="black", ms=9, clip_on=False, **look)
    ax.axhline(100 * asked, color="0.3", lw=1)
    look = {"ha": "right", "va": "bottom", "fontsize": 10}
    ax.annotate(f"asked: {100 * asked:g} %", (99, 100 * asked), **look)
    ax.set_yscale("function", functions=ROOT)
    ax.set_yticks([tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 40, 60, 100) if tick <= 100 * top])
    ax.set(xlim=(0, 100), xlabel="parts that pass without a look, % of all parts")
    ax.set(ylim=(0, 100 * top), ylabel="bad parts that escape, % (square-root scale)")
    ax.set_title(f"Escapes against parts that pass ({n_bad} bad parts held out)", fontsize=12)
    _legend_below(ax, ncols=2)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def _passed(labels: np.ndarray, scores: np.ndarray, threshold: float, bad_rate: float) -> float:
    rates = [float(np.mean(scores[labels == label] < threshold)) for label in (0, 1)]
    return (1 - bad_rate) * rates[0] + bad_rate * rates[1]


def _legend_below(ax: Axes, ncols: int = 1) -> None:
    """Put the legend of an axes below all panels, at the left of the figure."""
    look: dict[str, Any] = {"fontsize": 10, "frameon": False, "ncols": ncols, "handlelength": 3.4}
    look |= {"alignment": "left", "loc": "outside lower left", "borderaxespad": 2}
    cast(Figure, ax.figure).legend(*ax.get_legend_handles_labels(), **look)
