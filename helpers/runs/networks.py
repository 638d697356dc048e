"""Train the networks of a run in parallel: once for each seed and fold.

    all_weights = networks.weights_of(run)
    trained = networks.train(run, networks.fine_tuning_jobs(run, all_weights))
    trained["fbp"][0].history

Each training is kept in the run's folder, and is not repeated.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.members import Member, cross_fitted, judges
from helpers.core.paths import checkpoint_name
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.record import Model
from helpers.runs import memo
from helpers.runs.memo import Call
from helpers.runs.record import load_run, models_of
from helpers.runs.run import Run
from helpers.training import features, fit, network_costs
from helpers.training.features import Features
from helpers.training.fit import Build, Fitted
from helpers.training.settings import TrainSettings

SEEN = ["id", "label", "split"]  # columns of the split that a training sees


@dataclass(frozen=True)
class Job:
    """A network to train, once for each of its members."""

    model: Model
    members: Sequence[Member]
    build: Build
    images: ImageCache
    settings: TrainSettings
    features: Features | None = None  # embeddings on which the head alone is trained


def weights_of(run: Run) -> list[backbones.Weights]:
    """Find the weights of a notebook's backbones, and note backbones and weights in run.json.

    Raises:
        BackboneError, WeightsError: see `find_weights`.
    """
    settings = run.settings
    all_weights = [
        backbones.find_weights(backbone, settings.weights, settings.image_size_px)
        for backbone in settings.backbone
    ]
    run.note(backbone=", ".join(weights.backbone for weights in all_weights))
    run.note(weights=", ".join(weights.origin for weights in all_weights))
    return all_weights


def on_backbone(run: Run, weights: backbones.Weights, base: str, features: str = "") -> Model:
    """Return a model on a backbone; the first backbone of a run is not named."""
    first = weights.backbone == run.settings.backbone[0] or len(run.settings.backbone) == 1
    return Model(base, "" if first else weights.backbone, features)


def embeddings(run: Run, weights: backbones.Weights) -> Features:
    """Return the embeddings of all images by a pretrained backbone, computed once."""
    images, ids = run.images(run.settings.image_size_px), run.split[["id"]]
    name = f"features/{weights.backbone}"
    arrays = run.once(name, features.embed_all, weights, images, ids)
    return Features.of_arrays(arrays)


def fine_tuning_jobs(run: Run, all_weights: Sequence[backbones.Weights]) -> list[Job]:
    """Return the trainings of all layers (FBP) on each backbone: for each seed and each fold.

    One alone has all cores; several run side by side.
    """
    settings, images = run.settings, run.images(run.settings.image_size_px)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return [
        Job(
            on_backbone(run, weights, "fbp"),
            cross_fitted(run.split, seeds),
            functools.partial(fit.pretrained, weights, images.size_px),
            images,
            settings.fbp,
        )
        for weights in all_weights
    ]


def small_jobs(run: Run, all_weights: Sequence[backbones.Weights]) -> list[Job]:
    """Return the jobs of the CNN, and of the linear probe (LL, last layer) on each backbone."""
    settings, seed = run.settings, run.settings.seed
    small, images = run.images(settings.cnn_image_size_px), run.images(settings.image_size_px)
    build: Any = functools.partial(fit.two_layer_cnn, small.size_px, small.channels)
    cnn = Job(Model("cnn"), judges(run.split, [seed]), build, small, settings.cnn)
    last_layers = [
        Job(
            on_backbone(run, weights, "ll"),
            cross_fitted(run.split, [seed]),
            functools.partial(fit.pretrained, weights, images.size_px),
            images,
            settings.ll,
            features=embeddings(run, weights),
        )
        for weights in all_weights
    ]
    return [cnn, *last_layers]


def train(
    run: Run, jobs: Sequence[Job], *, folder: str = "checkpoints", add: bool = True
) -> dict[str, list[Fitted]]:
    """Train networks in parallel, once per member, and score the images that each has not seen.

    With `add` each model is a row of the results.

    Returns:
        The trainings of each model by slug, in the order of its members.
    """
    calls = {
        job.model: {member: training(run.split, job, member) for member in job.members}
        for job in jobs
    }
    trained = each(run, calls, "trainings", folder)
    for model, fits in trained.items() if add else ():
        first = next(iter(fits.values()))
        add_model(run, model, fits, parameters=first.parameters, device=first.device)
    return {model.slug: [*fits.values()] for model, fits in trained.items()}


def each(
    run: Run, calls: Mapping[Model, Mapping[Member, Call]], what: str, folder: str = "checkpoints"
) -> dict[Model, dict[Member, Any]]:
    """Make the calls of several models side by side, one for each member, and keep the results.

    `what` is shown by the progress bar; the results are kept in `folder`, see `place`.
    """
    named, titles = {}, {}
    for model, by_member in calls.items():
        for member, call in by_member.items():
            name = place(model, member, folder)
            named[name] = call
            titles[name] = model.title + (f", {member}" if len(by_member) > 1 else "")
    results = run.once_each(named, what, titles)
    return {
        model: {member: results[place(model, member, folder)] for member in by_member}
        for model, by_member in calls.items()
    }


def training(split: pd.DataFrame, job: Job, member: Member) -> Call:
    """Return the call that trains a job's network for one member.

    A training without a fold fits on train, chooses its epoch on val, and predicts val and test.
    One with a fold fits on all other folds, and predicts its fold and test. It keeps its last
    epoch, since the fold that judges it must not choose the epoch.
    """
    (call,) = fit.trainings(
        [member], job.build, job.images, split, job.settings, features=job.features
    ).values()
    return call


def place(model: Model, member: Member, folder: str = "checkpoints") -> str:
    """Return the place of a training in the run's folder, without a suffix."""
    return f"{folder}/{model.slug}/{checkpoint_name(*member).removesuffix('.safetensors')}"


