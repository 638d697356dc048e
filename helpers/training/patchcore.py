"""PatchCore, a model for lines that have no bad parts yet: it learns from good images alone.

`memory_bank` holds the method. Here good images fill a memory, which scores the other images.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.core import devices, environment, seeding
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import Facts, Weights, pretrained
from helpers.training.batches import image_batches
from helpers.training.features import EMBED_BATCH
from helpers.training.inference import Scorer, judging_precision
from helpers.training.memory_bank import (
    NEIGHBOURS,
    MemoryBank,
    PatchCoreNetwork,
    core_set,
    middle_stages,
    network_of,
    patch_features,
)

MOST_PATCHES = 100_000  # a core set is chosen from at most so many, equally many of each image
MOST_ASIDE = 200  # good images that are not remembered, to learn what score is usual


@dataclass(frozen=True)
class FittedPatchCore:
    """A frozen backbone with a memory of good patches, and its scores."""

    network: PatchCoreNetwork
    scores: pd.DataFrame  # id, split, defect_score of the rows "val" and "test"
    good_images: int  # whose patches were offered
    patches: int  # that the core set was chosen from
    seconds: float


def fit(
    weights: Weights,
    images: ImageCache,
    table: pd.DataFrame,
    share: float,
    seed: int,
) -> FittedPatchCore:
    """Remember patches of the good rows `train`, and score the rows `val` and `test`.

    No bad image is used. A tenth of the good training images is put aside: the median of their
    scores becomes a defect score of 0.5. The core set keeps a `share` of the patches. `seed` is
    that of the images put aside, of the patches offered and of the core set.

    Raises:
        NoMiddleLayersError: the backbone has no suitable stages.
        ValueError: there are fewer than two good training images.
    """
    started = time.monotonic()
    backbone = pretrained(weights, num_classes=2, image_size_px=images.size_px)
    middle_stages(backbone)  # an error comes before the work
    device = devices.default_device()
    scorer = Scorer(backbone, device, images=len(table))
    function = functools.partial(patch_features, backbone)

    def features(rows: pd.DataFrame, name: str) -> Iterator[Tensor]:  # (B, D, h, w)
        return scorer.outputs(function, image_batches(images, rows, backbone, EMBED_BATCH), name)

    def scores(bank: MemoryBank, rows: pd.DataFrame) -> np.ndarray:
        parts = [bank.scores(part).cpu().numpy() for part in features(rows, "patch distances")]
        return np.concatenate(parts)

    good = table[(table.split == "train") & (table.label == 0).fillna(False).astype(bool)]
    if len(good) < 2:
        raise ValueError(f"PatchCore needs two good training images; there are {len(good)}")
    order = seeding.numpy_stream(seed, "patchcore").permutation(len(good))
    aside = min(MOST_ASIDE, max(1, len(good) // 10))
    remembered = good.iloc[np.sort(order[aside:][:MOST_PATCHES])]
    each = MOST_PATCHES // len(remembered)  # all patches of an image that has fewer
    drawn, ids = [], iter(remembered.id)
    for part in features(remembered, "good patches"):
        for patches in part.flatten(2).transpose(1, 2):  # (h w, D)
            stream = seeding.numpy_stream(seed, f"patches of {next(ids)}")
            rows = torch.from_numpy(stream.permutation(len(patches))[:each])
            drawn.append(patches[rows.to(patches.device)].cpu().numpy())
    offered = np.concatenate(drawn)
    size = min(max(round(share * len(offered)), NEIGHBOURS), len(offered))
    chosen = core_set(offered, size, seeding.stream_seed(seed, "core set"), device)
    bank = MemoryBank(torch.from_numpy(offered[chosen]))
    usual = float(np.median(scores(bank, good.iloc[np.sort(order[:aside])]))) or 1.0
    bank = MemoryBank(bank.patches, usual)

    judged = table[table.split.isin(["val", "test"])].reset_index(drop=True)
    network = network_of(backbone, bank)
    versions = {"commit": environment.commit(), **environment.versions()}
    precision = judging_precision(backbone, device)
    network.facts = Facts(images.bits, images.fit, 1, precision, versions)
    return FittedPatchCore(
        network=network,
        scores=judged[["id", "split"]].assign(
            defect_score=bank.defect_scores(scores(bank, judged))
        ),
        good_images=len(remembered),
        patches=len(offered),
        seconds=round(time.monotonic() - started, 1),
    )


def about(fits: list[FittedPatchCore]) -> str:
    """Say what the memories hold: the first one's numbers if there is one for each fold."""
    first = fits[0]
    megabytes = sum(fit.network.memory.nbytes for fit in fits) / 1e6
    seconds = sum(fit.seconds for fit in fits)
    of_all = "" if len(fits) == 1 else f", in the first of {len(fits)} folds"
    return (
        f"PatchCore remembers {len(first.network.memory):,} of {first.patches:,} patches of "
        f"{first.good_images:,} good images{of_all} ({megabytes:,.1f} MB and {seconds:,.0f} s in "
        "all)."
    )
