"""Search a cell by gradient descent (DARTS, Algorithm 1).

Sources: Liu et al. 2018, arXiv 1806.09055; partial channels and alpha's warm-up: Xu et al. 2019,
arXiv 1907.05737. The images are split in two, stratified by class: one half for w, one for alpha.

    result = search(images, table, SearchSettings(epochs=2, layers=3))  # table: `id`, `label`
    result.genotype.edges("normal")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch.nn.functional as F
from torch import Tensor

from helpers.core import environment, seeding
from helpers.core.members import one_holds_a_class, stratified_folds
from helpers.darts.architect import Architect
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.genotypes import Genotype, count_skips, derive_genotype
from helpers.darts.settings import SearchSettings
from helpers.darts.space import NUM_CLASSES, has_standard_operations
from helpers.darts.supernet import ARCHITECTURE, Supernet
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import ModelSpec
from helpers.training.batches import Batches, ImageBatches, augmentation
from helpers.training.inference import evaluate
from helpers.training.loop import Training, TrainingError

Record = Mapping[str, Any]  # an epoch's entry in the history of the search


@dataclass(frozen=True)
class Search:
    """A finished search: a record of each epoch, its provenance, the supernet's last state."""

    history: list[dict[str, Any]]
    provenance: dict[str, Any]
    weights: dict[str, Tensor]  # w and alpha by name

    @property
    def genotype(self) -> Genotype:
        """Return the cell of the last epoch, within the limit of skip connections."""
        return genotype_of(self.history[-1], self.provenance["settings"]["max_skips"])


def search(images: ImageCache, table: pd.DataFrame, settings: SearchSettings) -> Search:
    """Search a cell on the images of a table: `id`, `label`, and `group` if groups stay apart."""
    net = make_supernet(settings, images)
    for_w, for_alpha = halves(table, settings.seed, settings.search_images)
    augment = augmentation(settings.augment)
    w_half, alpha_half = (
        ImageBatches(images, half, net, settings.batch_size, augment) for half in (for_w, for_alpha)
    )
    history = alternate(net, w_half, alpha_half, settings)
    method = "PC-DARTS" if settings.partial > 1 else "DARTS"
    provenance = {
        "method": f"{method}, {'second' if settings.order == 2 else 'first'} order",
        "settings": dataclasses.asdict(settings),
        "epochs": len(history),
        "skips": count_skips(genotype_of(history[-1], -1)),  # before the limit
        "alpha_half_auc": evaluate(net, alpha_half)["val_auc"],
        "seconds": round(sum(record["total_seconds"] for record in history), 1),
        "device": environment.device_name(environment.default_device()),
    }
    return Search(history, provenance, {n: value.cpu() for n, value in net.state_dict().items()})


def alternate(
    net: Supernet, w_half: Batches, alpha_half: Batches, settings: SearchSettings
) -> list[dict[str, Any]]:
    """Train a supernet by Algorithm 1; return an entry for each epoch, see `architecture`."""
    rates = settings.alpha_lr, settings.alpha_weight_decay
    architect = Architect(net, F.cross_entropy, settings.order, *rates)
    given, weights = settings.training, net.weight_parameters()
    training = Training(net, w_half, None, given, seed=settings.seed, parameters=weights)
    training.extra["adam"] = architect.adam
    for record in training.epochs():
        losses: list[float] = []
        alpha_batches = endless(alpha_half, settings.seed, record["epoch"] - 1)
        for batch in training.batches():
            if record["epoch"] > settings.alpha_warmup:  # alpha, on its half
                losses.append(architect.step(next(alpha_batches), batch, training.optimizer))
            training.step(*batch)  # w, on the other half
        record["alpha_loss"] = float(np.mean(losses)) if losses else None
        record.update(architecture(net))
    return training.history


def training_images(split: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a search sees, with groups if they are known.

    Groups that both halves shared would reward operations that recognise a group seen by w.
    """
    return split.loc[split.split == "train", split.columns.intersection(["id", "label", "group"])]


def halves(table: pd.DataFrame, seed: int, limit: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows in two halves, each class halved, both in random order.

    About `limit` rows are drawn if there are more, with the classes in proportion (PC-DARTS
    searches on a tenth of ImageNet); 0 takes all. Classes are mixed because batch norm uses the
    statistics of the batch. If there is a column `group`, no group is in both halves, unless one of
    them would lack a class.
    """
    rng = seeding.numpy_stream(seed, "search halves")
    rows = table.iloc[rng.permutation(len(table))]
    if 0 < limit < len(rows):
        share = limit / len(rows)
        position, size = rows.groupby("label").cumcount(), rows.groupby("label").label
        # at least two of each class, one for either half
        rows = rows[position < (size.transform("size") * share).round().clip(lower=2)]
    half = rows.groupby("label").cumcount().to_numpy() % 2
    if "group" in rows:
        random_state = seeding.stream_seed(seed, "search halves") % 2**32
        by_group = stratified_folds(rows.label, 2, random_state, rows.group)
        if one_holds_a_class(by_group, rows.label):
            print("the halves of the search share groups: a class is in too few of them")
        else:
            half = by_group
    return rows[half == 0], rows[half == 1]


def make_supernet(settings: SearchSettings, images: ImageCache) -> Supernet:
    """Return the fast supernet (the readable one with own operations); the seed sets its weights.

    The smallest maps have at least 28 pixels, as in DARTS at 224 px (appendix A.4), and two
    reductions make them 7: a dilated 5x5 convolution spans 9, and uses one tap on 2 x 2 maps.
    """
    supernet = FastSupernet if has_standard_operations() else Supernet
    strides = {"imagenet": 8, "quarter": 4, "half": 2, "cifar": 1}
    stem = next((s for s, stride in strides.items() if images.size_px >= 28 * stride), "cifar")
    size = (settings.channels, settings.layers, NUM_CLASSES)
    with seeding.torch_stream(settings.seed, "initial weights supernet"):
        net = supernet(*size, images.channels, stem, settings.partial)
    middle, spread = (0.5,) * images.channels, (0.25,) * images.channels
    shape = (NUM_CLASSES, images.size_px, images.channels)
    net.spec = ModelSpec("supernet", "supernet", *shape, middle, spread, 0, feature_layer="")
    return net


def endless(half: Batches, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of a half in the epoch's order; at the end, start again."""
    if len(half) < 2:  # batch norm needs two images
        raise TrainingError(f"the half for alpha has {len(half)} images: give more training images")
    while True:
        for _, images, targets in half.shuffled(seeding.stream_seed(seed, "alpha part"), epoch):
            yield images, targets


def architecture(net: Supernet) -> dict[str, Any]:
    """Return alpha of both kinds of cell (and beta, or None) as plain numbers."""
    values = {name: getattr(net, name) for name in ARCHITECTURE}
    return {name: p if p is None else p.detach().cpu().tolist() for name, p in values.items()}


def genotype_of(record: Record, max_skips: int) -> Genotype:
    """Derive the cells from the alpha of an epoch."""
    return derive_genotype(**{name: record[name] for name in ARCHITECTURE}, max_skips=max_skips)
