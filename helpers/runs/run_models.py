"""The models of a run: all predictions files that it holds."""

from __future__ import annotations

from collections.abc import Sequence

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.datasets.split_file import read_split
from helpers.models.names import ENSEMBLES, chosen, model_of, order
from helpers.results.predictions import Scored, read_predictions


def check_model(run_paths: RunPaths, wanted: str, coming: Sequence[str] = ()) -> None:
    """Refuse a model that the run neither has nor may get; "" is the best one.

    Args:
        coming: the models that it may get, without the ensembles.
    """
    there = {path.stem for path in run_paths.predictions_root.glob("*.csv")}
    if wanted:
        chosen(wanted, sorted(there | {*coming, *ENSEMBLES}, key=order))


def read_all_predictions(run_paths: RunPaths, ensembles: bool = False) -> dict[str, Scored]:
    """Load all models of a run by name, in the table's order.

    Ensembles are left out unless asked for: they are made again whenever the models change.

    Raises:
        ArtifactError: there are no predictions, or a file does not fit the split.
    """
    split = read_split(run_paths.split_csv)
    found = {path.stem: path for path in run_paths.predictions_root.glob("*.csv")}
    names = [name for name in found if ensembles or name not in ENSEMBLES]
    if not names:
        raise files.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return {
        name: read_predictions(found[name], split, model_of(name))
        for name in sorted(names, key=order)
    }
