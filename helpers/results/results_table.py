"""The results table: one row per model, made from the predictions files of a run alone.

A model is a file `predictions/<model>.csv`; a file that a user writes by hand becomes a row like
any other. Test labels are used here and in what is made of these rows, after every choice was made
on validation. `report_table` formats the table for the eye.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from helpers.core import metrics
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.models import names
from helpers.results import comparison, operating_point
from helpers.results.predictions import Scored
from helpers.runs import costs, record, stages
from helpers.runs.run_models import read_all_predictions


def results_table(run_paths: RunPaths, ensembles: bool = False, until: str = "") -> pd.DataFrame:
    """Return one row per model in the report's order, and the majority baseline at the end.

    The columns are those of `evaluate_model`, as fractions. The baseline calls every part by the
    training set's larger class. `ensembles` includes those of notebook 06; `until` names a stage:
    models of later ones are left out.

    Example:
        table = results_table(run_paths)
        table.set_index("model").test_auc["fbp"]
    """
    split = read_split(run_paths.split_csv)
    bad_rate = training_bad_rate(split)
    later = record.models_of_later_stages(run_paths, until) if until else set()
    scored = read_all_predictions(run_paths, ensembles)
    rows = [evaluate_model(own, bad_rate) for k, own in scored.items() if k not in later]
    labels = {side: own.dropna().astype(int) for side, own in split.groupby("split").label}
    call = int(labels["train"].mode().iloc[0])
    majority: dict[str, Any] = {"model": "majority", "val_auc": 0.5}
    majority["val_accuracy"] = float((labels["val"] == call).mean())
    if "test" in labels and (test := labels["test"]).nunique() == 2:
        majority |= {"test_auc": 0.5, "test_accuracy": float((test == call).mean())}
        majority["test_f1"] = metrics.f1(test, np.full(len(test), float(call)))
    return pd.DataFrame([*rows, majority])


def whole_table(run_paths: RunPaths) -> pd.DataFrame:
    """Return `results_table` with ensembles, costs, and the comparison with the best row.

    The added columns are those of `costs.training_cost`, and `difference`, `p_value` and `p_holm`
    of the AUC against the best row by validation AUC (`comparison.compare_with`).
    """
    table = results_table(run_paths, ensembles=True)
    run = stages.load_run(run_paths)
    cost = pd.DataFrame([costs.training_cost(run_paths, run, name) for name in table.model])
    scored = read_all_predictions(run_paths, ensembles=True)
    compared = comparison.compare_with(scored, best_model(table))
    columns = ["model", "difference", "p_value", "p_holm"]
    return pd.concat([table, cost], axis=1).merge(compared[columns], on="model", how="left")


def evaluate_model(scored: Scored, bad_rate: float) -> dict[str, Any]:
    """Return the row of one model.

    It has `model, threshold, n_val` (labelled validation images), and with 95 % intervals
    `val_accuracy, val_auc, test_auc, test_within_auc, test_accuracy`; `test_f1` has none.

    Validation accuracy is that of the best threshold on validation and so a little too good. The
    threshold for test is chosen on validation too, with good and bad parts weighted as on the line
    (`bad_rate`), because validation is balanced and the line is not. There are no test columns if
    labels are hidden or of one class. If the split keeps groups apart, the intervals take groups
    as the units, not images; if there are groups at all, `test_within_auc` is the AUC inside them.

    The row of a model of several trainings also has their number `members`, what they are
    (`averaged`, such as "5 folds"), and for each metric `<metric>_mean` and `<metric>_std` over the
    single trainings: on validation each has its own fold, if it has one.
    """
    threshold, found = _judged(scored, bad_rate)
    row: dict[str, Any] = {"model": scored.name, "threshold": threshold}
    row["n_val"] = int(scored.val.label.notna().sum())
    for name, one in found.items():
        row[name] = one.estimate
        if name != "test_f1":
            row |= {f"{name}_low": one.low, f"{name}_high": one.high}
    row |= within_groups(scored)
    if scored.members:
        row |= {"members": len(scored.members), "averaged": scored.model.averaged}
        each = [_judged(one, bad_rate)[1] for one in scored.members]
        single = pd.DataFrame([{k: found.estimate for k, found in one.items()} for one in each])
        row |= single.mean().add_suffix("_mean").to_dict()
        row |= single.std(ddof=1).add_suffix("_std").to_dict()
    return row


def within_groups(scored: Scored) -> dict[str, float]:
    """Return the AUC inside the groups of the judged side with its interval, if there are groups.

    The keys are `<side>_within_auc`, `..._low` and `..._high`.
    """
    if (groups := scored.groups()) is None:
        return {}
    found = metrics.within_group_auc(*scored.labels_scores(), groups)
    if found is None:
        return {}
    name = f"{scored.judged_on}_within_auc"
    return {name: found.auc.estimate, f"{name}_low": found.auc.low, f"{name}_high": found.auc.high}


def _judged(scored: Scored, bad_rate: float) -> tuple[float, dict[str, metrics.Interval]]:
    """Return the threshold for test, and each metric with its interval; F1 has none."""
    val, blocks = scored.labels_scores("val"), scored.blocks("val")
    best = operating_point.most_accurate_threshold(*val, float(val[0].mean()))
    threshold = operating_point.most_accurate_threshold(*val, bad_rate)
    found = {
        "val_accuracy": _accuracy(*val, best, blocks),
        "val_auc": metrics.auc_interval(*val, blocks),
    }
    if scored.judged_on == "test":
        test, blocks = scored.labels_scores("test"), scored.blocks("test")
        found["test_auc"] = metrics.auc_interval(*test, blocks)
        found["test_accuracy"] = _accuracy(*test, threshold, blocks)
        found["test_f1"] = metrics.Interval(metrics.f1(*test, threshold), np.nan, np.nan)
    return threshold, found


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

    If there are cross-fitted models, it is one of these: their AUC is that of out-of-fold scores of
    all training and validation images, and the others' is that of the first fold, which may have
    chosen their epoch.
    """
    models = table[table.model != "majority"].reset_index(drop=True)
    models = models[models.n_val == models.n_val.max()]
    return str(models.model[models.val_auc.idxmax()])


def chosen_model(table: pd.DataFrame, wanted: str = "") -> str:
    """Return the model that `names.chosen` finds, or for "" the best model on validation."""
    models = table.model[table.model != "majority"]
    return names.chosen(wanted, list(models)) if wanted else best_model(table)
