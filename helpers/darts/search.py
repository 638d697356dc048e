"""Search a cell on the training images of a run: DARTS, Algorithm 1.

Sources: Liu et al. 2018, arXiv 1806.09055; partial channels and alpha's warm-up: Xu et al. 2019,
arXiv 1907.05737. The training images are halved, stratified, into a part for w and a part for
alpha. The search does not use validation and test images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.core import files, seeding, tensors
from helpers.core.folds import one_holds_a_class, stratified_folds
from helpers.darts import genotypes, guard
from helpers.darts.architect import Architect
from helpers.darts.curvature import dominant_eigenvalue
from helpers.darts.settings import SearchSettings
from helpers.darts.supernet import Supernet
from helpers.datasets.cache import ImageCache
from helpers.datasets.split_file import keeps_groups_apart
from helpers.models.spec import ModelSpec
from helpers.runs.settings import decisive
from helpers.runs.stages import Stage
from helpers.training.batches import ImageBatches
from helpers.training.features import image_batches
from helpers.training.loop import Training, TrainingError
from helpers.training.trained import NUM_CLASSES, resume_file


@dataclass(frozen=True)
class Search:
    """A finished search: the found cell, how it was found, and an entry for each epoch."""

    genotype: genotypes.Genotype
    provenance: dict[str, Any]
    history: list[dict[str, Any]]


def search_genotype(stage: Stage) -> Search:
    """Search a cell for the run's images, once; a killed search continues after its last epoch.

    Writes genotypes/searched.json, the history as metrics/search_history.json, and the supernet's
    last weights and alpha as checkpoints/supernet/seed<k>.safetensors.
    """
    settings: SearchSettings = stage.settings
    paths, cache = stage.paths, stage.images(settings.image_size_px)
    parts = halves(stage.split, settings.seed, settings.search_images)
    if keeps_groups_apart(stage.split) and {*parts[0].group.dropna()} & {*parts[1].group}:
        print("the two parts of the search share groups: good or bad images are in too few of them")
    inputs = {
        "images": cache.content,
        "parts": files.fingerprint([part[["id", "label"]].values.tolist() for part in parts]),
        "settings": decisive(dataclasses.replace(settings, perturbation_images=2)),
    }
    resume = resume_file(paths.trainings("supernet"), settings.training, settings.seed, inputs)
    shown = paths.events("supernet", settings.seed) if settings.tensorboard else None

    def search(genotype: Path, history: Path, weights: Path) -> None:
        net = make_supernet(settings, cache)
        given = (net, settings.batch_size, settings.augment)
        train, part = (image_batches(cache, half, *given) for half in parts)
        kept: dict[str, Any] = {"resume": resume, "deadline_s": stage.deadline_s, "events": shown}
        training = run_search(net, train, part, settings, **kept)
        found, provenance = guard.conclusion(training.history, settings)
        count = sum(p.numel() for p in net.weight_parameters())
        partial = f", 1/{settings.partial} of the channels" if settings.partial > 1 else ""
        size = f"C={settings.channels}, L={settings.layers}{partial}, {count:,} weights"
        tensors.save_tensors(weights, net.state_dict(), dataclasses.asdict(settings))
        files.save_json(history, training.history)
        paths.genotype("searched_perturbation").unlink(missing_ok=True)  # of another search
        genotypes.save(genotype, found, provenance | {"run": paths.name, "supernet": size})

    found, record = paths.genotype("searched"), paths.metrics("search_history")
    weights = paths.checkpoint("supernet", settings.seed)
    stage.once("search", inputs, search, genotype=found, history=record, weights=weights)
    resume.unlink(missing_ok=True)
    genotype, provenance = genotypes.load(found)
    return Search(genotype, provenance, files.load_json(record))


def halves(split: pd.DataFrame, seed: int, limit: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the training rows in two parts, each class halved, both in random order.

    About `limit` rows are drawn if there are more, with the classes in proportion, but at least two
    of each class (PC-DARTS searches on a tenth of ImageNet); 0 takes all. The order matters: batch
    norm uses the statistics of the batch, so classes must be mixed. If the split keeps groups
    apart, so do the halves, unless one of them would lack a class.
    """
    rng = seeding.numpy_stream(seed, "search halves")
    train = split[split.split == "train"]
    train = train.iloc[rng.permutation(len(train))]
    if 0 < limit < len(train):
        share = limit / len(train)
        position, size = train.groupby("label").cumcount(), train.groupby("label").label
        # at least two of each class, one for either half
        train = train[position < (size.transform("size") * share).round().clip(lower=2)]
    half = train.groupby("label").cumcount().to_numpy() % 2
    if keeps_groups_apart(split):
        random_state = seeding.stream_seed(seed, "search halves") % 2**32
        by_group = stratified_folds(train.label, 2, random_state, train.group)
        if not one_holds_a_class(by_group, train.label):
            half = by_group
    return train[half == 0], train[half == 1]


