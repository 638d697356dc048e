"""A network trained on the images of a run, once for each member: done once, resumed exactly.

A member is a training with one seed, and without one fold if the model is cross-fitted. Each leaves
its checkpoint, learning curve and scores in `checkpoints/<model>/`; together they make the model's
predictions file and its learning curves in `metrics/`. A training is not repeated as long as
everything that it depends on stays the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pydantic.dataclasses
from pydantic import NonNegativeFloat, NonNegativeInt
from torch import nn

from helpers.core import devices, environment, files
from helpers.core.members import Member, sides
from helpers.core.paths import RunPaths
from helpers.core.rules import STRICT
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.complexity import count_parameters
from helpers.models.names import display_name
from helpers.models.spec import Network
from helpers.results.predictions import save_predictions
from helpers.runs.costs import training_records
from helpers.runs.stages import Stage
from helpers.training.batches import Batches
from helpers.training.distillation import Teacher
from helpers.training.features import image_batches
from helpers.training.inference import judging_precision, predict
from helpers.training.loop import Training
from helpers.training.settings import TrainSettings

NUM_CLASSES = 2


@pydantic.dataclasses.dataclass(frozen=True, config=STRICT)
class Trained:
    """One training of a model: its learning curve and its cost."""

    model: str  # name of the predictions file
    seed: int
    history: list[dict[str, Any]]
    best_epoch: NonNegativeInt  # counted from 0
    seconds: NonNegativeFloat
    parameters: NonNegativeInt  # trained ones
    device: str = ""  # where it was trained, and in which precision
    facts: dict[str, Any] = field(default_factory=dict)  # what else the tables show
    fold: int | None = None  # that it has not seen; None if it was trained on the side `train`

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve: a row for each epoch, with the columns `model`, `seed`, `fold`."""
        return pd.DataFrame(self.history).assign(model=self.model, seed=self.seed, fold=self.fold)


@dataclass(frozen=True)
class Recipe:
    """How a network of a run is trained, except for the images, the seed and the fold."""

    name: str  # of the model, so of its predictions file
    build: Callable[[int], Network]  # from a seed: the network with its initial weights
    settings: TrainSettings
    inputs: dict[str, Any]  # what else the result depends on (JSON-able): architecture, weights
    views: int = 1  # symmetries of each image over which its scores are averaged
    facts: Mapping[str, Any] = field(default_factory=dict)  # kept beside the curve
    sizes: Sequence[str] | None = None  # settings to lower if the memory is full
    part: Callable[[Any], nn.Module] = lambda model: model  # the part of it that is trained
    batches: Callable[[pd.DataFrame], Batches] | None = None  # of rows of the split; None: images
    teacher: Teacher | None = None  # its views replace the augmentation


def train_models(
    stage: Stage, recipes: Sequence[Recipe], cache: ImageCache, members: Sequence[Member]
) -> list[Trained]:
    """Train several networks, each as `train_model` does."""
    return [one for recipe in recipes for one in train_model(stage, recipe, cache, members)]


def train_model(
    stage: Stage, recipe: Recipe, cache: ImageCache, members: Sequence[Member]
) -> list[Trained]:
    """Train a network once for each member, and predict the images that it has not seen.

    A training without a fold fits on train, chooses its epoch on val, and predicts val and test.
    One with a fold fits on all other folds, keeps its last epoch, since the fold that it is judged
    on must not choose, and predicts its fold and test.

    Writes `predictions/<name>.csv` and `metrics/<name>_history.json`; see `load_trained`.
    """
    name = recipe.name
    for member in members:
        train_member(stage, recipe, cache, member, f", {member}" if len(members) > 1 else "")
    checkpoints = [stage.paths.checkpoint(name, *member) for member in members]
    curves = [path.with_suffix(".json") for path in checkpoints]
    scores = [path.with_suffix(".csv") for path in checkpoints]

    def join(predictions: Path, history: Path) -> None:
        tables = [files.load_csv(path, ("id", "split", "defect_score")) for path in scores]
        by_id = [stage.split.id.map(table.set_index("id").defect_score) for table in tables]
        found = {member: own.to_numpy() for member, own in zip(members, by_id, strict=True)}
        save_predictions(predictions, stage.split, found)
        files.save_json(history, {"seeds": [files.load_json(path) for path in curves]})

    stage.once(
        name,
        {path.name: files.file_digest(path) for path in (*curves, *scores)},
        join,
        predictions=stage.paths.predictions(name),
        history=stage.paths.metrics(f"{name}_history"),
    )
    return load_trained(stage.paths, name)


