"""The models of a run: all predictions files that it holds."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from helpers.core import files
from helpers.core.paths import RunPaths
from helpers.core.rules import SettingsError
from helpers.datasets.split_file import read_split
from helpers.models.record import ENSEMBLES, Model
from helpers.results.predictions import Scored, read_predictions
from helpers.runs import record


def check_model(run_paths: RunPaths, wanted: str, coming: Sequence[Model] = ()) -> None:
    """Refuse a model that the run neither has nor may get; "" is the best one.

    `wanted` is the name of its files or its title in tables; `coming` are the models that the run
    may get, without the ensembles.
    """
    models = [*models_of(run_paths).values(), *coming, *map(Model, ENSEMBLES)]
    known = {model.slug: model for model in sorted(models, key=lambda model: model.order)}
    titles = [model.title for model in known.values()]
    if wanted and not any(wanted == t or wanted.startswith(f"{t}, ") for t in [*known, *titles]):
        raise SettingsError(f"MODEL={wanted!r} is not one of {', '.join(known)}")


def models_of(run_paths: RunPaths) -> dict[str, Model]:
    """Return what is known of each predictions file of a run, in the table's order.

    A file that the run has not made is a user's own, called as its file.
    """
    recorded = record.load_run(run_paths).get("models", {})
    models = {}
    for path in run_paths.predictions_root.glob("*.csv"):
        about = recorded.get(path.stem)
        models[path.stem] = Model.from_json(about["model"]) if about else Model(path.stem)
    return dict(sorted(models.items(), key=lambda item: item[1].order))


def costs_of(run_paths: RunPaths, models: Sequence[str]) -> pd.DataFrame:
    """Return `model, parameters, seconds, device` of models; missing if unknown.

    Parameters are the trained ones of one network; seconds are the sum over a model's trainings.
    What the model builds on, such as features or the members of an ensemble, is not counted again.
    """
    known = record.load_run(run_paths).get("models", {})
    rows = [{"model": name, **known.get(name, {}).get("costs", {})} for name in models]
    return pd.DataFrame(rows, columns=["model", "parameters", "seconds", "device"])


def read_all_predictions(
    run_paths: RunPaths, ensembles: bool = False, until: str = ""
) -> dict[str, Scored]:
    """Load all models of a run by slug, in the table's order.

    Ensembles are left out unless asked for: they are made again whenever the models change. `until`
    names a stage: models of later ones are left out.

    Raises:
        ArtifactError: there are no predictions, or a file does not fit the split.
    """
    split = read_split(run_paths.split_csv)
    made = record.load_run(run_paths).get("models", {})
    later = {name for name, about in made.items() if until and about["stage"] > until}
    models = {
        name: model
        for name, model in models_of(run_paths).items()
        if name not in later and (ensembles or not model.is_ensemble)
    }
    if not models:
        raise files.ArtifactError(
            f"{run_paths.predictions_root} holds no predictions; run notebook 02 or 03 first"
        )
    return {
        name: read_predictions(run_paths.predictions(name), split, model)
        for name, model in models.items()
    }
