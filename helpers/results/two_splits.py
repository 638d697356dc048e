"""The same models on two splits: how much is lost on groups that no training has seen."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from helpers.core.paths import RunPaths
from helpers.results import metrics
from helpers.results.report_table import per_cent
from helpers.runs.names import display_name
from helpers.runs.predictions import (
    Scored,
    keeps_groups_apart,
    read_all_predictions,
    read_split,
)
from helpers.runs.settings import SettingsError

SIDES = ("here", "there")


def compare_runs(run_paths: RunPaths, other: str, seed: int = 0) -> pd.DataFrame:
    """Return the test AUCs of the models that two runs have in common, and the differences.

    Args:
        run_paths: this run.
        other: the name of the other run, of the same data set.
        seed: of the bootstrap.

    Returns:
        One row per model: `model`; for this run (`here`) and the other (`there`) `*_split`
        ("random" or "groups"), `*_auc`, `*_within_auc` with `*_low, *_high`; and
        `difference, difference_low, difference_high, p_value` of the AUC there minus here.

    Raises:
        SettingsError: the other run has no split, or no model in common, or hides its test labels.
    """
    paths = (run_paths, RunPaths(other))
    if not paths[1].split_csv.is_file():
        raise SettingsError(f"COMPARE_RUN={other!r} has no split; run notebook 01 of that run")
    kinds = ["groups" if keeps_groups_apart(read_split(own)) else "random" for own in paths]
    scored = [read_all_predictions(own, ensembles=True) for own in paths]
    names = [name for name in scored[0] if name in scored[1]]
    judged = {one.judged_on for models in scored for one in models.values()}
    if not names or judged != {"test"}:
        raise SettingsError(
            f"COMPARE_RUN={other!r} has no model of this run with test labels in both"
        )
    rows = []
    for name in names:
        pair = [models[name] for models in scored]
        row: dict[str, object] = {"model": name}
        for side, kind, one in zip(SIDES, kinds, pair, strict=True):
            row[f"{side}_split"] = kind
            row |= _aucs(side, one, seed)
        here, there = (metrics.Judged(*one.labels_scores(), one.blocks()) for one in pair)
        found = metrics.difference_between(there, here, seed=seed)
        ends = ("difference", "difference_low", "difference_high", "p_value")
        rows.append(row | dict(zip(ends, found, strict=True)))
    return pd.DataFrame(rows)


def _aucs(side: str, one: Scored, seed: int) -> dict[str, float]:
    labels, scores = one.labels_scores()
    auc = metrics.bootstrap_interval(labels, scores, seed=seed, groups=one.blocks())
    found = {f"{side}_auc": auc}
    groups = one.groups()
    within = None if groups is None else metrics.within_group_auc(labels, scores, groups, seed=seed)
    if within:
        found[f"{side}_within_auc"] = within.auc
    ends = ("", "_low", "_high")
    return {f"{k}{e}": v for k, own in found.items() for e, v in zip(ends, own, strict=True)}


def shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return `compare_runs` for the eye, in per cent, the random split first."""
    first = table.iloc[0]
    order = sorted(SIDES, key=lambda side: first[f"{side}_split"] == "groups")
    rows = table.to_dict("records")
    columns = {"Model": [display_name(row["model"]) for row in rows]}
    for side in order:
        words = "unseen groups" if first[f"{side}_split"] == "groups" else "random split"
        columns[f"Test AUC, {words}"] = [per_cent(row, f"{side}_auc") for row in rows]
        if f"{side}_within_auc" in table:
            within = [per_cent(row, f"{side}_within_auc") for row in rows]
            columns[f"Within groups, {words}"] = within
    sign = 1 if order[0] == "there" else -1
    differences = table[["difference", "difference_low", "difference_high"]].to_numpy() * sign
    columns["Difference"] = [
        f"{100 * value:+.1f} [{100 * min(ends):+.1f}, {100 * max(ends):+.1f}]"
        for value, *ends in np.asarray(differences)
    ]
    return pd.DataFrame(columns)


def repeated_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the AUCs of `training.repeated.score_repeated_splits`: a row per split and model.

    Returns:
        `model, split, repetition, auc, within_auc, n_groups` (the groups behind `within_auc`).
    """
    rows = []
    for (model, split, repetition), own in scores.groupby(
        ["model", "split", "repetition"], sort=False
    ):
        labels, found = own.label.to_numpy(dtype=np.int64), own.defect_score.to_numpy()
        within = metrics.within_group_auc(labels, found, own.group.to_numpy(), n_resamples=1)
        inside = (within.auc.estimate, within.n_groups) if within else (np.nan, 0)
        rows.append([model, split, repetition, metrics.roc_auc(labels, found), *inside])
    columns = ["model", "split", "repetition", "auc", "within_auc", "n_groups"]
    return pd.DataFrame(rows, columns=columns)


def repeated_shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean ± standard deviation over the repetitions, in per cent, and the difference.

    The difference of the two means has its standard error: the splits are independent draws.
    """
    rows = []
    for model, own in table.groupby("model", sort=False):
        row: dict[str, str] = {"Model": str(model)}
        for column, title in (("auc", "Test AUC"), ("within_auc", "Within groups")):
            by = own.groupby("split")[column]
            mean, sd, n = 100 * by.mean(), 100 * by.std(), by.count()
            for split, words in (("random", "random splits"), ("groups", "unseen groups")):
                row[f"{title}, {n[split]} {words}"] = f"{mean[split]:.1f} ± {sd[split]:.1f}"
            error = np.sqrt((sd**2 / n).sum())
            difference = mean["groups"] - mean["random"]
            row[f"{title}, difference ± standard error"] = f"{difference:+.1f} ± {error:.1f}"
        rows.append(row)
    return pd.DataFrame(rows)


def repeated_figure(table: pd.DataFrame) -> Figure:
    """Draw the AUC of every repetition, random splits beside splits by groups."""
    names = {"auc": "all test parts together", "within_auc": "inside the groups"}
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    order = ["random", "groups"]
    for ax, (column, title) in zip(axes, names.items(), strict=True):
        sns.stripplot(
            table,
            x="split",
            y=column,
            hue="model",
            order=order,
            dodge=True,
            jitter=0.05,
            ax=ax,
            legend=ax is axes[0],
        )
        ax.set(title=title, xlabel="", ylabel="test AUC")
        ax.set_xticks([0, 1], ["random split", "unseen groups"])
    axes[0].legend(title="", loc="lower left")
    return figure
