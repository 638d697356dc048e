"""Fit a run's models without a training loop: the classical ones, the priors, PatchCore.

    embedded = networks.embeddings(run, weights)
    fitted = classical.fit(run, classical.on(embedded, like=Model("lr")))
    fitted[Model("lr")][0].scores

A model is fitted once for each fold, and its scores become a row of the results.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import pandas as pd

from helpers.core import devices, files
from helpers.core.members import Member, cross_fitted, sides
from helpers.core.rules import SettingsError
from helpers.datasets.group_prior import group_prior
from helpers.datasets.split_file import keeps_groups_apart, waits_for
from helpers.models import backbones
from helpers.models.record import CLASSICAL, Model
from helpers.results.predictions import predictions_frame
from helpers.runs import networks
from helpers.runs.memo import Call, Run
from helpers.training import baselines, features, patchcore
from helpers.training.baselines import ScoredBaseline
from helpers.training.features import Features
from helpers.training.patchcore import NoMiddleLayersError

FOLDER = "classical"  # of the fitted models, in the run's folder
ByFold = Mapping[int | None, Features]  # embeddings for the model of each fold; None: of no fold


def on(embedded: Features | ByFold, like: Model) -> dict[Model, Features | ByFold]:
    """Return the four classical models on embeddings; `like` names backbone and features."""
    return {dataclasses.replace(like, base=name): embedded for name in CLASSICAL}


def brightness(run: Run) -> dict[Model, Features | ByFold]:
    """Return logistic regression on the mean gray value of each image."""
    images = run.images(run.settings.image_size_px)
    return {Model("lr", features="brightness"): features.brightness(run.split.id, images)}


def fit(run: Run, models: Mapping[Model, Features | ByFold]) -> dict[Model, list[ScoredBaseline]]:
    """Fit classical models side by side, once for each fold, and make them rows of the results."""
    settings, split = run.settings, run.split
    seen = networks.SEEN + (["group"] if keeps_groups_apart(split) else [])
    options = {name: getattr(settings, name) for name in ("folds", "trees", "seed", "cv_images")}
    calls = {
        model: {
            member: functools.partial(
                baselines.score_baseline,
                model.base.upper(),
                embedded if isinstance(embedded, Features) else embedded[member.fold],
                sides(split, member.fold)[seen],
                **options,
            )
            for member in cross_fitted(split, [settings.seed])
        }
        for model, embedded in models.items()
    }
    fitted = networks.each(run, calls, "classical models", FOLDER)
    for model, fits in fitted.items():
        networks.add_model(run, model, fits, device=devices.device_name(devices.default_device()))
    return {model: [*fits.values()] for model, fits in fitted.items()}


def add_group_prior(run: Run) -> None:
    """Make the bad rate of each image's group a row of the results, if there are groups."""
    if "group" in run.split and run.split.group.notna().any():
        scores = group_prior(run.split)
        blocks = {
            member: predictions_frame(sides(run.split, member.fold), scores)
            for member in cross_fitted(run.split, [run.settings.seed])
        }
        run.add_model(Model("module_prior", members=tuple(blocks)), networks.joined(blocks))


def fine_tuned(run: Run, model: Model) -> ByFold:
    """Return the embeddings of all images by FBP's first training of each fold, computed once.

    The classical model of a fold is fitted on those by the network that has not seen this fold.
    """
    settings = run.settings
    images = run.images(settings.image_size_px)
    members = cross_fitted(run.split, [settings.seed])
    names = {m: f"features/{model.slug}" + (f"_fold{m.fold}" if m.fold else "") for m in members}
    calls: dict[str, Call] = {}
    for member, name in names.items():
        file = run.paths.root / f"{networks.place(model, member)}.safetensors"
        network, ids = backbones.load_model(file), run.split[["id"]]
        calls[name] = functools.partial(
            features.embed_all, network, images, ids, precision=settings.precision
        )
    arrays = run.once_each(calls, "features")
    return {m.fold: Features.of_arrays(arrays[name]) for m, name in names.items()}


def patch_core(run: Run, weights: backbones.Weights) -> str:
    """Fit PatchCore for each fold, make it a row of the results, and return a sentence about it.

    Raises:
        SettingsError: the backbone does not fit PatchCore, the only model without bad parts.
    """
    settings, model = run.settings, Model("patchcore")
    images = run.images(settings.image_size_px)
    calls: dict[Member, Call] = {}
    for member in cross_fitted(run.split, [settings.seed]):
        table = sides(run.split, member.fold)[networks.SEEN]
        calls[member] = functools.partial(
            patchcore.fit, weights, images, table, settings.patchcore_share, settings.seed
        )
    try:
        fits = networks.each(run, {model: calls}, "PatchCore")[model]
    except NoMiddleLayersError as error:
        if waits_for(run.split):
            raise SettingsError(
                f"without bad parts PatchCore is the only model, and it cannot be fitted: {error}; "
                "choose another BACKBONE"
            ) from None
        return f"PatchCore is left out: {error}."
    networks.add_model(run, model, fits, device=devices.device_name(devices.default_device()))
    return patchcore.about(list(fits.values()))


def scores_by_size(run: Run) -> pd.DataFrame:
    """Return `baselines.scores_by_size` of the run's pretrained features, computed once.

    The table is empty if the run has no such features.
    """
    path = run.paths.features((run.notes.get("backbone") or "").partition(",")[0])
    if not path.is_file():
        return pd.DataFrame(columns=baselines.COLUMNS)
    embedded = Features.of_arrays(files.load_arrays(path, "id", "embedding"))
    seen = networks.SEEN + [name for name in ("group", "fold") if name in run.split]
    place = "metrics/07_training_size_scores"
    return run.once(place, baselines.scores_by_size, embedded, run.split[seen])
