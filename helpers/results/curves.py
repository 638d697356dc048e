"""Figures of scores: ROC, overkill against escapes, calibration, decisions.

A dozen lines in one panel cannot be distinguished: `best_of_families` keeps the best model of each
family, and each line has its own dash pattern, marker and colour.
"""

from __future__ import annotations

import itertools
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
from helpers.core.style import LABEL_NAMES, PALETTE, percent, percent_up, told_apart
from helpers.models.names import (
    BRIGHTNESS,
    CLASSICAL,
    DISTILLED,
    ENSEMBLES,
    FINETUNED,
    PATCHCORE,
    PRETRAINED,
    ROW_NAMES,
    base_name,
    model_colours,
)
from helpers.results import calibration, decision, operating_point, results_table
from helpers.results.bars import MARKERS, interval_arms
from helpers.results.predictions import Scored
from helpers.results.settings import AnalysisSettings

DASHES: tuple[Any, ...] = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1)),
    (0, (6, 1.5, 1.5, 1.5)),
    (0, (9, 2)),
    (0, (3, 3)),
    (0, (1, 3)),
    (0, (8, 1.5, 1.5, 1.5, 1.5, 1.5)),
)
LINE_MARKERS = MARKERS + "X*"
SEARCHED = ("darts_searched", "darts_perturbation", "darts_halving")
ROOT = (lambda values: np.sqrt(np.clip(values, 0, None)), np.square)  # of an axis
MOST_POINTS = 100  # of a curve with intervals
# the three bins of a decision; hatches and lightness distinguish them in gray
BINS: dict[str, dict[str, Any]] = {
    "passes": {"color": PALETTE["good"]},
    "looked at again": {"fc": "white", "ec": "0.35", "hatch": "///"},
    "rejected": {"color": PALETTE["bad"]},
}
PROMISE_LINES: tuple[dict[str, Any], ...] = (
    {"color": "#029e73", "ls": "--", "lw": 2.2, "marker": "o"},
    {"color": "#d55e00", "ls": ":", "lw": 2.2, "marker": "s"},
)
SCALED = "#de8f05"  # the colour of scores after temperature scaling


def family(model: str) -> str:
    """Return the family of a model in words; "own" is a file that a user added."""
    base = base_name(model)
    if model in ENSEMBLES:
        return "ensemble"
    if model.endswith(FINETUNED):
        return "classical, fine-tuned features"
    if base in CLASSICAL or model.endswith(BRIGHTNESS) or model == PATCHCORE:
        return "classical, frozen features"
    if base in PRETRAINED:
        return "fine-tuned"
    if model.endswith(DISTILLED):
        return "distilled"
    if model in SEARCHED:
        return "searched"
    is_known = base in ROW_NAMES or model.startswith("random_cell")
    return "from scratch" if is_known else "own"


