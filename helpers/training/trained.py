"""A training on the images of a run: done once, resumed after a kill, leaving all that is known.

A training leaves a checkpoint, a predictions file and its learning curve, and is not done again
while what it depends on stays the same.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files as artifacts
from helpers.core import processes
from helpers.core.paths import RunPaths
from helpers.datasets.cache import ImageCache
from helpers.models import backbones
from helpers.models.complexity import count_parameters
from helpers.runs.predictions import read_predictions, save_predictions
from helpers.runs.settings import TrainSettings
from helpers.runs.stages import Stage, load_run
from helpers.training import fit as training
from helpers.training import resume
from helpers.training.batches import ImageBatches
from helpers.training.features import image_batches
from helpers.training.inference import precision_of, predict
from helpers.training.loop import Hooks

NUM_CLASSES = 2
AVERAGED = "_averaged"


def seed_name(name: str, number: int) -> str:
    """The file of a model's `number`-th seed, counted from 0."""
    return name if number == 0 else f"{name}_seed{number}"


def further_seed_of(name: str) -> str | None:
    """The model of which `name` is a training with a further seed; None of any other name."""
    found = re.fullmatch(r"(.+)_seed[1-9]\d*", name)
    return found[1] if found else None


@dataclass(frozen=True)
class Trained:
    """A model of the run, its learning curve, and how long it took."""

    name: str
    history: list[dict[str, Any]]
    best_epoch: int  # counted from 0
    seconds: float
    parameters: int
    device: str = ""  # where it was trained, and in which precision; "" where not on record
    facts: dict[str, Any] = field(default_factory=dict)  # what else the tables show

    @property
    def images_per_s(self) -> float | None:
        """Training images per second, over all epochs; None where it was not measured."""
        rates = [record["images_per_s"] for record in self.history if "images_per_s" in record]
        return len(rates) / sum(1 / rate for rate in rates) if rates and all(rates) else None

    @property
    def curve(self) -> pd.DataFrame:
        """One row per epoch."""
        return pd.DataFrame(self.history).assign(model=self.name)


def train_once(
    stage: Stage,
    name: str,
    model: backbones.Model,
    split: pd.DataFrame,
    cache: ImageCache,
    settings: TrainSettings,
    seed: int,
    flips: bool = False,
    *,
    weights: str | None = None,
    hooks: Hooks | None = None,
    extra: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    sizes: Sequence[str] | None = None,
) -> Trained:
    """Train on train, keep the best epoch on val, predict val and test.

    Args:
        flips: average the predictions over four mirror images.
        weights: digest of the pretrained weights that the model starts from.
        hooks: additions to the training loop.
        extra: what the training depends on beside the rest (JSON-able).
        facts: kept beside the learning curve.
        sizes: the stage's settings to lower where the memory does not suffice.
    """
    paths = stage.paths
    inputs = inputs_of(split, cache, seed, settings, model.spec.kind)
    inputs |= {"weights": weights, "flips": flips} | (extra or {})
    record = paths.metrics(f"{name}_history")
    outputs = [paths.checkpoint(name), record, paths.predictions(name)]
    _forget_other_settings(stage, name, inputs)
    with stage.step(name, inputs, outputs, sizes) as needed:
        if needed:
            batch = settings.batch_size
            fit = training.fit(
                model,
                *_train_and_val(split, cache, model, settings),
                settings,
                seed=seed,
                name=name.upper(),
                resume=paths.resume(name),
                inputs=inputs,
                hooks=hooks,
                deadline_s=stage.deadline_s,
            )
            scored = split[split.split.isin(["val", "test"])]
            batches = image_batches(cache, scored, model, batch)
            scores = predict(model, batches, settings.precision, flips)
            if processes.is_main():
                backbones.save_model(outputs[0], model, full_scale_bits=cache.bits)
                save_predictions(outputs[-1], scored, scores)
                save_history(record, fit, count_parameters(model), settings.precision, facts)
    if processes.is_main():  # not before the step is on record
        resume.remove(paths.resume(name), resume.key_of(settings, seed, inputs))
    found = processes.from_main(load_history, name, record)
    stage.rate(name, found.images_per_s)
    return found


def _train_and_val(
    split: pd.DataFrame, cache: ImageCache, model: backbones.Model, settings: TrainSettings
) -> tuple[ImageBatches, ImageBatches]:
    train, val = (split[split.split == side] for side in ("train", "val"))
    size, drawn = settings.batch_size, settings.epoch_images
    return (
        image_batches(cache, train, model, size, settings.augment, epoch_images=drawn),
        image_batches(cache, val, model, size),
    )


