"""Figures of scores: ROC, precision-recall, overkill against escapes, calibration, decisions.

A dozen lines in one panel cannot be distinguished, least of all in gray: models are shown by
family, and within a panel each line has its own dash pattern and marker, and its model's colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import (
    average_precision_score,
    precision_recall_curve,
    roc_curve,
)

from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.results import calibration, decision, operating_point
from helpers.results.bars import MARKERS, MODEL, interval_arms
from helpers.results.metrics import exact_interval, rate_interval, roc_auc
from helpers.runs import settings
from helpers.runs.names import (
    BRIGHTNESS,
    CLASSICAL,
    DISTILLED,
    FINETUNED,
    ROW_NAMES,
    base_name,
    display_name,
    model_colours,
)
from helpers.runs.predictions import Scored
from helpers.runs.settings import AnalysisSettings

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)), (0, (3, 3)))
MOST_POINTS = 100  # of a curve whose intervals are resampled
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


def families(models: list[str]) -> dict[str, list[str]]:
    """Return the models by family, a panel each; large families fill several panels."""
    groups: dict[str, list[str]] = {}
    for name in models:
        if name.endswith(FINETUNED):
            family = "classical models on FBP features"
        elif base_name(name) in CLASSICAL or name.endswith(BRIGHTNESS):
            family = "classical models"
        elif name in settings.ENSEMBLES:
            family = "ensembles"
        elif base_name(name).removesuffix(DISTILLED) in ROW_NAMES or name.startswith("random_cell"):
            family = "networks"
        else:
            family = "other models"
        groups.setdefault(family, []).append(name)
    panels, n = {}, len(DASHES)
    for family, names in groups.items():
        for start in range(0, len(names), n):
            title = f"{family} ({start // n + 1})" if start else family
            panels[title] = names[start : start + n]
    return panels


def roc_and_pr(scored: Mapping[str, Scored]) -> Figure:
    """Draw ROC curves above, precision-recall curves below, a column per family of models."""
    panels = families(list(scored))
    figure, axes = plt.subplots(2, len(panels), figsize=(4.4 * len(panels), 10.5), squeeze=False)
    for (title, names), (above, below) in zip(panels.items(), axes.T, strict=True):
        for name, style in _styles(names).items():
            labels, scores = scored[name].labels_scores()
            false_alarms, found, _ = roc_curve(labels, scores)
            precision, recall, _ = precision_recall_curve(labels, scores)
            auc, ap = roc_auc(labels, scores), average_precision_score(labels, scores)
            text = f"{scored[name].title}: {auc:.3f}, {ap:.3f}"
            above.plot(false_alarms, found, label=text, **style)
            below.plot(recall, precision, drawstyle="steps-post", **style)
        above.plot([0, 1], [0, 1], color="0.6", lw=0.8, zorder=1)
        below.axhline(labels.mean(), color="0.6", lw=0.8, zorder=1)
        above.set(title=title, xlabel="good parts called bad", ylabel="bad parts found")
        below.set(xlabel="bad parts found (recall)", ylabel="called bad that are bad (precision)")
        for ax in (above, below):
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend_below(above, "ROC AUC, average precision")
    figure.suptitle(f"ROC and precision-recall on {_side(scored[names[0]])}; gray: random calls")
    return figure


def overkill_against_escapes(
    scored: Mapping[str, Scored], points: pd.DataFrame, max_escape_rate: float
) -> Figure:
    """Draw good parts that do not pass against bad parts that do, at every threshold, by family.

    The large markers are the first rule of each model in `decision.operating_table`; the vertical
    line is the escape rate that was asked for, a fraction. The escapes' axis is a square root,
    because the decision is made at its left end.
    """
    panels = families(list(scored))
    points = points.drop_duplicates("model").set_index("model")
    n = len(panels)
    figure, axes = plt.subplots(1, n, figsize=(4.4 * n, 5.8), squeeze=False, sharey=True)
    for ax, (title, names) in zip(axes[0], panels.items(), strict=True):
        for (name, style), marker in zip(_styles(names).items(), MARKERS, strict=False):
            escapes, overkill = operating_point.overkill_curve(*scored[name].labels_scores())
            ax.plot(100 * escapes, 100 * overkill, drawstyle="steps-post", **style)
            at = operating_point.escape_and_overkill(
                *scored[name].labels_scores(), points.threshold[name]
            )
            x, y = 100 * at.escape_rate.estimate, 100 * at.overkill_rate.estimate
            text = f"{scored[name].title}: {x:.1f}, {y:.0f}"
            ax.plot([], [], marker=marker, label=text, **style)
            big = {"ms": 9, "mec": "black", "mew": 1.2, "zorder": 5, "clip_on": False}
            ax.plot(x, y, marker, color=style["color"], **big)
        ax.axvline(100 * max_escape_rate, color="0.3", lw=1)
        root = (lambda values: np.sqrt(np.clip(values, 0, None)), np.square)
        ax.set_xscale("function", functions=root)
        ax.set_xticks([0, 1, 5, 10, 20, 40, 60, 100])
        ax.set(title=title, xlim=(0, 100), ylim=(-2, 102))
        ax.set_xlabel("bad parts that pass, % (square-root scale)")
        _legend_below(ax, "bad that pass %, good that do not %")
    axes[0][0].set_ylabel("good parts that do not pass, %")
    figure.suptitle(
        f"Overkill against escapes on {_side(scored[names[0]])}; markers: thresholds chosen on "
        f"validation for {100 * max_escape_rate:g} % of escapes, expected"
    )
    return figure


def calibration_figure(scored: Scored, table: pd.DataFrame) -> Figure:
    """Draw whether scores are probabilities, before and after temperature scaling.

    Left, for one model: the fraction of bad parts among those with about the same score, with
    exact 95 % intervals. Right: the Brier score of every model in `decision.calibration_table`.
    """
    models = table[table.model != "base rate"].iloc[::-1].reset_index(drop=True)
    size = (12, max(4.6, 0.36 * len(models) + 1.5))
    figure, (left, right) = plt.subplots(1, 2, figsize=size)
    temperature = float(table.set_index("model").temperature[scored.name])
    labels, scores = scored.labels_scores()
    scaled = calibration.apply_temperature(scores, temperature)
    left.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    style: dict[str, Any] = {"mfc": "white", "capsize": 2, "lw": 1.4, "elinewidth": 0.8}
    for own, text, fmt, colour in (
        (scores, "scores as they are", "o-", "black"),
        (scaled, f"logits divided by {temperature:.2f}", "s--", SCALED),
    ):
        mean, fraction, n = calibration.calibration_bins(labels, own)
        bad = np.rint(fraction * n).astype(int)
        low, high = np.transpose([exact_interval(*k_n)[1:] for k_n in zip(bad, n, strict=True)])
        arms = [fraction - low, high - fraction]
        left.errorbar(mean, fraction, yerr=arms, fmt=fmt, color=colour, label=text, **style)
    left.set(xlabel="mean score of the bin", ylabel="fraction that is bad", aspect="equal")
    left.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=scored.title)
    _legend_below(left, "", -0.13)
    right.errorbar(
        models.brier, models.index, xerr=interval_arms(models, "brier", "brier_"), **MODEL
    )
    right.plot(models.brier_scaled, models.index, "s", mfc="none", mec=SCALED, mew=2, ms=9)
    right.axvline(float(table.brier.iloc[-1]), color="0.4", ls=":")
    right.set_yticks(models.index, models.model.map(display_name))
    right.set(xlabel="Brier score (0 is best); dotted: the bad parts' share for all")
    right.set(title="circle with 95 % interval: as they are; square: scaled")
    figure.suptitle(f"Can a score be read as a probability? On {_side(scored)}")
    return figure


def decision_figure(scored: Scored, settings: AnalysisSettings, bad_rate: float) -> Figure:
    """Draw what a line engineer decides by: how many parts pass, and how many bad ones escape.

    Left, at every threshold: the promised escape rates and the measured one with its 95 % interval,
    over the share of all parts that pass. Right: what `decision.decisions` does to good and bad
    parts. Good and bad parts are weighted as on the line, where the fraction `bad_rate` is bad.
    """
    chosen = decision.decisions(scored, settings, bad_rate)
    figure, (left, right) = plt.subplots(1, 2, figsize=(15, 2.6 + 1.35 * len(chosen)))
    _promises(left, scored, chosen, settings.max_escape_rate, bad_rate)
    _bins(right, scored, chosen)
    for ax in (left, right):
        _legend_below(ax, "", -0.8 / figure.get_figheight())
    figure.suptitle(f"{scored.title}: thresholds chosen on validation, judged on {_side(scored)}")
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
    last = last[np.unique(np.linspace(0, len(last) - 1, MOST_POINTS).round().astype(int))]
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
        text = f"promised {word}; marked: {at:.0f} % pass,\n{100 * promised:.2g} % promised"
        own: dict[str, Any] = {"mec": "black", "ms": 9} | look
        own |= {} if is_kept else {"mfc": "white"}
        ax.plot(100 * shares, rates, **own | {"marker": ""})
        ax.plot(at, 100 * promised, zorder=5, clip_on=False, **own)
        ax.plot([], [], label=text if is_kept else f"{text} (too few bad parts)", **own)
    ax.axhline(100 * asked, color="0.3", lw=1)
    ax.annotate(
        f"asked: {100 * asked:g} %", (99, 100 * asked), ha="right", va="bottom", fontsize=10
    )
    root = (lambda values: np.sqrt(np.clip(values, 0, None)), np.square)
    ax.set_yscale("function", functions=root)
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
    """Draw a bar of good parts and one of bad parts per rule, divided into the three bins."""
    labels, scores = scored.labels_scores()
    ticks, names = [], []
    for i, (rule, (bins, _, is_kept)) in enumerate(chosen.items()):
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
            wrong, kind = (counts[2], "overkill") if label == 0 else (counts[0], "escape")
            text = f"{wrong:,} {kind} ({100 * wrong / counts.sum():.1f} %)"
            ax.text(101, y, text, va="center", fontsize=11, weight="bold")
        title = next((word for own, word in decision.PROMISES.items() if own == rule), rule)
        title += f": pass below {bins.pass_below:.3g}"
        if bins.reject_from > bins.pass_below:
            title += f", reject from {bins.reject_from:.3g} on"
        title += "" if is_kept else " (too few bad parts held out)"
        ax.text(0, 2.7 * i - 0.55, title, va="bottom", fontsize=11)
    ax.set_yticks(ticks, names)
    ax.set(xlim=(0, 100), ylim=(2.7 * len(chosen) - 1.1, -1.3), xlabel="% of the class")
    ax.grid(False)
    ax.spines[["top", "right"]].set_visible(False)


def _styles(names: list[str]) -> dict[str, dict[str, Any]]:
    colours = model_colours(names)
    lines = zip(names, DASHES, strict=False)
    return {name: {"color": colours[name], "ls": dash, "lw": 1.8} for name, dash in lines}


def _legend_below(ax: Axes, title: str, y: float = -0.16) -> None:
    style: dict[str, Any] = {"fontsize": 10, "title_fontsize": 10, "frameon": False}
    style |= {"handlelength": 3.4, "alignment": "left"}
    ax.legend(title=title, loc="upper left", bbox_to_anchor=(0, y), **style)


def _side(model: Scored) -> str:
    hidden = "the validation set (test labels are hidden)"
    return "the test set" if model.judged_on == "test" else hidden
