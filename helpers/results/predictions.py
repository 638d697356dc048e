"""Predictions files: a model's defect scores of the validation and test images.

A file has the columns `id, split, defect_score`. A model of several trainings has one block of rows
for each, named by the columns `seed` and `fold`; an image's score is the mean over its blocks. The
validation rows of a block with a fold are the images of that fold, which its training has not seen,
so a cross-fitted model has a score for every training and validation image.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.core.members import CALIBRATION_FOLD, Member, folds_of, sides
from helpers.core.rules import SettingsError
from helpers.core.style import OUT_OF_FOLD, SIDES
from helpers.datasets.split_file import keeps_groups_apart
from helpers.models.record import Model
from helpers.results.submission import NO_SCORE

JUDGED = "judged"  # the side that judges a model: test, or validation if test labels are hidden


@dataclass(frozen=True)
class Scored:
    """The scores of one model, with the labels beside them."""

    model: Model  # with the trainings that are averaged
    # images it was not trained on, in the split's order (all of training and validation if it is
    # cross-fitted): id, label, defect_score, and group if the split has it
    val: pd.DataFrame
    test: pd.DataFrame  # as val; the label is missing if it is hidden
    members: tuple["Scored", ...] = ()  # each training's own scores; empty if there is one
    groups_apart: bool = False  # True if no group of the split is in test and outside of it
    whole: "Scored | None" = None  # of `deployed`: the model with the images of all folds

    @property
    def name(self) -> str:
        """Return the name of the model's files."""
        return self.model.slug

    @property
    def title(self) -> str:
        """Return the name for legends; it says what was averaged."""
        return self.model.title + (f", {self.averaged} averaged" if self.averaged else "")

    @property
    def averaged(self) -> str:
        """Return what a score averages, see `Model`; without a test set only seeds count."""
        members = self.model.members
        if self.test.empty:
            members = tuple(Member(member.seed) for member in members)
        return dataclasses.replace(self.model, members=members).averaged

    @property
    def judged_on(self) -> str:
        """Return `test`, or `val` if the test labels are hidden or of one class."""
        return "test" if self.test.label.dropna().nunique() == 2 else "val"

    @property
    def judged_by(self) -> str:
        """Return the scores that judge it: "test", "validation", or "out-of-fold" (no test set)."""
        return OUT_OF_FOLD if self.test.empty else SIDES[self.judged_on]

    def labelled(self, side: str = JUDGED) -> pd.DataFrame:
        """Return the labelled images of "val", "test" or the side of `judged_on`."""
        frame = {"val": self.val, "test": self.test}[self.judged_on if side == JUDGED else side]
        return frame[frame.label.notna()]

    def labels_scores(self, side: str = JUDGED) -> tuple[np.ndarray, np.ndarray]:
        """Return labels (N,) and scores (N,) of the labelled images."""
        frame = self.labelled(side)
        return frame.label.to_numpy(np.int64), frame.defect_score.to_numpy(np.float64)

    def groups(self, side: str = JUDGED) -> np.ndarray | None:
        """Return the groups (N,) of the labelled images (some missing), or None without groups."""
        frame = self.labelled(side)
        return frame.group.to_numpy() if "group" in frame else None

    def blocks(self, side: str = JUDGED) -> np.ndarray | None:
        """Return `groups` if the split keeps them apart (units of intervals, folds), else None."""
        return self.groups(side) if self.groups_apart else None

    @property
    def deployed(self) -> "Scored":
        """Return the model for new images: thresholds chosen on its `val` keep their promise.

        It averages the trainings that have not seen the calibration fold, if there are any.
        """
        blind = tuple(part for part in self.members if part.calibration_fold == CALIBRATION_FOLD)
        if not blind:
            return self

        def mean(side: str) -> pd.DataFrame:
            scores = np.mean([getattr(part, side).defect_score for part in blind], axis=0)
            return getattr(blind[0], side).assign(defect_score=scores)

        members = tuple(part.model.members[0] for part in blind)
        model = dataclasses.replace(self.model, members=members)
        parts = blind if len(blind) > 1 else ()
        return dataclasses.replace(
            self, model=model, val=mean("val"), test=mean("test"), members=parts, whole=self
        )

    @property
    def calibration_fold(self) -> int | None:
        """Return the fold that no member has seen; None if trainings have no folds, or several."""
        folds = {member.fold for member in self.model.members}
        return folds.pop() if len(folds) == 1 else None


def common(scored: Mapping[str, Scored]) -> dict[str, Scored]:
    """Return the models with the validation images that all of them have scored, in one order."""
    tables = {name: model.val.set_index("id") for name, model in scored.items()}
    first, *others = tables.values()
    ids = [name for name in first.index if all(name in table.index for table in others)]
    return {
        name: dataclasses.replace(model, val=tables[name].loc[ids].reset_index())
        for name, model in scored.items()
    }