def train_member(
    stage: Stage, recipe: Recipe, cache: ImageCache, member: Member, suffix: str = ""
) -> Trained:
    """Train a network for one member, see `train_model`; write only into `checkpoints/<name>/`.

    Without a predictions file the training has no row in the results.
    """
    split, settings, name = sides(stage.split, member.fold), recipe.settings, recipe.name
    if member.fold is not None:
        settings = dataclasses.replace(settings, keep="last")
    if teacher := recipe.teacher:
        settings = dataclasses.replace(settings, augment="none")
    scored = split[split.split.isin(["val", "test"])]
    inputs = {
        "images": cache.content,
        "split": files.fingerprint(split[["id", "label", "split"]].astype(str).to_numpy()),
        "seed": member.seed,
        "settings": dataclasses.asdict(settings),
        "views": recipe.views,
        **recipe.inputs,
    }
    if teacher:
        inputs["teacher"] = teacher.inputs
    folder = stage.paths.trainings(name)
    resume = resume_file(folder, settings, member.seed, inputs)

    def train(checkpoint: Path, curve: Path, scores: Path) -> None:
        model = recipe.build(member.seed)
        network = recipe.part(model)

        def batches(rows: pd.DataFrame, augment: str = "none", epoch_images: int = 0) -> Batches:
            if recipe.batches:
                return recipe.batches(rows)
            size = settings.batch_size
            return image_batches(cache, rows, model, size, augment, epoch_images=epoch_images)

        train = batches(split[split.split == "train"], settings.augment, settings.epoch_images)
        training = Training(
            network,
            teacher.lesson(train) if teacher else train,
            batches(split[split.split == "val"]),
            settings,
            seed=member.seed,
            name=display_name(name) + suffix,
            loss=teacher.loss if teacher else None,
            resume=resume,
            deadline_s=stage.deadline_s,
            events=stage.paths.events(name, *member) if stage.settings.tensorboard else None,
        ).run()
        found = predict(network, batches(scored), settings.precision, recipe.views)
        backbones.save_model(
            checkpoint,
            model,
            full_scale_bits=cache.bits,
            fit=cache.fit,
            views=recipe.views,
            # other batches are embeddings, which `embed` makes in the device's own precision
            precision=judging_precision(
                model, devices.default_device(), "auto" if recipe.batches else settings.precision
            ),
            made_with={"commit": environment.commit(), **environment.versions()},
        )
        precision = training.precision.replace("no", "float32")
        record = {
            **member._asdict(),
            "history": training.history,
            "best_epoch": training.best_epoch,
            "seconds": training.seconds,
            "parameters": count_parameters(network),
            "device": f"{devices.device_name(devices.default_device())}, {precision}",
            "facts": {"test_views": recipe.views, **recipe.facts},
        }
        files.save_json(curve, record)
        save_predictions(scores, scored, found)

    checkpoint = stage.paths.checkpoint(name, *member)
    stage.once(
        f"{name}, {member}",
        inputs,
        train,
        sizes=recipe.sizes,
        checkpoint=checkpoint,
        curve=checkpoint.with_suffix(".json"),
        scores=checkpoint.with_suffix(".csv"),
    )
    resume.unlink(missing_ok=True)  # not before the step is on record
    record = files.load_json(checkpoint.with_suffix(".json"))
    return Trained(model=name, **record)


def resume_file(folder: Path, settings: TrainSettings, seed: int, inputs: Any) -> Path:
    """Return the resume file of a training; other settings or `inputs` have a file of their own.

    A trial with other settings therefore costs an interrupted training nothing. The file of a
    training that is never continued stays until somebody deletes it.
    """
    key = files.fingerprint([dataclasses.asdict(settings), seed, inputs])
    return folder / f"{key}.resume"


def load_trained(run_paths: RunPaths, name: str) -> list[Trained]:
    """Return the trainings of a model in the order of its members; an empty list if it has none.

    Raises:
        ArtifactError: the file of its learning curves is damaged.
    """
    if not run_paths.predictions(name).is_file():
        return []  # never trained, or on a split that the run no longer has
    try:
        found = [Trained(model=name, **one) for one in training_records(run_paths, name)]
        for one in found:  # check what the notebooks are going to do with it
            one.curve["val_auc"].astype(float)
    except (KeyError, OverflowError, TypeError, ValueError) as error:
        raise files.damaged(run_paths.metrics(f"{name}_history"), error) from None
    return found
