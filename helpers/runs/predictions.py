"""Predictions files: a model's defect scores of the validation and test images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import files as artifacts
from helpers.core.paths import RunPaths
from helpers.runs import settings
from helpers.runs.names import order

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


def save_predictions(path: Path, table: pd.DataFrame, scores: Any) -> None:
    """Write `id, split, defect_score` of the validation and test rows of a table.

    `scores` (N,) belong to the table's rows in their order.
    """
    if isinstance(scores, dict):
        (scores,) = scores.values()
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
    names = [name for name in files if ensembles or name not in settings.ENSEMBLES]
    if not names:
        raise artifacts.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return {name: read_predictions(files[name], split) for name in sorted(names, key=order)}
