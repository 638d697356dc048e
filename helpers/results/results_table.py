"""The results table: one row per model, made from its scores alone.

A file that a user writes by hand becomes a row like any other. Test labels are used here and in
what is made of these rows, after every choice was made on validation. `report_table` formats the
table for the eye.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import metrics
from helpers.models.record import Model
from helpers.results import comparison, operating_point
from helpers.results.predictions import Scored


def results_table(scored: Mapping[str, Scored], split: pd.DataFrame) -> pd.DataFrame:
    """Return one row per model (see `evaluate`), and the majority baseline at the end.

    The baseline calls every part by the training set's larger class.

    Example:
        table = results_table(run.models(), run.split)
        table.set_index("model").test_auc["fbp"]
    """
    bad_rate = training_bad_rate(split)
    rows = [evaluate(own, bad_rate) for own in scored.values()]
    labels = {side: own.dropna().astype(int) for side, own in split.groupby("split").label}
    call = int(labels["train"].mode().iloc[0])
    majority = _names(Model("majority")) | {"val_auc": 0.5}
    majority["val_accuracy"] = float((labels["val"] == call).mean())
    if "test" in labels and (test := labels["test"]).nunique() == 2:
        majority |= {"test_auc": 0.5, "test_accuracy": float((test == call).mean())}
        majority["test_f1"] = metrics.f1(test, np.full(len(test), float(call)))
    return pd.DataFrame([*rows, majority])


def with_tests(
    table: pd.DataFrame, scored: Mapping[str, Scored], costs: pd.DataFrame
) -> pd.DataFrame:
    """Return `results_table` with `costs`, and each row's comparison with the best row.

    The added columns are those of `costs`, a table with a column `model`, and `difference`,
    `p_value` and `p_holm` of the AUC against the best row by validation AUC.
    """
    compared = comparison.compare_with(scored, best_model(table))
    columns = ["model", "difference", "p_value", "p_holm"]
    return table.merge(costs, on="model", how="left").merge(
        compared[columns], on="model", how="left"
    )


def evaluate(scored: Scored, bad_rate: float) -> dict[str, Any]:
    """Return the row of one model.

    Validation accuracy is that of the best threshold on validation and so a little too good. The
    threshold for test is chosen on validation too, with good and bad parts weighted as on the line
    (`bad_rate`), because validation is balanced and the line is not. There are no test columns if
    labels are hidden or of one class. If the split keeps groups apart, the 95 % intervals take
    groups as the units, not images; if there are groups, `test_within_auc` is the AUC inside them.

    The row of a model of several trainings has `<metric>_mean` and `<metric>_std` over them: on
    validation each has its own fold, if it has one.
    """
    threshold, measured = _judged(scored, bad_rate)
    row = _names(scored.model) | {"threshold": threshold}
    row["n_val"] = int(scored.val.label.notna().sum())
    for name, interval in measured.items():
        row |= with_ends(name, interval) if name != "test_f1" else {name: interval.estimate}
    row |= within_groups(scored)
    if scored.members:
        row |= {"members": len(scored.members), "averaged": scored.model.averaged}
        each = [_judged(member, bad_rate)[1] for member in scored.members]
        single = pd.DataFrame([{k: own.estimate for k, own in one.items()} for one in each])
        row |= single.mean().add_suffix("_mean").to_dict()
        row |= single.std(ddof=1).add_suffix("_std").to_dict()
    return row


def within_groups(scored: Scored) -> dict[str, float]:
    """Return the AUC inside the groups of the judged side with its interval, if there are groups.

    The keys are `<side>_within_auc`, `..._low` and `..._high`.
    """
    if (groups := scored.groups()) is None:
        return {}
    inside = metrics.within_group_auc(*scored.labels_scores(), groups)
    return with_ends(f"{scored.judged_on}_within_auc", inside.auc) if inside else {}


def with_ends(name: str, interval: metrics.Interval) -> dict[str, float]:
    """Return the columns of an interval: `<name>`, `<name>_low` and `<name>_high`."""
    return dict(zip((name, f"{name}_low", f"{name}_high"), interval, strict=True))


def _names(model: Model) -> dict[str, Any]:
    return {"model": model.slug, "title": model.title, "kind": model.kind}


def _judged(scored: Scored, bad_rate: float) -> tuple[float, dict[str, metrics.Interval]]:
    """Return the threshold for test, and each metric with its interval; F1 has none."""
    val, blocks = scored.labels_scores("val"), scored.blocks("val")
    best = operating_point.most_accurate_threshold(*val, float(val[0].mean()))
    threshold = operating_point.most_accurate_threshold(*val, bad_rate)
    measured = {
        "val_accuracy": _accuracy(*val, best, blocks),
        "val_auc": metrics.auc_interval(*val, blocks),
    }
    if scored.judged_on == "test":
        test, blocks = scored.labels_scores("test"), scored.blocks("test")
        measured["test_auc"] = metrics.auc_interval(*test, blocks)
        measured["test_accuracy"] = _accuracy(*test, threshold, blocks)
        measured["test_f1"] = metrics.Interval(metrics.f1(*test, threshold), np.nan, np.nan)
    return threshold, measured


def _accuracy(
    labels: np.ndarray, scores: np.ndarray, threshold: float, groups: np.ndarray | None
) -> metrics.Interval:
    return metrics.rate_interval((scores >= threshold) == labels, groups)


def training_bad_rate(split: pd.DataFrame) -> float:
    """Return the fraction of bad parts on the line, from training and validation together.

    Validation may be balanced, and training then lacks the parts that it took.
    """
    return float(split.loc[split.split.isin(["train", "val"]), "label"].mean())


def best_model(table: pd.DataFrame) -> str:
    """Return the model with the best validation AUC; the first of equals.

    References are left out if there is anything else. If there are cross-fitted models, it is one
    of these: their AUC is that of out-of-fold scores of all training and validation images, and the
    others' is that of the first fold, which may have chosen their epoch.
    """
    rows = rivals(table)
    return str(rows.model[rows.val_auc.idxmax()])


def rivals(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows among which `best_model` chooses."""
    rows = table[table.kind != "reference"]
    rows = rows if len(rows) else table[table.model != "majority"]
    return rows[rows.n_val == rows.n_val.max()]
