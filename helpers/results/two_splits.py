"""The same models on two splits: the loss of AUC on groups that no training has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import metrics
from helpers.core.rules import SettingsError
from helpers.results import results_table
from helpers.results.comparison import holm
from helpers.results.predictions import Scored

KINDS = {"random": "random split", "groups": "unseen groups"}
TEST_PER_TRAIN = 1 / 3  # images; a quarter is kept for testing
# columns of `compare` and of `repeated_differences` for the eye, see `core.tables`
COMPARED = {"Model": "{title}"}
COMPARED |= {f"Valid AUC, {words}": f"{{{kind}_val_auc:%}}" for kind, words in KINDS.items()}
COMPARED |= {f"Test AUC, {words}": f"{{{kind}_auc:%[]}}" for kind, words in KINDS.items()}
COMPARED["Unseen groups minus random"] = "{difference:+%[]}"
REPEATED = {
    "Model": "{model}",
    "AUC": "{column}",
    "Random splits": "{random_mean:%} ± {random_std:%}",
    "Splits by groups": "{groups_mean:%} ± {groups_std:%}",
    "Unseen minus random ± standard error": "{difference:+%} ± {error:%}",
}


def compare(random: Mapping[str, Scored], groups: Mapping[str, Scored]) -> pd.DataFrame:
    """Return the test AUCs of the models of a run by a random split and of one by groups.

    `random` and `groups` are the models of both runs, of the same images with the same labels.

    Returns:
        One row per model that both have, the best of the random split first: `model, title`;
        `random_val_auc, groups_val_auc`; `random_auc, groups_auc` on test and their `difference`,
        unseen groups minus random, all with `*_low, *_high`; and `p_value, p_holm`.

    Raises:
        SettingsError: there is no model in common, or test labels are hidden.
    """
    names = [name for name in random if name in groups]
    judged = {own.judged_on for own in (*random.values(), *groups.values())}
    if not names or judged != {"test"}:
        raise SettingsError("the other run has no model of this run with test labels in both")
    rows = []
    for name in names:
        pair = {"random": random[name], "groups": groups[name]}
        row: dict[str, Any] = {"model": name, "title": random[name].model.title}
        for kind, own in pair.items():
            row[f"{kind}_val_auc"] = metrics.roc_auc(*own.labels_scores("val"))
            auc = metrics.auc_interval(*own.labels_scores(), own.blocks())
            row |= results_table.with_ends(f"{kind}_auc", auc)
        unseen, seen = ((*pair[k].labels_scores(), pair[k].blocks()) for k in ("groups", "random"))
        *ends, p_value = metrics.difference_between(unseen, seen)
        row |= results_table.with_ends("difference", metrics.Interval(*ends))
        rows.append(row | {"p_value": p_value})
    table = pd.DataFrame(rows).sort_values("random_auc", ascending=False, ignore_index=True)
    return table.assign(p_holm=holm(table.p_value))


def repeated_table(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the AUCs of `training.repeated.score_repeated_splits`: a row per split and model.

    `n_groups` is the number of groups behind `within_auc`.
    """
    rows = []
    for (model, split, repetition), own in scores.groupby(
        ["model", "split", "repetition"], sort=False
    ):
        labels, scored = own.label.to_numpy(dtype=np.int64), own.defect_score.to_numpy()
        within = metrics.within_group_auc(labels, scored, own.group.to_numpy())
        inside = (within.auc.estimate, within.n_groups) if within else (np.nan, 0)
        rows.append([model, split, repetition, metrics.roc_auc(labels, scored), *inside])
    columns = ["model", "split", "repetition", "auc", "within_auc", "n_groups"]
    return pd.DataFrame(rows, columns=columns)


def repeated_differences(table: pd.DataFrame) -> pd.DataFrame:
    """Return what unseen groups cost: the mean AUC on them minus that on random splits.

    Splits of the same images overlap, so the variance of a mean over n of them is (1/n +
    test/train) times theirs (Nadeau and Bengio 2003, doi 10.1023/A:1024068626366).

    There are two rows per model of `repeated_table`, for the `column` "auc" and for "within_auc":
    `random_mean, random_std, random_n, groups_mean, ...`, and `difference` with its standard
    `error`.
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