def make_supernet(settings: SearchSettings, cache: ImageCache) -> Supernet:
    """Return the supernet; its initial weights and alphas depend on the seed alone.

    It takes gray images as one channel.
    """
    with seeding.torch_stream(settings.seed, "initial weights supernet"):
        net = Supernet(
            settings.channels,
            settings.layers,
            NUM_CLASSES,
            in_channels=cache.channels,
            # the ImageNet stem leaves an eighth of the image's side
            stem="imagenet" if cache.size_px >= 64 else "cifar",
            partial=settings.partial,
        )
    middle, spread = (0.5,) * cache.channels, (0.25,) * cache.channels
    shape = (NUM_CLASSES, cache.size_px, cache.channels)
    net.spec = ModelSpec("supernet", "supernet", *shape, middle, spread, 0, feature_layer="")
    return net


def run_search(
    net: Supernet,
    train: ImageBatches,
    part: ImageBatches,
    settings: SearchSettings,
    **options: Any,
) -> Training:
    """Train w on `train` and alpha on `part`, by Algorithm 1.

    In the history `val_auc` and `val_loss` are those of the alpha part. `options` are further
    arguments of `Training`.
    """
    architect = Architect(
        net,
        F.cross_entropy,
        settings.order,
        lr=settings.alpha_lr,
        weight_decay=settings.alpha_weight_decay,
    )
    training = Training(
        net,
        train,
        part,
        settings.training,
        seed=settings.seed,
        name="search",
        parameters=net.weight_parameters(),
        extra={"adam": architect.adam},
        judged_on="AUC on alpha's half",
        **options,
    )
    for record in training.epochs():
        epoch, losses = training.epoch, list[float]()
        stream = _alpha_batches(part, settings.seed, epoch)
        architect.beta_decay = settings.beta_decay * epoch / settings.epochs
        for images, targets in training.batches():
            if epoch >= settings.alpha_warmup:
                losses.append(architect.step(next(stream), (images, targets), training.optimizer))
            training.step(images, targets)
        record["alpha_loss"] = float(np.mean(losses)) if losses else None
        record.update(guard.architecture_record(net, settings.max_skips))
        record["eigenvalue"] = _eigenvalue(net, part, settings, epoch)
    return training


def _eigenvalue(
    net: Supernet, part: ImageBatches, settings: SearchSettings, epoch: int
) -> float | None:
    every = settings.eigenvalue_every
    if not every or epoch < settings.alpha_warmup or (epoch + 1) % every:
        return None
    images = next(part.ordered())  # always the same: measurements are comparable
    targets = torch.tensor(part.labels[: len(images)], device=images.device)
    return dominant_eigenvalue(net, F.cross_entropy, (images, targets))


def _alpha_batches(part: ImageBatches, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    if len(part.labels) < 2:  # batch norm needs two images
        raise TrainingError(
            f"the part for alpha has {len(part.labels)} images and needs 2: give more training "
            "images"
        )
    while True:  # both halves have as many batches, give or take one
        for _, images, targets in part.shuffled(seeding.stream_seed(seed, "alpha part"), epoch):
            yield images, targets
