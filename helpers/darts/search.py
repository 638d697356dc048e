"""Search a cell on the training images of a run: DARTS, Algorithm 1.

Sources: Liu et al. 2018, arXiv 1806.09055; partial channels and alpha's warm-up: Xu et al. 2019,
arXiv 1907.05737. The training images are halved, stratified, into a part for w and a part for
alpha. The search does not use validation and test images.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.core import files, processes, seeding, tensors
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
from helpers.training.loop import Hooks, Training, TrainingError, resume_file
from helpers.training.trained import NUM_CLASSES


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
        if processes.is_main():
            tensors.save_tensors(weights, net.state_dict(), dataclasses.asdict(settings))
            files.save_json(history, training.history)
            paths.genotype("searched_perturbation").unlink(missing_ok=True)  # of another search
            genotypes.save(genotype, found, provenance | {"run": paths.name, "supernet": size})

    found, record = paths.genotype("searched"), paths.metrics("search_history")
    weights = paths.checkpoint("supernet", settings.seed)
    stage.once(
        "search", inputs, search, everywhere=True, genotype=found, history=record, weights=weights
    )
    if processes.is_main():
        resume.unlink(missing_ok=True)
    genotype, provenance = processes.from_main(genotypes.load, found)
    return Search(genotype, provenance, processes.from_main(files.load_json, record))


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


class AlphaSteps(Hooks):
    """Algorithm 1's alternation: before each step of w a step of alpha, on the other half."""

    def __init__(self, net: Supernet, part: ImageBatches, settings: SearchSettings) -> None:
        self.net, self.part, self.settings = net, part, settings
        self.architect = Architect(
            net,
            F.cross_entropy,
            settings.order,
            lr=settings.alpha_lr,
            weight_decay=settings.alpha_weight_decay,
        )

    def training_starts(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the optimiser: the second order reads its momentum."""
        self.optimizer = optimizer

    def epoch_starts(self, epoch: int, epochs: int) -> None:
        """Start the epoch's stream of alpha batches."""
        self.started, self.epoch = time.monotonic(), epoch
        self.losses: list[float] = []
        self.stream = self._alpha_batches(epoch)
        self.architect.beta_decay = self.settings.beta_decay * epoch / epochs

    def before_step(self, images: Tensor, targets: Tensor) -> None:
        """Take one step of alpha, except during the warm-up."""
        if self.epoch < self.settings.alpha_warmup:
            return
        loss = self.architect.step(next(self.stream), (images, targets), self.optimizer)
        self.losses.append(loss)

    def epoch_ends(self, record: dict[str, Any], past: Sequence[dict[str, Any]]) -> bool:
        """Record the state of alpha; return True if the guard stops the search."""
        s = self.settings
        record["alpha_loss"] = float(np.mean(self.losses)) if self.losses else None
        record |= guard.architecture_record(self.net, s.max_skips)
        record["eigenvalue"] = self._eigenvalue()
        record["total_seconds"] = round(time.monotonic() - self.started, 2)
        return guard.roll_back([*past, record], s.rollback_growth) is not None

    def state(self) -> dict[str, Any]:
        """Return the state of Adam; w and alpha belong to the network."""
        return {"adam": self.architect.adam.state_dict()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.architect.adam.load_state_dict(state["adam"])

    def _eigenvalue(self) -> float | None:
        every = self.settings.eigenvalue_every
        if not every or self.epoch < self.settings.alpha_warmup or (self.epoch + 1) % every:
            return None
        images = next(self.part.ordered())  # always the same: measurements are comparable
        targets = torch.tensor(self.part.labels[: len(images)], device=images.device)
        arguments = (self.net, F.cross_entropy, (images, targets))
        return processes.from_main(dominant_eigenvalue, *arguments)

    def _alpha_batches(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        share = processes.share()
        needed = 2 * share[1]  # batch norm needs two images
        if (count := len(self.part.labels)) < needed:
            raise TrainingError(
                f"the part for alpha has {count} images and needs {needed}: give more training "
                "images"
            )
        seed = seeding.stream_seed(self.settings.seed, "alpha part")
        while True:  # both halves have as many batches, give or take one
            for _, images, targets in self.part.shuffled(seed, epoch, share):
                yield images, targets


def run_search(
    net: Supernet,
    train: ImageBatches,
    part: ImageBatches,
    settings: SearchSettings,
    **options: Any,
) -> Training:
    """Train w on `train` and alpha on `part`; the network ends with the last epoch's.

    In the history `val_auc` and `val_loss` are those of the alpha part: the search's validation.
    `options` are further arguments of `Training`.
    """
    return Training(
        net,
        train,
        part,
        settings.training,
        seed=settings.seed,
        name="search",
        hooks=AlphaSteps(net, part, settings),
        parameters=net.weight_parameters(),
        **options,
    ).run()