def add_model(run: Run, model: Model, fits: Mapping[Member, Any], **costs: Any) -> None:
    """Make a model a row of the results; each of its fits has `scores` and `seconds`."""
    scores = joined({member: fitted.scores for member, fitted in fits.items()})
    seconds = round(sum(fitted.seconds for fitted in fits.values()), 1)
    run.add_model(dataclasses.replace(model, members=tuple(fits)), scores, seconds=seconds, **costs)


def joined(scores: Mapping[Member, pd.DataFrame]) -> pd.DataFrame:
    """Return the content of a predictions file from the scores of a model's members."""
    several = len({member.seed for member in scores}) > 1
    blocks = []
    for member, block in scores.items():
        seed = {"seed": member.seed} if several else {}
        fold = {} if member.fold is None else {"fold": member.fold}
        blocks.append(block.assign(**seed, **fold))
    return pd.concat(blocks, ignore_index=True)


def load(run: Run, slug: str) -> dict[Member, Fitted]:
    """Return the finished trainings of a model that the run has made; empty if it has none."""
    steps = load_run(run.paths).get("steps", {})
    model = models_of(run.paths).get(slug, Model(slug))
    places = {member: place(model, member) for member in model.members}
    return {
        member: memo.load(steps[name], run.paths.root / name)
        for member, name in places.items()
        if "kinds" in steps.get(name, {})
    }


def curves(trained: Mapping[str, Sequence[Fitted]]) -> pd.DataFrame:
    """Return the learning curves: a row for each epoch, with the model's slug as `model`."""
    tables = [
        pd.DataFrame(fitted.history).assign(model=slug, seed=number, fold=None)
        for slug, fits in trained.items()
        for number, fitted in enumerate(fits)
    ]
    return pd.concat(tables, ignore_index=True)


def costs(run: Run, trained: Mapping[str, Sequence[Fitted]]) -> dict[str, dict[str, float]]:
    """Return what a network of each model costs, measured once for each architecture."""
    cost_of = {}
    for slug, fits in trained.items():
        if fits:  # a user's own model was not trained here
            spec = fits[0].network.spec
            name = f"metrics/cost_{files.fingerprint(dataclasses.asdict(spec))}"
            cost_of[slug] = run.once(name, network_costs.cost, spec, run.settings.precision)
    return cost_of