def chosen(scored: Mapping[str, Scored], wanted: str) -> str:
    """Return the name of the model called `wanted`, by its file's name or as a table shows it."""
    titles = {
        title: name for name, model in scored.items() for title in (model.title, model.model.title)
    }
    name = titles.get(wanted, wanted)
    if name not in scored:
        raise SettingsError(f"MODEL={wanted!r} is not one of {', '.join(scored)}")
    return name


def predictions_frame(table: pd.DataFrame, scores: np.ndarray) -> pd.DataFrame:
    """Return the predictions file of one training: `scores` (N,) of the `table`'s val and test."""
    frame = pd.DataFrame({"id": table.id, "split": table.split, "defect_score": scores})
    return frame[frame.split.isin(["val", "test"])]


def read_predictions(path: Path, split: pd.DataFrame, model: Model | None = None) -> Scored:
    """Load a predictions file, and check it; without `model` it is named after the file."""
    if path.stem == "majority":
        way_out = "give the file another name"
        raise files.ArtifactError(f"{path}: 'majority' is the table's baseline row; {way_out}")
    frame = files.load_csv(path, ("id", "split", "defect_score"))
    named = [column for column in Member._fields if column in frame]
    numbers = frame[["defect_score", *named]].apply(pd.to_numeric, errors="coerce")
    values = frame[["id", "split"]].join(numbers.astype(np.float64))
    # the images that a training has not seen: of the split, or of each fold
    folds = folds_of(split) if "fold" in named else [None]
    unseen = pd.concat(sides(split, fold)[["id", "split"]].assign(fold=fold) for fold in folds)
    unseen = unseen[unseen.split.isin(["val", "test"])]
    place = ["id", "split", *({"fold"} & {*named})]
    known = pd.MultiIndex.from_frame(values[place]).isin(pd.MultiIndex.from_frame(unseen[place]))
    judged, again = frame.split.isin(["val", "test"]), "; make the predictions again"
    seen = "fold {fold}" if "fold" in named else "this split"
    twice = "id {id!r} occurs twice; keep one row for each image, seed and fold"
    checks = {NO_SCORE: ~values.defect_score.between(0, 1)}
    checks[twice] = values.duplicated(["id", *named])
    if "seed" in named:
        bad = ~((values.seed >= 0) & (values.seed % 1 == 0))
        checks["the seed is not a whole number from 0; write one, or leave the column out"] = bad
    checks[f"{{id!r}} is not a {{split}} id of {seen}{again}"] = judged & ~known
    files.refuse_marked(path, frame, checks)
    values = values[judged]
    wanted = (
        unseen.merge(values[["seed"]].drop_duplicates(), "cross") if "seed" in named else unseen
    )
    lacking = wanted.merge(values, "left", ["id", "split", *named])
    lacking = lacking[lacking.defect_score.isna()]
    if len(lacking):
        first = lacking.iloc[0]
        whose = "".join(f", {column} {first[column]:.0f}" for column in named)
        raise files.ArtifactError(
            f"{path} lacks {len(lacking)} id(s), e.g. {first.id!r} ({first.split}{whose}); write a "
            "row for each validation and test image of split.csv, and for each fold"
        )
    return scored_of(values, split, model or Model(path.stem))


def scored_of(rows: pd.DataFrame, split: pd.DataFrame, model: Model) -> Scored:
    """Return the content of a predictions file with the labels beside it.

    The model's members are the trainings that the columns `seed` and `fold` name, if any.
    """
    named, groups_apart = not {*Member._fields}.isdisjoint(rows), keeps_groups_apart(split)
    columns = ["id", "label", *({"group"} & {*split})]

    def joined(rows: pd.DataFrame, *members: Member) -> Scored:
        tables = {}
        for side in ("val", "test"):
            scores = rows[rows.split == side].groupby("id").defect_score.mean()
            table = split.loc[split.id.isin(scores.index), columns].reset_index(drop=True)
            table.insert(2, "defect_score", table.id.map(scores).astype(np.float64))
            tables[side] = table
        whose = dataclasses.replace(model, members=members if named else ())
        return Scored(whose, tables["val"], tables["test"], groups_apart=groups_apart)

    by = rows.assign(seed=rows.get("seed", 0), fold=rows.get("fold", np.nan))
    blocks = {
        Member(int(seed), None if pd.isna(fold) else int(fold)): block
        for (seed, fold), block in by.groupby([*Member._fields], dropna=False)
    }
    whole = joined(pd.concat(blocks.values()), *blocks)
    if len(blocks) < 2:
        return whole
    members = tuple(joined(block, member) for member, block in blocks.items())
    return dataclasses.replace(whole, members=members)