def best_of_families(table: pd.DataFrame, scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the best model of each family by validation AUC (`results_table.best_model`).

    `table` is that of `results_table`. The first has the best AUC where models are judged.
    """
    models = table[table.model.isin(list(scored))]
    best = models.groupby(models.model.map(family)).apply(results_table.best_model)
    side = next(iter(scored.values())).judged_on
    own = models[models.model.isin(best)].sort_values(f"{side}_auc", ascending=False)
    return {name: scored[name] for name in own.model}


def roc_and_overkill(
    scored: Mapping[str, Scored], points: pd.DataFrame, max_escape_rate: float
) -> Figure:
    """Draw ROC curves, and beside them overkill over escapes at every threshold, a line per model.

    If no model is poor, the ROC shows the corner where they differ: at most half of the good parts
    called bad, at least half of the bad ones found. On the right the large markers are the first
    rule of each model in `decision.operating_table`; the vertical line is the escape rate that was
    asked for, a fraction. The escapes' axis is a square root, because the decision is made at its
    left end.
    """
    points = points.drop_duplicates("model").set_index("model")
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5.3 + 0.21 * len(scored)))
    styles, aucs, at_points = _styles(list(scored)), [], {}
    for (name, style), marker in zip(styles.items(), itertools.cycle(LINE_MARKERS), strict=False):
        labels, scores = scored[name].labels_scores()
        false_alarms, found, _ = roc_curve(labels, scores)
        left.plot(false_alarms, found, **style)
        aucs.append(roc_auc(labels, scores))
        escapes, overkill = operating_point.overkill_curve(labels, scores)
        right.plot(100 * escapes, 100 * overkill, drawstyle="steps-post", **style)
        passed = scores < points.threshold[name]
        x, y = 100 * passed[labels == 1].mean(), 100 * (~passed[labels == 0]).mean()
        at_points[scored[name].title] = y
        text = f"{_legend_name(scored[name])}: {percent(aucs[-1])}; {x:.1f}, {y:.0f}"
        right.plot([], [], marker=marker, label=text, **style)
        big: dict[str, Any] = {"ms": 9, "mec": "black", "mew": 1.2, "zorder": 5, "clip_on": False}
        right.plot(x, y, marker, color=style["color"], **big)
    left.plot([0, 1], [0, 1], color="0.6", lw=0.8, zorder=1)
    zoomed = min(aucs) > 0.75
    left.set(title="ROC, upper left quarter" if zoomed else "ROC; gray: random calls")
    left.set(xlabel="good parts called bad (false positive rate)", ylabel="bad parts found")
    if zoomed:
        left.set(xlim=(-0.005, 0.5), ylim=(0.5, 1.005))
    right.axvline(100 * max_escape_rate, color="0.3", lw=1)
    right.set_xscale("function", functions=ROOT)
    right.set_xticks([0, 1, 5, 10, 20, 40, 60, 100])
    right.set(xlim=(0, 100), ylim=(-2, 102), xlabel="bad parts that pass, % (square-root scale)")
    right.set_ylabel("good parts rejected or looked at, %")
    right.set_title(f"Good parts that do not pass; line: {100 * max_escape_rate:g} % asked for")
    legend = (
        "AUC; at the marked threshold, chosen on validation: bad that pass %, good that do not %"
    )
    _legend_below(right, legend)
    side = _side(next(iter(scored.values())))
    least, *_, most = sorted(at_points, key=at_points.__getitem__) * 2  # one model is both
    shares = f"{at_points[least]:.0f} % ({least})"
    shares += f" to {at_points[most]:.0f} % ({most})" if most != least else ""
    figure.suptitle(f"At the marked thresholds {shares}\nof the good parts on {side} do not pass")
    return figure


def calibration_figure(scored: Scored, table: pd.DataFrame, title: str) -> Figure:
    """Draw whether the scores of a model are probabilities, before and after temperature scaling.

    The points are the fractions of bad parts among those with about the same score, with exact 95 %
    intervals. Scaled scores are drawn only if the temperature is not about 1. `table` is
    `decision.calibration_table`.
    """
    figure, ax = plt.subplots(figsize=(6, 5.6))
    temperature = float(table.set_index("model").temperature[scored.name])
    labels, scores = scored.labels_scores()
    drawn = [(scores, "scores as they are", "o-", "black")]
    if abs(temperature - 1) >= calibration.ABOUT_ONE:  # else its line hides the other
        scaled = calibration.apply_temperature(scores, temperature)
        drawn.append((scaled, f"logits divided by {temperature:.2f}", "s--", SCALED))
    ax.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    style: dict[str, Any] = {"mfc": "white", "capsize": 2, "lw": 1.4, "elinewidth": 0.8}
    for own, text, fmt, colour in drawn:
        bins = calibration.calibration_bins(labels, own)
        arms = interval_arms(bins, "bad_fraction")
        points = bins.mean_score, bins.bad_fraction
        ax.errorbar(*points, yerr=arms, fmt=fmt, color=colour, label=text, **style)
    ax.set(xlabel="mean score of the bin", ylabel="fraction that is bad", aspect="equal")
    ax.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=scored.title)
    ax.legend(fontsize=10)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def decision_figure(
    scored: Scored, settings: AnalysisSettings, bad_rate: float, title: str
) -> Figure:
    """Draw what a line engineer decides by: how many parts pass, and how many bad ones escape.

    Above: what `decision.decisions` does to good and bad parts. Below, at every threshold: the
    promised escape rates and the measured one with its 95 % interval, over the share of all parts
    that pass. Good and bad parts are weighted as on the line, where the fraction `bad_rate` is bad.
    """
    chosen = decision.decisions(scored, settings, bad_rate)
    heights = (0.6 + 1.1 * len({own.bins for own in chosen.values()}), 4.2)
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(9.5, sum(heights) + 1.2), height_ratios=heights
    )
    _bins(above, scored, chosen)
    above.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=10)
    _promises(below, scored, chosen, settings.max_escape_rate, bad_rate)
    _legend_below(below, ncols=2)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def _promises(
    ax: Axes,
    scored: Scored,
    chosen: Mapping[str, decision.Decision],
    asked: float,
    bad_rate: float,
) -> None:
    """Draw escape rates over the share of parts that pass, promised and measured."""
    sweep = operating_point.threshold_sweep(*scored.labels_scores("val"))
    n_bad, top = int(sweep.n_escaped[-1]), max(0.2, 4 * asked)
    # of all thresholds that let as many bad parts escape, the highest
    last = np.flatnonzero(np.diff(sweep.n_escaped) > 0)
    last = last[sweep.n_escaped[last] <= 1.5 * top * n_bad]
    last = last[evenly(len(last), MOST_POINTS)]
    thresholds, n_escaped = sweep.thresholds[last], sweep.n_escaped[last]
    labels, scores = scored.labels_scores()
    bad, groups = labels == 1, scored.blocks()
    of_bad = None if groups is None else groups[bad]
    shares = np.array([_passed(labels, scores, t, bad_rate) for t in thresholds])
    points = [rate_interval(scores[bad] < t, of_bad) for t in thresholds]
    measured, low, high = 100 * np.transpose(points)
    ax.plot(100 * shares, measured, color="black", lw=1.8, label="measured")
    ax.fill_between(100 * shares, low, high, color="0.85", label="its 95 % interval")
    for (rule, word), look in zip(decision.PROMISES.items(), PROMISE_LINES, strict=True):
        rates = 100 * operating_point.promised_rate(n_bad, n_escaped, rule)
        bins, promised, is_kept = chosen[rule]
        at = 100 * _passed(labels, scores, bins.pass_below, bad_rate)
        text = f"promised {word}; marked: {at:.0f} % pass,\n{percent_up(promised)} % promised"
        own: dict[str, Any] = {"mec": "black", "ms": 9} | look
        own |= {} if is_kept else {"mfc": "white"}
        ax.plot(100 * shares, rates, **own | {"marker": ""})
        ax.plot(at, 100 * promised, zorder=5, clip_on=False, **own)
        ax.plot([], [], label=text if is_kept else f"{text} (too few bad parts)", **own)
    ax.axhline(100 * asked, color="0.3", lw=1)
    ax.annotate(
        f"asked: {100 * asked:g} %", (99, 100 * asked), ha="right", va="bottom", fontsize=10
    )
    ax.set_yscale("function", functions=ROOT)
    ax.set_yticks([tick for tick in (0, 0.5, 1, 2, 5, 10, 20, 40, 60, 100) if tick <= 100 * top])
    ax.set(
        xlim=(0, 100), ylim=(0, 100 * top), xlabel="parts that pass without a look, % of all parts"
    )
    ax.set(ylabel="bad parts that escape, % (square-root scale)")
    ax.set_title(f"Escapes against parts that pass ({n_bad} bad parts held out)", fontsize=12)


def _passed(labels: np.ndarray, scores: np.ndarray, threshold: float, bad_rate: float) -> float:
    rates = [float(np.mean(scores[labels == label] < threshold)) for label in (0, 1)]
    return (1 - bad_rate) * rates[0] + bad_rate * rates[1]


def _bins(ax: Axes, scored: Scored, chosen: Mapping[str, decision.Decision]) -> None:
    """Draw a bar of good and one of bad parts, divided into the three bins.

    Rules that choose the same thresholds share them.
    """
    labels, scores = scored.labels_scores()
    ticks, names = [], []
    rules: dict[operating_point.Bins, list[str]] = {}
    for rule, (bins, _, is_kept) in chosen.items():
        word = next((word for own, word in decision.PROMISES.items() if own == rule), rule)
        few = "" if is_kept else " (too few bad parts held out)"
        rules.setdefault(bins, []).append(word + few)
    for i, (bins, words) in enumerate(rules.items()):
        binned = (scores >= bins.pass_below).astype(int) + (scores >= bins.reject_from)
        for label, word in LABEL_NAMES.items():
            counts = np.bincount(binned[labels == label], minlength=3)
            ends = np.concatenate([[0], 100 * counts.cumsum() / counts.sum()])
            y = 2.7 * i + label
            ticks.append(y)
            names.append(f"{word} ({counts.sum():,})")
            for (kind, look), start, end, count in zip(
                BINS.items(), ends[:-1], ends[1:], counts, strict=True
            ):
                ax.barh(
                    y, end - start, left=start, height=0.86, label="" if ticks[1:] else kind, **look
                )
                if end - start > 4:
                    box = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
                    ax.text((start + end) / 2, y, f"{count:,}", ha="center", va="center", bbox=box)
            wrong, kind = (counts[2], "overkill") if label == 0 else (counts[0], "escapes")
            kind = kind.rstrip("s") if wrong == 1 else kind
            text = f"{wrong:,} {kind} ({100 * wrong / counts.sum():.1f} %)"
            ax.text(101, y, text, va="center", fontsize=11, weight="bold")
        pass_below, reject_from = told_apart(*bins)
        title = f"{', '.join(words)}: pass below {pass_below}"
        title += f", reject from {reject_from} on" if reject_from != pass_below else ""
        ax.text(0.7, 2.7 * i - 0.55, title, va="bottom", fontsize=11)
    ax.set_yticks(ticks, names)
    ax.set(xlim=(0, 100), ylim=(2.7 * len(rules) - 1.1, -1.3), xlabel="% of the class")
    ax.grid(False)
    ax.spines[["top", "right"]].set_visible(False)


def _styles(names: list[str]) -> dict[str, dict[str, Any]]:
    """Return the look of each model's line: its colour in all pictures, ensembles in black."""
    colours = {
        n: "black" if family(n) == "ensemble" else c for n, c in model_colours(names).items()
    }
    lines = zip(names, itertools.cycle(DASHES), strict=False)
    return {n: {"color": colours[n], "ls": dash, "lw": 1.8} for n, dash in lines}


def _legend_name(model: Scored) -> str:
    own = family(model.name)
    return model.title if own == "own" else f"{own}: {model.title}"


def _legend_below(ax: Axes, title: str = "", ncols: int = 1) -> None:
    """Put the legend of an axes below all panels, at the left of the figure."""
    style: dict[str, Any] = {"fontsize": 10, "title_fontsize": 10, "frameon": False, "ncols": ncols}
    style |= {"handlelength": 3.4, "alignment": "left", "loc": "outside lower left"}
    style["borderaxespad"] = 2  # above the footnote
    cast(Figure, ax.figure).legend(*ax.get_legend_handles_labels(), title=title, **style)


def _side(model: Scored) -> str:
    hidden = "the validation set (test labels are hidden)"
    return "the test set" if model.judged_on == "test" else hidden
