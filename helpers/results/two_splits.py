"""The same models on two splits: the loss of AUC on groups that no training has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from helpers.core import metrics
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.core.style import percent, percent_axis
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.models.names import display_name
from helpers.results import results_table
from helpers.results.bars import LEGEND_BELOW, interval_arms, name_rows
from helpers.results.report_table import in_points, per_cent
from helpers.runs.record import load_run
from helpers.runs.run_models import read_all_predictions
from helpers.runs.stages import check_run_name

KINDS = {"random": "random split", "groups": "unseen groups"}
# parameters by which the two runs may differ: those that change no model that both have
SPLIT = ("split", "split_csv", "val_per_class", "repeats")
MAY_DIFFER = (*SPLIT, "time_budget_min", "tensorboard", "genotypes", "random_cells", "distill")
TEST_PER_TRAIN = 1 / 3  # images; a quarter is kept for testing


def compare_runs(run_paths: RunPaths, other: str) -> pd.DataFrame:
    """Return the test AUCs of the models of a run by a random split and of one by groups.

    Args:
        run_paths: this run.
        other: the name of the other run, of the same images with the same labels.

    Returns:
        One row per model that both have: `model`; `random_val_auc, groups_val_auc` on validation;
        `random_auc, groups_auc, random_within_auc, groups_within_auc` on test, with `*_low,
        *_high`; and `difference, difference_low, difference_high, p_value` of the AUC on unseen
        groups minus that of the random split.

    Raises:
        SettingsError: the other run has no split, one of the same kind, other labels, no model in
            common, or hides its test labels.
    """
    runs = check_other_run(run_paths, other)
    scored = {kind: read_all_predictions(own, ensembles=True) for kind, own in runs.items()}
    names = [name for name in scored["random"] if name in scored["groups"]]
    judged = {one.judged_on for models in scored.values() for one in models.values()}
    if not names or judged != {"test"}:
        raise SettingsError(
            f"COMPARE_RUN={other!r} has no model of this run with test labels in both"
        )
    rows = []
    for name in names:
        pair = {kind: models[name] for kind, models in scored.items()}
        row: dict[str, object] = {"model": name}
        for kind, one in pair.items():
            auc = metrics.auc_interval(*one.labels_scores(), one.blocks())
            own = {"val_auc": metrics.roc_auc(*one.labels_scores("val"))}
            own |= dict(zip(("auc", "auc_low", "auc_high"), auc, strict=True))
            own |= results_table.within_groups(one)
            row |= {f"{kind}_{column.removeprefix('test_')}": own[column] for column in own}
        random, groups = ((*pair[kind].labels_scores(), pair[kind].blocks()) for kind in KINDS)
        found = metrics.difference_between(groups, random)
        ends = ("difference", "difference_low", "difference_high", "p_value")
        rows.append(row | dict(zip(ends, found, strict=True)))
    return pd.DataFrame(rows)


def check_other_run(run_paths: RunPaths, other: str) -> dict[str, RunPaths]:
    """Return the run with the random split and the one by groups, by the names in `KINDS`.

    Raises:
        SettingsError: see `compare_runs`.
    """
    problem, runs = f"COMPARE_RUN={other!r}", {}
    check_run_name(other)
    paths = (run_paths, RunPaths(other))
    if not paths[1].split_csv.is_file():
        raise SettingsError(f"{problem} has no split; run notebook 01 of that run")
    tables = [read_split(own.split_csv) for own in paths]
    for own, table in zip(paths, tables, strict=True):
        runs["groups" if keeps_groups_apart(table) else "random"] = own
    if len(runs) < 2:
        kind = "keeps groups apart" if "groups" in runs else "is random"
        raise SettingsError(f"{problem}: the split of both runs {kind}; name one of the other kind")
    first, second = (table.set_index("id").label.sort_index() for table in tables)
    if not first.equals(second):
        raise SettingsError(f"{problem} has other images or other labels than run {run_paths.name}")
    here, there = (_settings(path) for path in paths)
    if unlike := sorted(
        f"{name} (here {here[name]!r}, there {there[name]!r})"
        for name in here.keys() & there.keys()
        if here[name] != there[name]
    ):
        raise SettingsError(f"{problem} was made with other settings: {', '.join(unlike)}")
    return runs


def _settings(run_paths: RunPaths) -> dict[str, Any]:
    """Return the parameters of a run that its models depend on, the kind of split aside."""
    found: dict[str, Any] = {}
    for stage, entry in load_run(run_paths).get("stages", {}).items():
        if stage < "06_analysis":
            kept = (name for name in entry.get("settings", {}) if name not in MAY_DIFFER)
            found |= {f"{stage[:2]} {name.upper()}": entry["settings"][name] for name in kept}
    if not found.get("05 HALVING_EPOCHS"):  # without the halving the runs share no winner of it
        found = {name: value for name, value in found.items() if "HALVING" not in name}
    return found


def shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return `compare_runs` for the eye, in per cent, the best of the random split first."""
    rows = table.sort_values("random_auc", ascending=False).to_dict("records")
    columns = {"Model": [display_name(row["model"]) for row in rows]}
    for end, title in {"val_auc": "Validation AUC", "auc": "Test AUC"}.items():
        for kind, words in KINDS.items():
            columns[f"{title}, {words}"] = [per_cent(row, f"{kind}_{end}") for row in rows]
    columns["Unseen groups minus random"] = [_difference(row) for row in rows]
    return pd.DataFrame(columns)


