"""Comparisons of models on the same parts, and of kinds of parts within one model.

Models are compared on parts that all of them have scored, so every comparison is paired: DeLong's
test (DeLong, DeLong and Clarke-Pearson 1988, with Sun and Xu's fast ranks 2014), or Obuchowski's
(1997) for parts in groups if the split keeps them apart. Both are in `helpers.core.metrics`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from helpers.core import metrics
from helpers.core.paths import RunPaths
from helpers.results.predictions import Scored, common
from helpers.runs import stages

MISTAKES = {"escape": "escapes", "false alarm": "false_alarms"}  # kind and column of their number


def compare_with(scored: Mapping[str, Scored], reference: str) -> pd.DataFrame:
    """Return the AUC of every other model minus that of `reference`.

    It is that on test, or on validation if the test labels are hidden. Choose the reference on
    validation: the best of many on test is partly the luckiest.

    Returns:
        One row per model: `difference`, its interval `low, high` and `p_value` by
        `metrics.auc_difference` (Obuchowski's if the split keeps groups apart), and Holm's
        `p_holm` over all rows.
    """
    scored = common(scored)
    labels, own = scored[reference].labels_scores()
    blocks = scored[reference].blocks()
    rows = []
    for name in (name for name in scored if name != reference):
        _, scores = scored[name].labels_scores()
        rows.append([name, *metrics.auc_difference(labels, scores, own, blocks)])
    table = pd.DataFrame(rows, columns=["model", *metrics.Comparison._fields])
    table.insert(5, "p_holm", holm(table.p_value))
    return table


def paired(
    one: Scored, other: Scored, side: str = ""
) -> tuple[metrics.Comparison, tuple[float, float], str]:
    """Return the AUC of one model minus that of another, both AUCs, and the side of the images.

    On validation the scores of cross-fitted models are pooled over the folds as if one model had
    given them. There the models may be those of two runs with the same images, labels and folds,
    such as one recipe with two settings; images that only one of both has scored are left out.

    Args:
        one, other: the models.
        side: "val", "test", or "": test, or validation if the test labels are hidden.

    Raises:
        ValueError: an image has two labels, so the runs do not judge the same.
    """
    first, second = common({"one": one, "other": other}).values()
    side = side or first.judged_on
    (labels, scores), (others, other_scores) = (m.labels_scores(side) for m in (first, second))
    if not np.array_equal(labels, others):
        raise ValueError(f"{one.name} and {other.name} were judged by different labels")
    found = metrics.auc_difference(labels, scores, other_scores, first.blocks(side))
    return found, (metrics.roc_auc(labels, scores), metrics.roc_auc(labels, other_scores)), side


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values (M,) corrected for the number of tests, by Holm (1979).

    If all of those below 0.05 are called significant, there is any error in at most 5 % of such
    tables. The smallest is multiplied by M, the next by M - 1, and so on, never falling.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1))
    return np.minimum(adjusted, 1)[np.argsort(order)]


def group_columns(run_paths: RunPaths) -> list[str]:
    """Return the columns of split.csv that the data source names as kinds of parts."""
    return stages.load_run(run_paths)["stages"]["01_data_split"].get("kinds", [])


def subgroup_table(
    scored: Mapping[str, Scored], split: pd.DataFrame, columns: list[str]
) -> pd.DataFrame:
    """Return the AUC of every model among the parts of one kind, with `metrics.auc_interval`.

    Args:
        scored: the models.
        split: has an `id` and the columns of kinds (cell type, say).
        columns: of `split`.

    Returns:
        One row per model, column and kind: `model, group, kind, n_good, n_bad, auc, low, high`;
        the AUC is missing if a kind has fewer than two good or two bad parts.
    """
    rows = []
    for name, model in scored.items():
        labels, scores = model.labels_scores()
        blocks, kinds = model.blocks(), split.set_index("id").loc[model.ids()]
        for column in columns:
            for kind in sorted(kinds[column].dropna().unique()):
                own = (kinds[column] == kind).to_numpy()
                counts = np.bincount(labels[own], minlength=2).tolist()
                found = metrics.Interval(np.nan, np.nan, np.nan)
                if min(counts) >= 2:
                    groups = None if blocks is None else blocks[own]
                    found = metrics.auc_interval(labels[own], scores[own], groups)
                rows.append([name, column, kind, *counts, *found])
    names = ["model", "group", "kind", "n_good", "n_bad", "auc", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def group_table(scored: Scored, wrong: pd.DataFrame) -> pd.DataFrame:
    """Return the AUC and the mistakes of a model in each group (module, lot) of the judged side.

    Args:
        scored: the model.
        wrong: its `mistakes.mistakes`.

    Returns:
        One row per group, those with the most bad parts first: `group, n_good, n_bad, bad_rate,
        auc, low, high` (DeLong), `escapes, false_alarms`; the AUC is missing if there are fewer
        than two of a class. Without rows if there are no groups.
    """
    columns = ["group", "n_good", "n_bad", "bad_rate", "auc", "low", "high"]
    if (groups := scored.groups()) is None:
        return pd.DataFrame(columns=[*columns, *MISTAKES.values()])
    parts = pd.DataFrame({"id": scored.ids(), "group": groups})
    inside = replace(scored, groups_apart=False)  # a group has no groups
    table = subgroup_table({scored.name: inside}, parts, ["group"])
    table = table.assign(group=table.kind, bad_rate=table.n_bad / (table.n_good + table.n_bad))
    table = table[columns]
    for kind, column in MISTAKES.items():
        found = parts.group[parts.id.isin(wrong.id[wrong.kind == kind])].value_counts()
        table[column] = table.group.map(found).fillna(0).astype(int)
    return table.sort_values(["bad_rate", "group"], ascending=[False, True], ignore_index=True)
