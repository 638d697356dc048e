"""Search inside a pretrained network: train all its parts (subnetworks) at once, choose the best.

In each step the largest part learns the labels; the smallest part and a random part learn the
largest part's scores of the same images: the sandwich rule with inplace distillation (Yu & Huang
2019, arXiv 1903.05134). All parts share their weights, so a part is evaluated without a training of
its own, once its batch-norm statistics are recalibrated (section 3.3 there). Parts differ in the
number of blocks of each stage, the stride of the last maps, and the size of the images.

    shared = train(space, images, table, settings, seed=0)
    best, *_ = evolve(space, score, limit=150e6, seed=0)  # by held_out_scores(shared, ...)
    best.kept.of("efficientnet_lite0")  # a backbone's name; train it alone
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import update_bn

from helpers.core import seeding
from helpers.datasets.cache import ImageCache
from helpers.models import backbones, subnets
from helpers.models.spec import Network, macs_by_module
from helpers.models.subnets import STRIDES, Subnet
from helpers.training import fit
from helpers.training.augment import augmentation
from helpers.training.batches import ImageBatches, image_batches
from helpers.training.inference import predict
from helpers.training.loop import Loss, Training
from helpers.training.settings import TrainSettings

SIZES_PX = (96, 112, 128, 160, 192)
RECALIBRATION = 16  # training batches that set a part's batch-norm statistics


@dataclass(frozen=True)
class Candidate:
    """A part of the network, and the size of its images."""

    kept: Subnet
    size_px: int

    def differs(self, other: Candidate) -> int:
        """Count the choices in which two candidates differ: blocks of a stage, stride, size."""
        ours, theirs = ((*c.kept.depths, c.kept.stride, c.size_px) for c in (self, other))
        return sum(a != b for a, b in zip(ours, theirs, strict=True))


@dataclass(frozen=True)
class Space:
    """All parts of a backbone that may be chosen."""

    weights: backbones.Weights
    sizes_px: Sequence[int] = SIZES_PX

    @functools.cached_property
    def depths(self) -> tuple[int, ...]:
        """Return the number of blocks in each stage of the whole network."""
        return subnets.depths_of(fit.pretrained(self.weights, max(self.sizes_px), 0).trunk)

    @functools.cached_property
    def candidates(self) -> list[Candidate]:
        """Return all parts; the first is the smallest, the last the largest."""
        depths = itertools.product(*(range(1, n + 1) for n in self.depths))
        choices = itertools.product(depths, STRIDES, sorted(self.sizes_px))
        return [Candidate(Subnet(kept, stride), size_px) for kept, stride, size_px in choices]

    @functools.cached_property
    def macs(self) -> dict[Candidate, int]:
        """Return the multiply-adds of each candidate for one image: the whole minus cut blocks."""
        found = {}
        for stride, size_px in itertools.product(STRIDES, self.sizes_px):
            whole = Subnet(self.depths, stride).of(self.weights.backbone)
            network = backbones.build(backbones.spec_of(whole, fit.NUM_CLASSES, size_px))
            found[stride, size_px] = macs_by_module(network, size_px)

        def of(candidate: Candidate) -> int:
            macs = found[candidate.kept.stride, candidate.size_px]
            return macs[""] - sum(
                macs[f"trunk.blocks.{stage}.{block}"]
                for stage, kept in enumerate(candidate.kept.depths)
                for block in range(kept, self.depths[stage])
            )

        return {candidate: of(candidate) for candidate in self.candidates}


class Shared(Network):
    """A pretrained classifier whose parts share its weights.

    It returns the raw scores (B, K) of the largest, the smallest and a random part, or only those
    of the `active` part.
    """

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__()
        self.space = space
        self.active: Candidate | None = None
        self.whole = fit.pretrained(space.weights, max(space.sizes_px), seed)
        self.spec = self.whole.spec

    @contextlib.contextmanager
    def part(self, candidate: Candidate) -> Iterator[Network]:
        """Cut the network down to a candidate during a `with` block."""
        trunk = self.whole.trunk
        blocks = trunk.blocks
        strides = [(stage[0].conv_dw, stage[0].conv_dw.stride) for stage in blocks]
        subnets.cut(trunk, candidate.kept)
        try:
            yield self.whole
        finally:
            trunk.blocks = blocks
            for convolution, stride in strides:
                convolution.stride = stride

    def scores(self, candidate: Candidate, images: Tensor) -> Tensor:
        """Return a candidate's raw scores (B, K) of images of the largest size (B, C, H, W)."""
        if candidate.size_px != images.shape[-1]:
            size = (candidate.size_px, candidate.size_px)
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        with self.part(candidate) as network:
            return network(images)

    def forward(self, images: Tensor) -> Any:
        """Return raw scores (B, K) of the active part, or of three parts if there is none."""
        if self.active:
            return self.scores(self.active, images)
        candidates = self.space.candidates
        drawn = candidates[int(torch.randint(len(candidates), ()))]
        parts = (candidates[-1], candidates[0], drawn)
        return tuple(self.scores(candidate, images) for candidate in parts)