def figure(table: pd.DataFrame, title: str) -> Figure:
    """Draw the test AUCs of `compare_runs`, a row per model, the best of the random split above."""
    frame = table.sort_values("random_auc", ignore_index=True)
    figure, ax = plt.subplots(figsize=(9.5, 0.42 * len(frame) + 1.8))
    looks = zip(KINDS.items(), ("o", "D"), ("0.2", "#d55e00"), (0.13, -0.13), strict=True)
    for (kind, words), marker, colour, up in looks:
        column = f"{kind}_auc"
        ax.errorbar(
            frame[column],
            frame.index + up,
            xerr=interval_arms(frame, column, f"{column}_"),
            fmt=marker,
            color=colour,
            capsize=2,
            label=words,
        )
    name_rows(ax, frame.model.map(display_name), map(_difference, frame.to_dict("records")))
    ax.annotate("difference, points", (1.01, 1.01), xycoords="axes fraction", fontsize=10)
    ax.set(xlabel="test AUC with its 95 % interval")
    figure.legend(**LEGEND_BELOW)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure


def _difference(row: Mapping[str, Any]) -> str:
    return in_points(row, "difference", "difference_")


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
        within = metrics.within_group_auc(labels, found, own.group.to_numpy())
        inside = (within.auc.estimate, within.n_groups) if within else (np.nan, 0)
        rows.append([model, split, repetition, metrics.roc_auc(labels, found), *inside])
    columns = ["model", "split", "repetition", "auc", "within_auc", "n_groups"]
    return pd.DataFrame(rows, columns=columns)


def repeated_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return what unseen groups cost: the mean AUC on them minus that on random splits.

    Splits of the same images overlap, so the variance of a mean over n of them is (1/n +
    test/train) times theirs (Nadeau and Bengio 2003, doi 10.1023/A:1024068626366).

    Args:
        table: that of `repeated_table`.

    Returns:
        Two rows per model, for the `column` "auc" and for "within_auc": `model, column`, and for
        both kinds of split `random_mean, random_std, random_n, groups_mean, ...`; and `difference`
        with its standard `error`.
    """
    rows = []
    for (model, column), own in table.melt(
        ["model", "split"], ["auc", "within_auc"], var_name="column"
    ).groupby(["model", "column"], sort=False):
        by = own.groupby("split").value
        mean, sd, n = by.mean(), by.std(), by.count()
        error = float(np.sqrt((sd**2 * (1 / n + TEST_PER_TRAIN)).sum(skipna=False)))
        row = {"model": model, "column": column}
        for kind in KINDS:
            row |= {f"{kind}_mean": mean[kind], f"{kind}_std": sd[kind], f"{kind}_n": n[kind]}
        rows.append(row | {"difference": mean["groups"] - mean["random"], "error": error})
    return pd.DataFrame(rows)


def repeated_shape(table: pd.DataFrame) -> pd.DataFrame:
    """Return `repeated_differences` for the eye, in per cent: a row per model.

    The means are with the standard deviation over the splits, their difference with its standard
    error.
    """
    titles = {"auc": "Test AUC", "within_auc": "Within groups"}
    shape: dict[str, dict[str, str]] = {}
    for row in repeated_differences(table).to_dict("records"):
        cells = shape.setdefault(row["model"], {"Model": row["model"]})
        title = titles[row["column"]]
        for kind, words in (("random", "random splits"), ("groups", "splits by groups")):
            mean, std = percent(row[f"{kind}_mean"]), percent(row[f"{kind}_std"])
            cells[f"{title}, {row[f'{kind}_n']} {words}"] = f"{mean} ± {std}"
        cells[f"{title}, unseen minus random ± standard error"] = (
            f"{100 * row['difference']:+.1f} ± {100 * row['error']:.1f}"
        )
    return pd.DataFrame(shape.values())


def repeated_figure(table: pd.DataFrame, title: str = "") -> Figure:
    """Draw the AUC of every repetition, random splits beside splits by groups."""
    names = {"auc": "all test parts together", "within_auc": "inside the groups"}
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True)
    for ax, (column, words) in zip(axes, names.items(), strict=True):
        sns.stripplot(
            table,
            x="split",
            y=column,
            hue="model",
            order=list(KINDS),
            dodge=True,
            jitter=0.05,
            ax=ax,
            legend=ax is axes[0],
        )
        ax.set_title(words, fontsize=11)
        ax.set(xlabel="", ylabel="test AUC")
        percent_axis(ax.yaxis)
        ax.set_xticks([0, 1], KINDS.values())
    axes[0].legend(title="", loc="lower left")
    figure.suptitle(title)
    return figure
