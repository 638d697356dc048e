"""Read two runs without a test set, to compare seen groups with unseen ones."""

from __future__ import annotations

from typing import Any

import pandas as pd

from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import keeps_groups_apart, read_split
from helpers.results import out_of_fold
from helpers.results.out_of_fold import SEEN, UNSEEN, OutOfFold
from helpers.runs.record import load_run
from helpers.runs.run import check_run_name
from helpers.runs.scores import read_models
from helpers.runs.settings import ANALYSIS


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
    check_run_name(run_paths.name)
    if not run_paths.split_csv.is_file():
        raise SettingsError(
            f"COMPARE_RUN: run {run_paths.name!r} has no split; run its notebook 01"
        )
    return out_of_fold.without_test(read_split(run_paths.split_csv), run_paths.name)


def _settings(run_paths: RunPaths) -> dict[str, dict[str, Any]]:
    """Return the settings of the notebooks before 06, with backbone and weights that were used."""
    return {
        name: entry.get("settings", {})
        | {fact: entry[fact] for fact in ("backbone", "weights") if fact in entry}
        for name, entry in load_run(run_paths).get("stages", {}).items()
        if name < ANALYSIS
    }
