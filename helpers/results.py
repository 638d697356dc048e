"""Predictions files, and the table that is made of them alone.

A model is a file `predictions/<model>.csv`; a file that a user writes by hand becomes a row like
any other. Test labels enter here and in what is made of these rows, after everything is chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers import artifacts, config, metrics, operating_point, stages, submission
from helpers.captions import caption as caption  # of the tables
from helpers.names import display_name, further_seed_of, order
from helpers.paths import RunPaths

RESAMPLES = 1000
SIDES = ("train", "val", "test")


@dataclass(frozen=True)
class Scored:
    """One predictions file with the labels beside it."""

    name: str
    val: pd.DataFrame  # id, label, defect_score
    test: pd.DataFrame  # label is missing where hidden

    @property
    def judged_on(self) -> str:
        """`test`, or `val` where the test labels are hidden or of one class."""
        return "test" if self.test.label.dropna().nunique() == 2 else "val"

    def labels_scores(self, side: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Labels (N,) and scores (N,) of the labelled parts of `side`; "" is `judged_on`."""
        frame = {"val": self.val, "test": self.test}[side or self.judged_on]
        frame = frame[frame.label.notna()]
        return (
            frame.label.to_numpy(dtype=np.int64),
            frame.defect_score.to_numpy(dtype=np.float64),
        )


def save_predictions(path: Path, table: pd.DataFrame, scores: np.ndarray) -> None:
    """Write `id, split, defect_score` of the validation and test rows of a table.

    `scores` (N,) belong to the table's rows in their order.
    """
    artifacts.save_csv(path, predictions_frame(table, scores))


def predictions_frame(table: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """What `save_predictions` writes."""
    frame = pd.DataFrame({"id": table.id, "split": table.split, "defect_score": scores})
    return frame[frame.split.isin(["val", "test"])]


def read_split(run_paths: RunPaths) -> pd.DataFrame:
    """split.csv with ids as text and labels that may be missing.

    Raises:
        ArtifactError: the first line that is not that of an image on a side of the split.
    """
    path = run_paths.split_csv
    frame = artifacts.load_csv(path, ("id", "path", "label", "split"), dtype={"label": str})
    labels = pd.to_numeric(frame.label, errors="coerce")
    checks = {
        "no id": frame.id.isna(),
        "no path": frame.path.isna(),
        "an id that stands there before": frame.id.duplicated(),
        "a label other than 0, 1 and empty": frame.label.notna() & ~labels.isin([0, 1]),
        "an unknown split": ~frame.split.isin([*SIDES, "excluded"]),
    }
    for problem, wrong in checks.items():
        if wrong.any():
            line = artifacts.line_of(path, int(np.flatnonzero(wrong)[0]))
            raise artifacts.ArtifactError(f"{path}, line {line}, has {problem}; run notebook 01")
    return frame.assign(label=labels.astype("Int64"))


def read_predictions(path: Path, split: pd.DataFrame) -> Scored:
    """A predictions file, checked against the split, joined with the labels.

    Raises:
        ArtifactError: wrong columns, ids missing, doubled or unknown, scores outside [0, 1].
    """
    if path.stem == "majority":
        raise artifacts.ArtifactError(
            f"{path}: 'majority' is the table's baseline row; give the file another name"
        )
    frame = artifacts.load_csv(path, ("id", "split", "defect_score"))
    scores = pd.to_numeric(frame.defect_score, errors="coerce").astype(np.float64)
    checks = {
        "defect_score {defect_score} is not a number from 0 to 1": ~scores.between(0, 1),
        "the id is missing": frame.id.isna(),
        "id {id!r} occurs twice": frame.id.duplicated(),
        "{id!r} is no {split} id: it does not belong to this split": _is_foreign(frame, split),
    }
    for problem, wrong in checks.items():
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise artifacts.ArtifactError(
                f"{path}, line {artifacts.line_of(path, row)}: {problem.format(**frame.iloc[row])}"
            )
    sides = {}
    for side in ("val", "test"):
        labels = split.loc[split.split == side, ["id", "label"]]
        missing = sorted(set(labels.id) - set(frame.loc[frame.split == side, "id"]))
        if missing:
            raise artifacts.ArtifactError(
                f"{path} lacks {len(missing)} {side} id(s), e.g. {missing[0]!r}; it does not "
                "belong to this split"
            )
        joined = labels.merge(frame.assign(defect_score=scores)[["id", "defect_score"]], on="id")
        sides[side] = joined
    return Scored(path.stem, sides["val"], sides["test"])


def _is_foreign(frame: pd.DataFrame, split: pd.DataFrame) -> pd.Series:
    """Whether a row of validation or test has an id that does not stand there in the split."""
    side = frame.id.map(split.set_index("id").split)
    return frame.split.isin(["val", "test"]) & (side != frame.split)


def read_all_predictions(run_paths: RunPaths, ensembles: bool = False) -> dict[str, Scored]:
    """All models of a run by name, in the table's order.

    Ensembles are left out unless asked for: they are made anew whenever the models change.

    Raises:
        ArtifactError: no predictions, or a file that does not fit the split.
    """
    split = read_split(run_paths)
    files = {path.stem: path for path in run_paths.predictions_root.glob("*.csv")}
    names = [name for name in files if ensembles or name not in config.ENSEMBLES]
    if not names:
        raise artifacts.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return {name: read_predictions(files[name], split) for name in sorted(names, key=order)}


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
        raise config.SettingsError(f"MODEL={wanted!r} has no predictions: {', '.join(known)}")
    return wanted


def write_submission(run_paths: RunPaths, model: str) -> Path:
    """The contest's CSV of one model (its first seed), checked before it is written."""
    test = read_predictions(run_paths.predictions(model), read_split(run_paths)).test
    split = read_split(run_paths)
    wanted = split.id[split.split == "test"].tolist()
    submission.write_submission(run_paths.submission, test.id, test.defect_score, wanted)
    return run_paths.submission


def with_settings(table: pd.DataFrame, stage: stages.Stage) -> pd.DataFrame:
    """A table that says, in columns of its own, what a CSV taken out of its folder must say."""
    backbone = stage.notes.get("backbone") or "none"
    return table.assign(run=stage.paths.name, preset=stage.preset, backbone=backbone)


def save_table(stage: stages.Stage, name: str, table: pd.DataFrame) -> None:
    """Write a table as an output of the stage, with the columns of `with_settings`."""
    artifacts.save_csv(stage.output(stage.paths.table(name)), with_settings(table, stage))


def _interval(
    name: str, labels: np.ndarray, scores: np.ndarray, metric: metrics.Metric, seed: int
) -> dict[str, float]:
    found = metrics.bootstrap_interval(labels, scores, metric, RESAMPLES, seed)
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
