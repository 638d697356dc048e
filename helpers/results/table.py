"""Predictions files, and the table that is made of them alone.

A model is a file `predictions/<model>.csv`; a file that a user writes by hand becomes a row like
any other. Test labels enter here and in what is made of these rows, after everything is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.core.paths import RunPaths
from helpers.results import metrics, operating_point, submission
from helpers.runs import settings
from helpers.runs.captions import caption as caption
from helpers.runs.names import display_name, further_seed_of, order
from helpers.runs.predictions import Scored, read_all_predictions, read_predictions, read_split

RESAMPLES = 1000


def evaluate_model(scored: Scored, bad_rate: float, seed: int = 0) -> dict[str, Any]:
    """Validation and test numbers of one model, as fractions, with 95 % bootstrap intervals.

    Validation accuracy is that of the best threshold on validation, and so a little too good. The
    threshold for test is chosen on validation too, with good and bad parts weighed as they come
    (`bad_rate`), since validation is balanced and the line is not. Test columns are missing where
    labels are hidden or of one class.
    """
    val_labels, val_scores = scored.labels_scores("val")
    best = operating_point.best_threshold(val_labels, val_scores)
    threshold = operating_point.cheapest_threshold(val_labels, val_scores, 1, 1, bad_rate)

    def accuracy_at(cut: float) -> metrics.Metric:
        """The metric "accuracy when parts from `cut` on are called bad"."""
        return lambda labels, scores: metrics.accuracy(labels, scores, cut)

    row = {"model": scored.name, "threshold": threshold}
    row |= _interval("val_accuracy", val_labels, val_scores, accuracy_at(best), seed)
    row |= _interval("val_auc", val_labels, val_scores, metrics.roc_auc, seed)
    if scored.judged_on == "test":
        labels, scores = scored.labels_scores("test")
        row |= _interval("test_auc", labels, scores, metrics.roc_auc, seed)
        row |= _interval("test_accuracy", labels, scores, accuracy_at(threshold), seed)
        row["test_f1"] = metrics.f1(labels, scores, threshold)
    return row


def without_further_seeds(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Each model once: its first seed, and the average of its seeds; the best seed is luck."""
    return {n: one for n, one in scored.items() if further_seed_of(n) not in scored}


def results_table(run_paths: RunPaths, seed: int = 0, ensembles: bool = False) -> pd.DataFrame:
    """One row per model in the report's order, and the majority baseline at the end.

    A model is a predictions file; `x.csv`, `x_seed1.csv`, ... are one model trained with several
    seeds, whose row holds the means, and standard deviations in columns ending in `_std`.
    """
    scored = read_all_predictions(run_paths, ensembles)
    split = read_split(run_paths)
    bad_rate = training_bad_rate(split)
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in sorted(scored, key=order):
        first = further_seed_of(name)
        model = first if first in scored else name
        groups.setdefault(model, []).append(evaluate_model(scored[name], bad_rate, seed))
    rows = [_over_seeds(group) for group in groups.values()]
    return pd.DataFrame([*rows, majority_row(split)])


def training_bad_rate(split: pd.DataFrame) -> float:
    """The fraction of bad parts as they come, in training and validation together.

    Validation is balanced, and training lacks the parts that this took.
    """
    return float(split.loc[split.split.isin(["train", "val"]), "label"].mean())


def _over_seeds(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """One row of several seeds': means (also of the bounds), the first's name and threshold."""
    if len(rows) == 1:
        return rows[0]
    frame = pd.DataFrame(rows).drop(columns=["model", "threshold"])
    spread = frame[[c for c in frame if not c.endswith(("_low", "_high"))]].std(ddof=1)
    kept = {key: rows[0][key] for key in ("model", "threshold")}
    kept |= {"seeds": len(rows), "val_auc_first": rows[0]["val_auc"]}
    return kept | frame.mean().to_dict() | spread.add_suffix("_std").to_dict()


def majority_row(split: pd.DataFrame) -> dict[str, Any]:
    """What calling every part by the training set's larger class gives."""
    label = int(split.loc[split.split == "train", "label"].mode().iloc[0])
    row: dict[str, Any] = {"model": "majority", "val_auc": 0.5}
    val = split.loc[split.split == "val", "label"]
    row["val_accuracy"] = float((val == label).mean())
    test = split.loc[(split.split == "test") & split.label.notna(), "label"]
    if test.nunique() == 2:
        row["test_auc"] = 0.5
        row["test_accuracy"] = float((test == label).mean())
        row["test_f1"] = metrics.f1(test.astype(int), np.full(len(test), float(label)))
    return row


def best_model(table: pd.DataFrame) -> str:
    """The model of the best validation AUC; the first of equals.

    A model's file is what is submitted and looked into, so of several seeds, which the table shows
    as their mean, the first one's AUC counts.
    """
    models = table[table.model != "majority"].reset_index(drop=True)
    aucs = models.get("val_auc_first", models.val_auc).fillna(models.val_auc)
    return str(models.model[aucs.idxmax()])


def chosen_model(table: pd.DataFrame, wanted: str = "") -> str:
    """The model asked for, by its file's name or the table's; of "" the best on validation.

    Raises:
        SettingsError: no row of the table is called so.
    """
    if not wanted:
        return best_model(table)
    known = [name for name in table.model if name != "majority"]
    wanted = {display_name(name): name for name in known}.get(wanted, wanted)
    if wanted not in known:
        raise settings.SettingsError(f"MODEL={wanted!r} has no predictions: {', '.join(known)}")
    return wanted


def write_submission(run_paths: RunPaths, model: str) -> Path:
    """The contest's CSV of one model (its first seed), checked before it is written."""
    test = read_predictions(run_paths.predictions(model), read_split(run_paths)).test
    split = read_split(run_paths)
    wanted = split.id[split.split == "test"].tolist()
    submission.write_submission(run_paths.submission, test.id, test.defect_score, wanted)
    return run_paths.submission


def _interval(
    name: str, labels: np.ndarray, scores: np.ndarray, metric: metrics.Metric, seed: int
) -> dict[str, float]:
    found = metrics.bootstrap_interval(labels, scores, metric, RESAMPLES, seed)
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
