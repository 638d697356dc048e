"""Predictions files: a model's defect scores of the validation and test images.

A file has the columns `id, split, defect_score`. A model that was trained with several seeds has
one block of rows per seed, named by a column `seed`; its scores are the mean over the seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.runs import settings
from helpers.runs.names import chosen, display_name, order

SIDES = ("train", "val", "test")


@dataclass(frozen=True)
class Scored:
    """The scores of one model, with the labels beside them.

    Example:
        model = read_predictions(run_paths.predictions("fbp"), read_split(run_paths))
        labels, scores = model.labels_scores("val")
    """

    name: str
    val: pd.DataFrame  # id, label, defect_score (the mean over the seeds)
    test: pd.DataFrame  # as val; the label is missing if it is hidden
    seeds: tuple[Scored, ...] = ()  # each seed's own scores, by seed; empty if there is one
    seed: int | None = None  # of one seed's scores, if the file names it

    @property
    def title(self) -> str:
        """The name for legends; it says how many seeds were averaged."""
        return display_name(self.name, len(self.seeds) or 1)

    @property
    def judged_on(self) -> str:
        """`test`, or `val` if the test labels are hidden or of one class."""
        return "test" if self.test.label.dropna().nunique() == 2 else "val"

    def labels_scores(self, side: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Return labels (N,) and scores (N,) of the labelled images of `side`.

        An empty `side` stands for `judged_on`.
        """
        frame = {"val": self.val, "test": self.test}[side or self.judged_on]
        frame = frame[frame.label.notna()]
        return frame.label.to_numpy(np.int64), frame.defect_score.to_numpy(np.float64)


def save_predictions(
    path: Path, table: pd.DataFrame, scores: np.ndarray | Mapping[int, np.ndarray]
) -> None:
    """Write the scores of the validation and test rows of a table; see `predictions_frame`.

    Example:
        save_predictions(run_paths.predictions("fbp"), split, {0: scores, 1: other_scores})
    """
    files.save_csv(path, predictions_frame(table, scores))


def predictions_frame(
    table: pd.DataFrame, scores: np.ndarray | Mapping[int, np.ndarray]
) -> pd.DataFrame:
    """Return the content of a predictions file.

    Args:
        table: has `id` and `split`; only validation and test rows are taken.
        scores: (N,) in the order of the table's rows, or one such array per seed. A single seed
            is written without the column `seed`.
    """
    if isinstance(scores, Mapping) and len(scores) > 1:
        blocks = [predictions_frame(table, own).assign(seed=k) for k, own in scores.items()]
        return pd.concat(blocks)
    own = next(iter(scores.values())) if isinstance(scores, Mapping) else scores
    frame = pd.DataFrame({"id": table.id, "split": table.split, "defect_score": own})
    return frame[frame.split.isin(["val", "test"])]


def read_split(run_paths: RunPaths) -> pd.DataFrame:
    """Load split.csv with ids as text and labels that may be missing.

    Raises:
        ArtifactError: a line is not that of an image on a side of the split; the first is named.
    """
    path = run_paths.split_csv
    frame = files.load_csv(path, ("id", "path", "label", "split"), text=["label"])
    labels = pd.to_numeric(frame.label, errors="coerce")
    checks = {
        "the id is missing": frame.id.isna(),
        "the path is missing": frame.path.isna(),
        "id {id!r} occurs twice": frame.id.duplicated(),
        "label {label!r} is not 0, 1 or empty": frame.label.notna() & ~labels.isin([0, 1]),
        "split {split!r} is unknown": ~frame.split.isin([*SIDES, "excluded"]),
    }
    _refuse_marked(path, frame, checks, "; run notebook 01")
    return frame.assign(label=labels.astype("Int64"))


def _refuse_marked(
    path: Path, frame: pd.DataFrame, checks: Mapping[str, pd.Series], way_out: str = ""
) -> None:
    """Raise an ArtifactError that names the first row of a CSV that one of the checks marks.

    `checks` maps a problem, in which a column may be named in braces, to the marked rows.
    """
    for problem, wrong in checks.items():
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            text = problem.format(**frame.iloc[row])
            raise files.ArtifactError(f"{path}, line {files.line_of(path, row)}: {text}{way_out}")


