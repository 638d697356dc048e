"""The scores of a run's models: of their trainings, of a whole run, and of two runs beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.members import Member
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.models.record import Model
from helpers.results import out_of_fold
from helpers.results.out_of_fold import SEEN, UNSEEN, OutOfFold
from helpers.results.predictions import Scored, read_predictions
from helpers.runs.record import check_run_name, load_run
from helpers.runs.settings import ANALYSIS


def joined(scores: Mapping[Member, pd.DataFrame]) -> pd.DataFrame:
    """Return the content of a predictions file from the scores of a model's members."""
    several = len({member.seed for member in scores}) > 1
    blocks = []
    for member, block in scores.items():
        seed = {"seed": member.seed} if several else {}
        fold = {} if member.fold is None else {"fold": member.fold}
        blocks.append(block.assign(**seed, **fold))
    return pd.concat(blocks, ignore_index=True)


def read_models(run_paths: RunPaths, until: str = "") -> dict[str, Scored]:
    """Load the scores of all models of a run by slug, in the table's order.

    `until` names a notebook: models of later ones are left out. A file that the run has not made is
    a model of the user's, called as its file; if it does not fit the split, it is left out with a
    line that says why.
    """
    split = read_split(run_paths.split_csv)
    made = load_run(run_paths).get("models", {})
    models = {
        name: Model.from_json(made[name]["model"]) if name in made else Model(name)
        for name in (path.stem for path in run_paths.predictions_root.glob("*.csv"))
        if name not in made or not until or made[name]["stage"] <= until
    }
    found = {}
    for name, model in sorted(models.items(), key=lambda item: item[1].order):
        try:
            found[name] = read_predictions(run_paths.predictions(name), split, model)
        except files.ArtifactError as error:
            if name in made:
                raise
            print(f"left out: {error}")
    if not found:
        raise files.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return found


def out_of_fold_scores(run_paths: RunPaths, other: str = "") -> OutOfFold:
    """Return the scores of all images by the models of a run without a test set.

    If an `other` run is named, return those of both; they may differ in the kind of folds alone.
    """
    runs = [run_paths, *([RunPaths(other)] if other else [])]
    splits = [split_without_test(run) for run in runs]
    if other:
        out_of_fold.refuse_unlike(other, splits, [_settings(run) for run in runs])
    return out_of_fold.of_runs(
        {
            UNSEEN if keeps_groups_apart(split) else SEEN: (split, read_models(run))
            for run, split in zip(runs, splits, strict=True)
        }
    )


def split_without_test(run_paths: RunPaths) -> pd.DataFrame:
    """Return the images of a run that are in folds; raise SettingsError if it has a test set."""
    check_run_name(name := run_paths.name)
    if not run_paths.split_csv.is_file():
        raise SettingsError(f"COMPARE_RUN: run {name!r} has no split; run its notebook 01")
    return out_of_fold.without_test(read_split(run_paths.split_csv), name)


def _settings(run_paths: RunPaths) -> dict[str, dict[str, Any]]:
    """Return the settings of the notebooks before 06, with backbone and weights that were used."""
    return {
        name: entry.get("settings", {})
        | {fact: entry[fact] for fact in ("backbone", "weights") if fact in entry}
        for name, entry in load_run(run_paths).get("stages", {}).items()
        if name < ANALYSIS
    }
