"""Search inside a pretrained network: one training for all its parts, then a choice of the best.

In each step the whole network learns the labels, and the smallest part and one drawn at random
learn what the whole one says about the same images: the sandwich rule with distillation in place
(Yu & Huang 2019, arXiv 1903.05134). All share their weights, so that a part can be judged without a
training of its own, once its batch norms have seen images (there, section 3.3). Parts differ in
the blocks of their stages, the stride of the last maps, and the size of the images.

    shared = train(space, images, table, settings, seed=0)
    best = evolve(space, functools.partial(auc, shared, ...), limit=150e6, seed=0)
    best[0].candidate.kept.of("efficientnet_lite0")  # a backbone's name; train it alone
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.swa_utils import update_bn

from helpers.core import metrics, seeding
from helpers.datasets.cache import ImageCache
from helpers.models import backbones, subnets
from helpers.models.spec import Network, count_macs
from helpers.models.subnets import STRIDES, Subnet
from helpers.training import fit
from helpers.training.augment import augmentation
from helpers.training.batches import ImageBatches, image_batches
from helpers.training.inference import predict
from helpers.training.loop import Loss, Training
from helpers.training.settings import ALONE, Steering, TrainSettings

SIZES_PX = (96, 128, 160, 192)
RECALIBRATION = 16  # batches that set the statistics of a part's batch norms


@dataclass(frozen=True)
class Candidate:
    """A part of the network, and the size of its images."""

    kept: Subnet
    size_px: int


@dataclass(frozen=True)
class Space:
    """All parts of a backbone that may be chosen."""

    weights: backbones.Weights
    sizes_px: Sequence[int] = SIZES_PX

    @functools.cached_property
    def depths(self) -> tuple[int, ...]:
        """Blocks of each stage of the whole network."""
        return subnets.depths_of(fit.pretrained(self.weights, max(self.sizes_px), 0).trunk)

    @property
    def largest(self) -> Candidate:
        """The whole network, with the largest images."""
        return Candidate(Subnet(self.depths, min(STRIDES)), max(self.sizes_px))

    @property
    def smallest(self) -> Candidate:
        """One block a stage, with the smallest images."""
        return Candidate(Subnet((1,) * len(self.depths), max(STRIDES)), min(self.sizes_px))

    def draw(self, draw: Callable[[int], int]) -> Candidate:
        """Draw a candidate; `draw(n)` is a number from 0 to n - 1."""
        kept = Subnet(tuple(1 + draw(n) for n in self.depths), STRIDES[draw(len(STRIDES))])
        return Candidate(kept, self.sizes_px[draw(len(self.sizes_px))])

    def changed(self, candidate: Candidate, draw: Callable[[int], int]) -> Candidate:
        """Return a candidate of which one choice, drawn at random, is drawn again."""
        other, place = self.draw(draw), draw(len(self.depths) + 2)
        depths, stride, size_px = [*candidate.kept.depths], candidate.kept.stride, candidate.size_px
        if place < len(depths):
            depths[place] = other.kept.depths[place]
        elif place == len(depths):
            stride = other.kept.stride
        else:
            size_px = other.size_px
        return Candidate(Subnet(tuple(depths), stride), size_px)

    def macs(self, candidate: Candidate) -> int:
        """Count the multiply-adds of a candidate for one image."""
        return _macs(candidate.kept.of(self.weights.backbone), candidate.size_px)


@functools.cache
def _macs(backbone: str, size_px: int) -> int:
    network = backbones.build(backbones.spec_of(backbone, fit.NUM_CLASSES, size_px))
    return count_macs(network, size_px)


class Shared(Network):
    """A pretrained classifier, all of whose parts can be computed with the same weights.

    It gives the raw scores (B, K) of the largest, the smallest and a random part, or those of the
    part that is `active` alone.
    """

    def __init__(self, space: Space, seed: int) -> None:
        super().__init__()
        self.space = space
        self.active: Candidate | None = None
        self.whole = fit.pretrained(space.weights, space.largest.size_px, seed)
        self.spec = self.whole.spec

    @contextlib.contextmanager
    def part(self, candidate: Candidate) -> Iterator[Network]:
        """Make the network a candidate for as long as the block runs."""
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
        drawn = self.space.draw(lambda n: int(torch.randint(n, ())))
        parts = (self.space.largest, self.space.smallest, drawn)
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
    steering: Steering = ALONE,
) -> Shared:
    """Train all parts of a network on the rows `train` of a table; keep the last epoch.

    The images have the largest size. The seed is that of the head, the order, the augmentation and
    the drawn parts.
    """
    shared = Shared(space, seed)
    batches = _training_batches(shared, images, table, settings)
    loss = SandwichLoss(Loss(settings.label_smoothing))
    Training(shared, batches, None, settings, seed=seed, loss=loss, steering=steering).run()
    return shared


def _training_batches(
    shared: Shared, images: ImageCache, table: pd.DataFrame, settings: TrainSettings
) -> ImageBatches:
    rows, augment = table[table.split == "train"], augmentation(settings.augment)
    return image_batches(images, rows, shared, settings.batch_size, augment=augment)


def auc(
    shared: Shared,
    images: ImageCache,
    table: pd.DataFrame,
    settings: TrainSettings,
    candidate: Candidate,
) -> float:
    """Return a candidate's AUC on the rows `val`, after its batch norms have seen training images.

    The shared statistics belong to no part alone. A mean over batches, the same ones for each
    candidate, replaces them for good.
    """
    shared.active = candidate
    try:
        batches = _training_batches(shared, images, table, settings).shuffled(seed=0, epoch=0)
        with seeding.torch_stream(0, "recalibration"):
            update_bn((inputs for _, inputs, _ in islice(batches, RECALIBRATION)), shared)
        rows = table[table.split == "val"]
        scores = predict(shared, image_batches(images, rows, shared, settings.batch_size))
        return metrics.roc_auc(rows.label.to_numpy(dtype=int), scores)
    finally:
        shared.active = None


@dataclass(frozen=True)
class Judged:
    """A candidate, its multiply-adds and its score."""

    candidate: Candidate
    macs: int
    score: float


def evolve(
    space: Space,
    score: Callable[[Candidate], float],
    limit: float,
    seed: int,
    *,
    population: int = 24,
    generations: int = 4,
) -> list[Judged]:
    """Look for the best candidates within a limit of multiply-adds; return all, the best first.

    The first generation is drawn at random. Each later one are changes of the best quarter of all
    before, one choice at a time (regularised evolution without ageing: Real et al. 2019, arXiv
    1802.01548, drops the oldest; so few generations need none dropped).

    Raises:
        ValueError: even the smallest candidate is above the limit.
    """
    if space.macs(space.smallest) > limit:
        raise ValueError(f"the smallest part has more than {limit:,.0f} multiply-adds")
    generator = seeding.numpy_stream(seed, "evolution")
    first = space.smallest  # fits when hardly anything else does
    judged = {first: Judged(first, space.macs(first), score(first))}

    def draw(n: int) -> int:
        return int(generator.integers(n))

    for generation in range(generations):
        parents = sorted(judged.values(), key=lambda candidate: -candidate.score)
        parents = parents[: max(1, population // 4)]
        tried, wanted = 0, (generation + 1) * population
        while len(judged) < wanted and (tried := tried + 1) < 100 * population:
            candidate = space.draw(draw)
            if generation:
                candidate = space.changed(parents[draw(len(parents))].candidate, draw)
            if candidate not in judged and (macs := space.macs(candidate)) <= limit:
                judged[candidate] = Judged(candidate, macs, score(candidate))
    return sorted(judged.values(), key=lambda candidate: -candidate.score)