def _forget_other_settings(stage: Stage, name: str, inputs: dict[str, Any]) -> None:
    """Remove further seeds' predictions and the average before a model is trained otherwise.

    Killed in between, a row would be the mean over seeds of different settings.
    """
    steps = load_run(stage.paths).get("steps", {})
    if name not in steps or steps[name]["key"] == artifacts.fingerprint(inputs):
        return
    for step in steps if processes.is_main() else ():
        if further_seed_of(step) == name or step == name + AVERAGED:
            stage.paths.predictions(step).unlink(missing_ok=True)


def names_of_seeds(paths: RunPaths, name: str, seeds: int) -> list[str]:
    """The files of a model's seeds: `name`, `name_seed1`, ...

    Predictions of more seeds, from an earlier call, are removed: a table row is the mean over all
    files of its name. So is the mean over several seeds where there is one. A user's own files of
    such names stay.
    """
    names = [seed_name(name, number) for number in range(seeds)]
    written = [step for step in load_run(paths).get("steps", {}) if step not in names]
    for step in written if processes.is_main() else ():
        if further_seed_of(step) == name or (step == name + AVERAGED and seeds == 1):
            paths.predictions(step).unlink(missing_ok=True)
    return names


def average_seeds(stage: Stage, names: Sequence[str], split: pd.DataFrame) -> None:
    """Write the mean of several seeds' scores as a model of its own, `<first name>_averaged`.

    Does nothing with one seed. Nothing is fitted, so nothing has to be held out.
    """
    if len(names) < 2:
        return
    files = [stage.paths.predictions(name) for name in names]
    target = stage.paths.predictions(names[0] + AVERAGED)
    inputs = {file.stem: artifacts.file_digest(file) for file in files}
    with stage.step(target.stem, inputs, [target]) as needed:
        if needed and processes.is_main():
            scored = [read_predictions(file, split) for file in files]
            by_id = pd.concat([side for one in scored for side in (one.val, one.test)])
            means = by_id.groupby("id").defect_score.mean()
            save_predictions(target, split, split.id.map(means).to_numpy())


def load_seeds(paths: RunPaths, name: str) -> list[Trained]:
    """The trainings of a model that a run has, one for each seed; none where it has none."""
    found: list[Trained] = []
    while (record := paths.metrics(f"{(own := seed_name(name, len(found)))}_history")).is_file():
        if not paths.predictions(own).is_file():
            break  # of a split that is gone, or a seed of an earlier call that asked for more
        found.append(load_history(own, record))
    return found


def inputs_of(
    split: pd.DataFrame, cache: ImageCache, seed: int, settings: TrainSettings, kind: str
) -> dict[str, Any]:
    """What decides the result of a training from random weights."""
    sides = split[["id", "label", "split"]].astype(str).to_numpy().ravel()
    return {
        "images": cache.content,
        "split": artifacts.fingerprint(list(itertools.chain(sides))),
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        "architecture": kind,
        "weights": None,
    }


def save_history(
    path: Path,
    fit: training.Fit,
    parameters: int,
    precision: str,
    facts: dict[str, Any] | None = None,
) -> None:
    """Write a learning curve and what belongs to it as JSON.

    `precision` is that of the training, by Accelerate's name or "auto".
    """
    used = precision_of(processes.device(), precision)
    record = {
        "history": fit.history,
        "best_epoch": fit.best_epoch,
        "seconds": fit.seconds,
        "parameters": parameters,
        "device": f"{processes.device_name()}, {'float32' if used == 'no' else used}",
    }
    artifacts.save_json(path, record | ({"facts": facts} if facts else {}))


def load_history(name: str, path: Path) -> Trained:
    """Read what `save_history` wrote; ArtifactError when it is something else."""
    record = artifacts.load_json(path)
    try:
        found = Trained(name=name, **record)
        # whatever the notebooks will do with it
        _ = found.curve["val_auc"].astype(float), found.images_per_s, found.facts.items()
        if not isinstance(found.device, str):
            raise ValueError(f"the device is {found.device!r}")
        if not all(n >= 0 for n in (found.seconds, found.parameters, found.best_epoch)):
            raise ValueError("seconds, parameters and the best epoch cannot be negative")
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise artifacts.damaged(path, error) from None
    return found
