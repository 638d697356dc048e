"""Figures of scores: ROC, precision-recall, overkill against escapes, calibration, confusion.

A dozen lines in one panel cannot be distinguished, least of all in gray: models are shown by
family, and within a panel each line has its own dash pattern and marker, and its model's colour.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    precision_recall_curve,
    roc_curve,
)

from helpers.results import calibration, operating_point
from helpers.results.bars import MARKERS, MODEL, interval_arms
from helpers.results.metrics import exact_interval, roc_auc
from helpers.runs import settings
from helpers.runs.names import CLASSICAL, FINETUNED, ROW_NAMES, display_name, model_colours
from helpers.runs.predictions import Scored

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)), (0, (3, 3)))
SCALED = "#de8f05"  # the colour of scores after temperature scaling


def families(models: list[str]) -> dict[str, list[str]]:
    """Return the models by family, a panel each; large families fill several panels."""
    groups: dict[str, list[str]] = {}
    for name in models:
        if name.endswith(FINETUNED):
            family = "classical models on FBP features"
        elif name in CLASSICAL:
            family = "classical models on ImageNet features"
        elif name in settings.ENSEMBLES:
            family = "ensembles"
        elif name in ROW_NAMES or name.startswith("random_cell"):
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
    """Draw good parts thrown away against bad parts let through, at every threshold, by family.

    The large markers are the first rule of each model in `decision.operating_table`; the vertical
    line is the escape rate that was asked for, a fraction. The escapes' axis is a square root,
    because the decision is made at its left end.
    """
    panels = families(list(scored))
    side = next(iter(scored.values())).judged_on
    points = points.drop_duplicates("model").set_index("model")
    n = len(panels)
    figure, axes = plt.subplots(1, n, figsize=(4.4 * n, 5.8), squeeze=False, sharey=True)
    for ax, (title, names) in zip(axes[0], panels.items(), strict=True):
        for (name, style), marker in zip(_styles(names).items(), MARKERS, strict=False):
            escapes, overkill = operating_point.overkill_curve(*scored[name].labels_scores())
            ax.plot(100 * escapes, 100 * overkill, drawstyle="steps-post", **style)
            x, y = (100 * points.loc[name, f"{side}_{k}_rate"] for k in ("escape", "overkill"))
            text = f"{scored[name].title}: {x:.1f}, {y:.0f}"
            ax.plot([], [], marker=marker, label=text, **style)
            big = {"ms": 9, "mec": "black", "mew": 1.2, "zorder": 5, "clip_on": False}
            ax.plot(x, y, marker, color=style["color"], **big)
        ax.axvline(100 * max_escape_rate, color="0.3", lw=1)
        root = (lambda values: np.sqrt(np.clip(values, 0, None)), np.square)
        ax.set_xscale("function", functions=root)
        ax.set_xticks([0, 1, 5, 10, 20, 40, 60, 100])
        ax.set(title=title, xlim=(0, 100), ylim=(-2, 102))
        ax.set_xlabel("bad parts let through, % (square-root scale)")
        _legend_below(ax, "let through %, thrown away %")
    axes[0][0].set_ylabel("good parts thrown away, %")
    figure.suptitle(
        f"Overkill against escapes on {_side(scored[names[0]])}; markers: thresholds that let at "
        f"most {100 * max_escape_rate:g} % of validation's bad parts through"
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


def confusion(scored: Scored, thresholds: Mapping[str, float]) -> Figure:
    """Draw the counts of good and bad parts by their calls, one matrix per threshold."""
    n = len(thresholds)
    figure, axes = plt.subplots(1, n, figsize=(4.4 * n, 4.2), squeeze=False)
    labels, scores = scored.labels_scores()
    style: dict[str, Any] = {"cmap": "Greys", "vmin": 0, "vmax": 1, "cbar": False}
    style |= {"square": True, "linewidths": 1, "linecolor": "0.5", "fmt": ""}
    for ax, (title, threshold) in zip(axes[0], thresholds.items(), strict=True):
        counts = confusion_matrix(labels, scores >= threshold, labels=[0, 1])
        share = counts / counts.sum(axis=1, keepdims=True)
        cells = zip(counts.flat, share.flat, strict=True)
        text = np.array([f"{c}\n{100 * s:.1f} %" for c, s in cells]).reshape(2, 2)
        sns.heatmap(share, annot=text, ax=ax, **style)
        ax.set_xticklabels(["called good", "called bad"])
        ax.set_yticklabels(["good", "bad"], rotation=0)
        ax.set_title(f"{title}\nthreshold {threshold:.4f}", fontsize=11)
    figure.suptitle(f"{scored.title} on {_side(scored)}")
    return figure


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
