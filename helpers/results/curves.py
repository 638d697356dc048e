"""The pictures that compare models: ROC, precision-recall, overkill against escapes, calibration.

A dozen lines in one panel cannot be told apart, least of all in gray: models are shown by family,
and within a panel each line has a dash pattern and a marker of its own, and its model's colour.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_curve

from helpers.results import calibration, operating_point
from helpers.results.bars import interval_arms
from helpers.results.metrics import exact_interval, roc_auc
from helpers.runs import settings
from helpers.runs.names import (
    FINETUNED,
    ROW_NAMES,
    base_name,
    display_name,
    legend_name,
    model_colours,
)
from helpers.runs.predictions import Scored

CLASSICAL = ("lda", "rf", "lr", "svm")
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)), (0, (6, 1.5, 1.5, 1.5)), (0, (9, 2)), (0, (3, 3)))
MARKERS = "osD^vP"
PER_PANEL = len(DASHES)
BINS = 10


def families(models: list[str]) -> dict[str, list[str]]:
    """The models by family, a panel each; a family of more than six models fills several panels."""
    groups: dict[str, list[str]] = {}
    for name in models:
        if name.endswith(FINETUNED):
            family = "classical models on FBP features"
        elif name in CLASSICAL:
            family = "classical models on ImageNet features"
        elif base_name(name) in ROW_NAMES or name.startswith("random_cell"):
            family = "networks"
        elif name in settings.ENSEMBLES:
            family = "ensembles"
        else:
            family = "other models"
        groups.setdefault(family, []).append(name)
    panels = {}
    for family, names in groups.items():
        for start in range(0, len(names), PER_PANEL):
            title = family if not start else f"{family} ({start // PER_PANEL + 1})"
            panels[title] = names[start : start + PER_PANEL]
    return panels


def roc_and_pr(scored: Mapping[str, Scored]) -> Figure:
    """ROC curves above, precision-recall curves below, a column per family of models."""
    panels = families(list(scored))
    figure, axes = plt.subplots(2, len(panels), figsize=(4.4 * len(panels), 10.5), squeeze=False)
    for (title, names), (above, below) in zip(panels.items(), axes.T, strict=True):
        for name, style in zip(names, _styles(names), strict=False):
            labels, scores = scored[name].labels_scores()
            false_alarms, found, _ = roc_curve(labels, scores)
            precision, recall, _ = precision_recall_curve(labels, scores)
            auc, ap = roc_auc(labels, scores), average_precision_score(labels, scores)
            text = f"{legend_name(name, scored)}: {auc:.3f}, {ap:.3f}"
            above.plot(false_alarms, found, label=text, **style)
            below.plot(recall, precision, drawstyle="steps-post", **style)
        above.plot([0, 1], [0, 1], color="0.6", lw=0.8, zorder=1)
        below.axhline(labels.mean(), color="0.6", lw=0.8, zorder=1)
        above.set(title=title, xlabel="good parts called bad", ylabel="bad parts found")
        below.set(xlabel="bad parts found (recall)", ylabel="called bad that are bad (precision)")
        for ax in (above, below):
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        _legend_below(above, "ROC AUC, average precision")
    figure.suptitle(f"ROC and precision-recall on {_side(scored)}; gray: calling at random")
    return figure


def overkill_against_escapes(
    scored: Mapping[str, Scored], points: pd.DataFrame, max_escape_rate: float
) -> Figure:
    """Good parts thrown away against bad parts let through, at every threshold, by family.

    The large markers are the operating points that validation chose (`decision.operating_table`,
    the first rule), where they come out; the vertical line is what was asked for. The escapes'
    axis is a square root, since the decision is made at its left end.
    """
    panels = families(list(scored))
    side = next(iter(scored.values())).judged_on
    points = points.drop_duplicates("model").set_index("model")
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.4 * len(panels), 5.8), squeeze=False, sharey=True
    )
    for ax, (title, names) in zip(axes[0], panels.items(), strict=True):
        for name, style, marker in zip(names, _styles(names), MARKERS, strict=False):
            escapes, overkill = operating_point.overkill_curve(*scored[name].labels_scores())
            ax.plot(100 * escapes, 100 * overkill, drawstyle="steps-post", **style)
            x, y = (100 * points.loc[name, f"{side}_{k}_rate"] for k in ("escape", "overkill"))
            text = f"{legend_name(name, scored)}: {x:.1f}, {y:.0f}"
            ax.plot([], [], marker=marker, label=text, **style)
            own = {"color": style["color"], "mec": "black", "clip_on": False}
            ax.plot(x, y, marker, ms=9, mew=1.2, zorder=5, **own)
        ax.axvline(100 * max_escape_rate, color="0.3", lw=1)
        ax.set_xscale("function", functions=(_root, np.square))
        ax.set_xticks([0, 1, 5, 10, 20, 40, 60, 100])
        ax.set(title=title, xlim=(0, 100), ylim=(-2, 102))
        ax.set_xlabel("bad parts let through, % (square-root scale)")
        _legend_below(ax, "let through %, thrown away %")
    axes[0][0].set_ylabel("good parts thrown away, %")
    figure.suptitle(
        f"Overkill against escapes on {_side(scored)}; markers: thresholds that let at most "
        f"{100 * max_escape_rate:g} % of validation's bad parts through"
    )
    return figure


def calibration_figure(scored: Scored, table: pd.DataFrame) -> Figure:
    """Left: how many of the parts with about the same score are bad, before and after temperature
    scaling, with exact 95 % intervals. Right: the Brier score of every model, before and after.

    `table` is `decision.calibration_table`.
    """
    models = table[table.model != "base rate"].iloc[::-1]
    names = {name: legend_name(name, list(models.model)) for name in models.model}
    height = max(4.6, 0.36 * len(models) + 1.5)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, height))
    temperature = float(table.set_index("model").temperature[scored.name])
    labels, scores = scored.labels_scores()
    left.plot([0, 1], [0, 1], color="0.6", lw=0.8)
    _reliability(left, labels, scores, "scores as they are", "o-", "black")
    scaled = calibration.apply_temperature(scores, temperature)
    _reliability(left, labels, scaled, f"logits divided by {temperature:.2f}", "s--", "#de8f05")
    left.set(xlabel="mean score of the bin", ylabel="fraction that is bad", aspect="equal")
    left.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=names[scored.name])
    _legend_below(left, "", -0.13)
    y = np.arange(len(models))
    arms = interval_arms(models.brier, models.brier_low, models.brier_high)
    right.errorbar(models.brier, y, xerr=arms, fmt="o", color="black", capsize=3)
    right.plot(models.brier_scaled, y, "s", mfc="none", mec="#de8f05", mew=2, ms=9)
    right.axvline(float(table.brier.iloc[-1]), color="0.4", ls=":")
    right.set_yticks(y, list(names.values()))
    right.set(xlabel="Brier score (0 is best); dotted: the bad parts' share for all")
    right.set(title="circle with 95 % interval: as they are; square: scaled")
    figure.suptitle(f"Can a score be read as a probability? On {_side_of(scored)}")
    return figure


def confusion(scored: Scored, thresholds: Mapping[str, float]) -> Figure:
    """Counts of good and bad parts by what they are called, one matrix per threshold."""
    n = len(thresholds)
    figure, axes = plt.subplots(1, n, figsize=(4.4 * n, 4.2), squeeze=False)
    labels, scores = scored.labels_scores()
    for ax, (title, threshold) in zip(axes[0], thresholds.items(), strict=True):
        called = scores >= threshold
        counts = np.array([[((labels == t) & (called == c)).sum() for c in (0, 1)] for t in (0, 1)])
        share = counts / counts.sum(axis=1, keepdims=True)
        text = np.array(
            [
                [f"{c}\n{100 * s:.1f} %" for c, s in zip(*row, strict=True)]
                for row in zip(counts, share, strict=True)
            ]
        )
        sns.heatmap(
            share,
            annot=text,
            fmt="",
            cmap="Greys",
            vmin=0,
            vmax=1,
            cbar=False,
            square=True,
            linewidths=1,
            linecolor="0.5",
            ax=ax,
        )
        ax.set_xticklabels(["called good", "called bad"])
        ax.set_yticklabels(["good", "bad"], rotation=0)
        ax.set_title(f"{title}\nthreshold {threshold:.4f}", fontsize=11)
    figure.suptitle(f"{display_name(scored.name)} on {_side_of(scored)}")
    return figure


def subgroup_auc(table: pd.DataFrame, side: str = "test") -> Figure:
    """AUC on `side` among the parts of each kind, a panel per grouping.

    `table` is `comparison.subgroup_table`.
    """
    groups = list(table.group.unique())
    names = list(table.model.unique())[::-1]
    colours = sns.color_palette("colorblind", PER_PANEL)
    figure, axes = plt.subplots(
        1, len(groups), figsize=(7.5 * len(groups), 0.5 * len(names) + 2), squeeze=False
    )
    for ax, group in zip(axes[0], groups, strict=True):
        own = table[table.group == group]
        kinds = list(own.kind.unique())
        for i, (kind, colour) in enumerate(zip(kinds, itertools.cycle(colours), strict=False)):
            rows = own[own.kind == kind].set_index("model").loc[names]
            y = np.arange(len(names)) + 0.36 * (0.5 - (i + 0.5) / len(kinds))
            n_good, n_bad = rows.n_good.iloc[0], rows.n_bad.iloc[0]
            ax.errorbar(
                rows.auc,
                y,
                xerr=interval_arms(rows.auc, rows.low, rows.high),
                capsize=2,
                fmt=MARKERS[i % len(MARKERS)],
                mfc="white" if i % 2 else colour,
                color=colour,
                label=f"{kind} ({n_good} good, {n_bad} bad)",
            )
        ax.set_yticks(np.arange(len(names)), [legend_name(name, names) for name in names])
        ax.set(
            xlabel=f"{side} AUC with DeLong's 95 % interval", title=f"by {group.replace('_', ' ')}"
        )
        ax.margins(y=0.5 / len(names))
        _legend_below(ax, "", -0.9 / figure.get_figheight())
    return figure


def differences(table: pd.DataFrame, reference: str, side: str = "test") -> Figure:
    """AUC on `side` minus the reference model's with DeLong's interval, and Holm's p-value.

    `table` is `comparison.compare_with`.
    """
    frame = table.iloc[::-1]
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(frame) + 1.4))
    y = np.arange(len(frame))
    arms = interval_arms(frame.difference, frame.low, frame.high)
    ax.errorbar(frame.difference, y, xerr=arms, fmt="o", color="black", capsize=3)
    ax.axvline(0, color="0.4", lw=1)
    models = [*frame.model, reference]
    ax.set_yticks(y, [legend_name(name, models) for name in frame.model])
    for position, p in zip(y, frame.p_holm, strict=True):
        text = "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".")
        ax.annotate(
            text, (1.01, position), xycoords=("axes fraction", "data"), va="center", fontsize=10
        )
    ax.margins(y=0.5 / max(len(frame), 1))
    ax.set(xlabel=f"{side} AUC minus that of {legend_name(reference, models)}")
    ax.set(title="DeLong's 95 % interval, Holm's p-value")
    return figure


def _styles(names: Sequence[str]) -> list[dict]:
    """A style for each line of a panel: the colour is its model's, the dash pattern its place's."""
    colours = model_colours(names)
    return [
        {"color": colours[name], "ls": d, "lw": 1.8} for name, d in zip(names, DASHES, strict=False)
    ]


def _legend_below(ax: Axes, title: str, y: float = -0.16) -> None:
    ax.legend(
        title=title,
        loc="upper left",
        bbox_to_anchor=(0, y),
        fontsize=10,
        frameon=False,
        handlelength=3.4,
        title_fontsize=10,
        alignment="left",
    )


def _reliability(
    ax: Axes, labels: np.ndarray, scores: np.ndarray, text: str, fmt: str, colour: str
) -> None:
    bins = calibration.calibration_bins(labels, scores, BINS)
    bad = np.rint(bins.bad_fraction * bins.n_parts).astype(int)
    found = [exact_interval(k, n) for k, n in zip(bad.tolist(), bins.n_parts.tolist(), strict=True)]
    low, high = (np.array([getattr(i, end) for i in found]) for end in ("low", "high"))
    error = [bins.bad_fraction - low, high - bins.bad_fraction]
    ax.errorbar(
        bins.mean_score,
        bins.bad_fraction,
        yerr=error,
        fmt=fmt,
        color=colour,
        capsize=2,
        mfc="white",
        label=text,
        lw=1.4,
        elinewidth=0.8,
    )


def _root(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.clip(values, 0, None))


def _side(scored: Mapping[str, Scored]) -> str:
    return _side_of(next(iter(scored.values())))


def _side_of(model: Scored) -> str:
    hidden = "the validation set (test labels are hidden)"
    return "the test set" if model.judged_on == "test" else hidden
