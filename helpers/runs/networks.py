"""Train the networks of a run: once for each seed and fold, side by side, and each of them once.

weights = networks.weights_of(run)
trained = networks.train(run, networks.fine_tuning_jobs(run, weights))
trained["fbp"][0].history
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from helpers.core import files
from helpers.core.members import Member, cross_fitted, folds_of, sides
from helpers.core.paths import checkpoint_name
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.record import Model
from helpers.models.spec import Network
from helpers.runs import memo
from helpers.runs.record import load_run
from helpers.runs.stages import Run, StageError
from helpers.training import distillation, features, fit, network_costs
from helpers.training.distillation import Teacher
from helpers.training.features import Features
from helpers.training.fit import Build, Fitted
from helpers.training.settings import TrainSettings

SEEN = ["id", "label", "split"]  # what a training sees of the split


@dataclass(frozen=True)
class Job:
    """A network to train, once for each of its members."""

    model: Model
    build: Build
    images: ImageCache
    settings: TrainSettings
    teacher: Teacher | None = None
    features: Features | None = None  # embeddings on which the head alone is trained
    members: tuple[Member, ...] = ()


def weights_of(run: Run) -> list[backbones.Weights]:
    """Find the weights of a notebook's backbones, and note backbones and weights in run.json.

    Raises:
        BackboneError, WeightsError: see `find_weights`.
    """
    settings = run.settings
    found = [
        backbones.find_weights(backbone, settings.weights, settings.image_size_px)
        for backbone in settings.backbone
    ]
    run.note(backbone=", ".join(weights.backbone for weights in found))
    run.note(weights=", ".join(weights.origin for weights in found))
    return found


def on_backbone(run: Run, weights: backbones.Weights, base: str, features: str = "") -> Model:
    """Return a model on a backbone; the first backbone of a run is not named."""
    first = weights.backbone == run.settings.backbone[0] or len(run.settings.backbone) == 1
    return Model(base, "" if first else weights.backbone, features)


def embeddings(run: Run, weights: backbones.Weights) -> Features:
    """Return the embeddings of all images by a pretrained backbone, computed once."""
    images = run.images(run.settings.image_size_px)
    name = f"features/{weights.backbone.replace('/', '_')}"
    found = run.once(name, features.embed_all, weights, images, run.split[["id"]])
    return Features.of_arrays(found)


def fine_tuning_jobs(run: Run, found: Sequence[backbones.Weights]) -> list[Job]:
    """Return the trainings of all layers (FBP) on each backbone: for each seed and each fold.

    One alone has all cores; several run side by side.
    """
    settings, images = run.settings, run.images(run.settings.image_size_px)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    return [
        Job(
            on_backbone(run, weights, "fbp"),
            functools.partial(fit.pretrained, weights, images.size_px),
            images,
            settings.fbp,
            members=tuple(cross_fitted(run.split, seeds)),
        )
        for weights in found
    ]


def small_jobs(run: Run, found: Sequence[backbones.Weights]) -> list[Job]:
    """Return the trainings of the CNN, and of the last layer (LL) on each backbone and fold."""
    settings, seed = run.settings, run.settings.seed
    small, images = run.images(settings.cnn_image_size_px), run.images(settings.image_size_px)
    build: Any = functools.partial(fit.two_layer_cnn, small.size_px, small.channels)
    members = (Member(seed),)
    cnn = Job(Model("cnn"), build, small, settings.cnn, members=members)
    last_layers = [
        Job(
            on_backbone(run, weights, "ll"),
            functools.partial(fit.pretrained, weights, images.size_px),
            images,
            settings.ll,
            features=embeddings(run, weights),
            members=tuple(cross_fitted(run.split, [seed])),
        )
        for weights in found
    ]
    return [cnn, *last_layers]


def train(
    run: Run,
    jobs: Sequence[Job],
    members: Sequence[Member] = (),
    *,
    folder: str = "checkpoints",
    add: bool = True,
) -> dict[str, list[Fitted]]:
    """Train networks side by side, each once for each member, and predict what it has not seen.

    A training without a fold fits on train, chooses its epoch on val, and predicts val and test.
    One with a fold fits on all other folds, keeps its last epoch, since the fold that it is judged
    on must not choose, and predicts its fold and test. `members` are those of the jobs that do not
    name their own. With `add` each model is a row of the results.

    Returns:
        The trainings of each model by slug, in the order of its members.
    """
    named = [(job, member) for job in jobs for member in job.members or members]
    places = [place(job.model, member, folder) for job, member in named]
    tasks = [task(run.split, job, member) for job, member in named]
    found = run.once_each(dict(zip(places, tasks, strict=True)))
    trained: dict[str, list[Fitted]] = {}
    for job in jobs:
        of_job = {m: found[place(job.model, m, folder)] for m in job.members or members}
        trained[job.model.slug] = list(of_job.values())
        if add:
            first = next(iter(of_job.values()))
            add_model(run, job.model, of_job, parameters=first.parameters, device=first.device)
    return trained


def task(split: pd.DataFrame, job: Job, member: Member) -> memo.Task:
    """Return the call that trains a job's network for one member."""
    table, settings = sides(split, member.fold)[SEEN], job.settings
    if member.fold is not None:
        settings = dataclasses.replace(settings, keep="last")
    call = memo.task(
        fit.fit,
        job.build,
        job.images,
        table,
        settings,
        member.seed,
        features=job.features,
        teacher=job.teacher,
    )
    title = job.model.title + (f", {member}" if len(job.members) > 1 else "")
    return dataclasses.replace(call, title=title)