def read_predictions(path: Path, split: pd.DataFrame) -> Scored:
    """Load a predictions file, check it against the split, and join it with the labels.

    Raises:
        ArtifactError: a column is missing, a score is outside [0, 1], a seed is not a whole
            number, or a seed's ids are not exactly the split's. File and line are named.
    """
    if path.stem == "majority":
        raise files.ArtifactError(
            f"{path}: 'majority' is the table's baseline row; give the file another name"
        )
    frame = files.load_csv(path, ("id", "split", "defect_score"))
    scores = pd.to_numeric(frame.defect_score, errors="coerce").astype(np.float64)
    has_seeds = "seed" in frame
    named = frame.seed if has_seeds else pd.Series(0, frame.index)
    seeds = pd.to_numeric(named, errors="coerce").astype(np.float64)
    side = frame.id.map(split.set_index("id").split)
    checks = {
        "defect_score {defect_score} is not a number from 0 to 1; write a probability of bad": (
            ~scores.between(0, 1)
        ),
        "the seed is not a whole number from 0; write one, or leave the column out": (
            (seeds < 0) | (seeds % 1 != 0)
        ),
        "the id is missing; write the id of split.csv": frame.id.isna(),
        "id {id!r} occurs twice; keep one row for each image and seed": (
            pd.DataFrame({"id": frame.id, "seed": seeds}).duplicated()
        ),
        "{id!r} is not a {split} id of this split; make the predictions again": (
            frame.split.isin(["val", "test"]) & (side != frame.split)
        ),
    }
    _refuse_marked(path, frame, checks)
    frame = frame[["id", "split"]].assign(defect_score=scores, seed=seeds)
    found = []
    for seed, own in frame.groupby("seed") if len(frame) else [(0, frame)]:
        sides = []
        for side in ("val", "test"):
            wanted = split.loc[split.split == side, ["id", "label"]]
            missing = sorted(set(wanted.id) - set(own.id[own.split == side]))
            if missing:
                of_seed = f" of seed {int(seed)}" if has_seeds else ""
                raise files.ArtifactError(
                    f"{path} lacks {len(missing)} {side} id(s){of_seed}, e.g. {missing[0]!r}; "
                    "write a row for each validation and test image of split.csv"
                )
            sides.append(wanted.merge(own[["id", "defect_score"]], on="id"))
        number = int(seed) if has_seeds else None
        found.append(Scored(path.stem, sides[0], sides[1], seed=number))
    if len(found) == 1:
        return found[0]
    val = found[0].val.assign(defect_score=np.mean([s.val.defect_score for s in found], 0))
    test = found[0].test.assign(defect_score=np.mean([s.test.defect_score for s in found], 0))
    return Scored(path.stem, val, test, tuple(found))


def check_model(run_paths: RunPaths, wanted: str, coming: Sequence[str] = ()) -> None:
    """Refuse a model that the run neither has nor will have; "" is the best one.

    Args:
        coming: the models that are still to be made, without the ensembles.
    """
    there = {path.stem for path in run_paths.predictions_root.glob("*.csv")}
    if wanted:
        chosen(wanted, sorted(there | {*coming, *settings.ENSEMBLES}, key=order))


def read_all_predictions(run_paths: RunPaths, ensembles: bool = False) -> dict[str, Scored]:
    """Load all models of a run by name, in the table's order.

    Ensembles are left out unless asked for: they are made again whenever the models change.

    Raises:
        ArtifactError: there are no predictions, or a file does not fit the split.
    """
    split = read_split(run_paths)
    found = {path.stem: path for path in run_paths.predictions_root.glob("*.csv")}
    names = [name for name in found if ensembles or name not in settings.ENSEMBLES]
    if not names:
        raise files.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return {name: read_predictions(found[name], split) for name in sorted(names, key=order)}
