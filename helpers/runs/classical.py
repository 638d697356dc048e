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

from helpers.core import devices
from helpers.core.members import Member, cross_fitted, sides
from helpers.core.rules import SettingsError
from helpers.datasets.group_prior import group_prior
from helpers.datasets.split_file import waits_for
from helpers.models import backbones
from helpers.models.record import CLASSICAL, Model
from helpers.results.predictions import predictions_frame
from helpers.runs import networks
from helpers.runs.memo import Call
from helpers.runs.run import Run
from helpers.training import features, patchcore
from helpers.training.classifiers import ScoredClassifier, fittings
from helpers.training.features import Features
from helpers.training.known_classifiers import CLASSIFIERS
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


def fit(run: Run, models: Mapping[Model, Features | ByFold]) -> dict[Model, list[ScoredClassifier]]:
    """Fit classical models side by side, once for each fold, and make them rows of the results."""
    settings, split = run.settings, run.split
    CLASSIFIERS["rf"][0].set_params(n_estimators=settings.trees)
    options = {"folds": settings.folds, "cv_images": settings.cv_images}
    members = cross_fitted(split, [settings.seed])
    calls = {
        model: fittings(
            members,
            CLASSIFIERS[model.base][0],
            CLASSIFIERS[model.base][1],
            embedded,
            split,
            settings.seed,
            name=model.base,
            **options,
        )
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
    return f"{len(fits)} memories"