@dataclass(frozen=True)
class SandwichLoss:
    """Cross-entropy of the largest part, and KL(largest || part) of the others."""

    labelled: Loss

    def __call__(self, output: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return the sum of the parts' means over the batch from their raw scores (B, K)."""
        largest, *others = (scores.float() for scores in output)
        teacher = largest.detach().log_softmax(dim=1)
        taught = [
            F.kl_div(scores.log_softmax(dim=1), teacher, reduction="batchmean", log_target=True)
            for scores in others
        ]
        return torch.stack([self.labelled(largest, targets), *taught]).sum()


def train(
    space: Space,
    images: ImageCache,
    table: pd.DataFrame,
    settings: TrainSettings,
    seed: int,
) -> Shared:
    """Train all parts of a network on the rows `train` of a table; keep the last epoch.

    The images have the largest size. The seed sets the initial head, the order, the augmentation
    and the random parts.
    """
    shared = Shared(space, seed)
    batches = _training_batches(shared, images, table, settings)
    loss = SandwichLoss(Loss(settings.label_smoothing))
    Training(shared, batches, None, settings, seed=seed, loss=loss).run()
    return shared


def _training_batches(
    shared: Shared, images: ImageCache, table: pd.DataFrame, settings: TrainSettings
) -> ImageBatches:
    rows, augment = table[table.split == "train"], augmentation(settings.augment)
    return image_batches(images, rows, shared, settings.batch_size, augment=augment)


def held_out_scores(
    shared: Shared,
    images: ImageCache,
    table: pd.DataFrame,
    settings: TrainSettings,
    candidate: Candidate,
) -> np.ndarray:
    """Return a candidate's probabilities of bad (N,) for the rows `val`.

    The shared batch-norm statistics fit no single part. Means over training batches, the same
    batches for each candidate, replace them permanently.
    """
    shared.active = candidate
    try:
        batches = _training_batches(shared, images, table, settings).shuffled(seed=0, epoch=0)
        with seeding.torch_stream(0, "recalibration"):
            update_bn((inputs for _, inputs, _ in islice(batches, RECALIBRATION)), shared)
        rows = table[table.split == "val"]
        return predict(shared, image_batches(images, rows, shared, settings.batch_size))
    finally:
        shared.active = None


def evolve(
    space: Space,
    score: Callable[[Candidate], float],
    limit: float,
    seed: int,
    *,
    population: int = 24,
    generations: int = 4,
) -> dict[Candidate, float]:
    """Search the best candidates within a limit of multiply-adds; return scores, the best first.

    The first generation is random. Later candidates differ in one choice from one of the best
    `population // 4` so far (regularised evolution without ageing: Real et al. 2019, arXiv
    1802.01548, drop the oldest candidates; so few generations do not need that).

    Raises:
        ValueError: even the smallest candidate is above the limit.
    """
    if not (within := [one for one, macs in space.macs.items() if macs <= limit]):
        raise ValueError(f"the smallest part has more than {limit:,.0f} multiply-adds")
    generator, judged = seeding.numpy_stream(seed, "evolution"), dict[Candidate, float]()
    for _generation in range(generations):
        parents = sorted(judged, key=lambda one: -judged[one])[: max(1, population // 4)]
        near = [
            one
            for one in within
            if one not in judged
            and (not parents or any(one.differs(parent) == 1 for parent in parents))
        ]
        for index in generator.permutation(len(near))[:population]:
            judged[near[index]] = score(near[index])
    return dict(sorted(judged.items(), key=lambda item: -item[1]))