def place(model: Model, member: Member, folder: str = "checkpoints") -> str:
    """Return the place of a training in the run's folder, without a suffix."""
    return f"{folder}/{model.slug}/{checkpoint_name(*member).removesuffix('.safetensors')}"


def add_model(run: Run, model: Model, fits: Mapping[Member, Any], **costs: Any) -> None:
    """Make a model a row of the results; each of its fits has `scores` and `seconds`."""
    scores = joined({member: one.scores for member, one in fits.items()})
    seconds = round(sum(one.seconds for one in fits.values()), 1)
    model = dataclasses.replace(model, members=tuple(fits))
    run.add_model(model, scores, seconds=seconds, **costs)


def joined(scores: Mapping[Member, pd.DataFrame]) -> pd.DataFrame:
    """Return the content of a predictions file from the scores of a model's members."""
    several = len({member.seed for member in scores}) > 1
    blocks = []
    for member, own in scores.items():
        seed = {"seed": member.seed} if several else {}
        fold = {} if member.fold is None else {"fold": member.fold}
        blocks.append(own.assign(**seed, **fold))
    return pd.concat(blocks, ignore_index=True)


def load(run: Run, model: Model) -> dict[Member, Fitted]:
    """Return the finished trainings of a model that the run's record names."""
    record = load_run(run.paths)
    steps, found = record.get("steps", {}), {}
    for member in Model.from_json(record["models"][model.slug]["model"]).members:
        name = place(model, member)
        if step := steps.get(name):
            found[member] = memo.load(step["stored"], run.paths.root / name, Fitted)
    return found


def curves(trained: Mapping[str, Sequence[Fitted]]) -> pd.DataFrame:
    """Return the learning curves: a row for each epoch, with the model's slug as `model`."""
    tables = [
        pd.DataFrame(one.history).assign(model=slug, seed=number, fold=None)
        for slug, fits in trained.items()
        for number, one in enumerate(fits)
    ]
    return pd.concat(tables, ignore_index=True)


def networks_of_folds(run: Run, model: Model) -> dict[int, Network]:
    """Return the first seed's network of each fold with training images; empty if one lacks."""
    own = {m.fold: m for m in reversed(model.members) if m.fold is not None}
    folds = folds_of(run.split[run.split.split == "train"])
    if not folds or not {*folds} <= own.keys():
        return {}
    root = run.paths.root
    return {
        fold: backbones.load_model(root / f"{place(model, own[fold])}.safetensors")
        for fold in folds
    }


def teacher(run: Run) -> Teacher:
    """Return the teacher of a run's networks: FBP's scores of all training images.

    The score of an image is that of the training which left out its fold.

    Raises:
        StageError: the run has no cross-fitted FBP.
    """
    models, settings = run.models(), run.settings
    found = networks_of_folds(run, models["fbp"].model) if "fbp" in models else {}
    if not found:
        raise StageError(
            "DISTILL: a teacher must not have seen the image, and this run has no FBP of each "
            "fold: run 01 with CROSS_FIT=5, then 03, or give DISTILL=False"
        )
    split, tasks = run.split, {}
    for fold, network in found.items():
        rows = split[(split.split == "train") & (split.fold == fold)]
        images = run.images(network.spec.image_size_px)
        tasks[f"teachers/fold{fold}"] = memo.task(
            distillation.score_views, network, images, rows[SEEN], settings.precision
        )
    parts = run.once_each(tasks, "teachers")
    weight, temperature = settings.distill_weight, settings.distill_temperature
    return distillation.teacher_of(parts.values(), weight, temperature)


def costs(run: Run, trained: Mapping[str, Sequence[Fitted]]) -> dict[str, dict[str, float]]:
    """Return what a network of each model costs, measured once for each architecture."""
    found = {}
    for slug, fits in trained.items():
        if not fits:  # nothing of it was trained here
            continue
        spec = fits[0].network.spec
        name = f"metrics/cost_{files.fingerprint(dataclasses.asdict(spec))}"
        found[slug] = run.once(name, network_costs.cost, spec, run.settings.precision)
    return found
