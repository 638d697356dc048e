"""PatchCore, a model for lines that have no bad parts yet: it learns from good images alone.

`memory_bank` holds the method. Here it becomes a row of a run: a memory for each fold, made from
the good images of the other folds, and the scores of the images that it has not seen.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm.auto import tqdm

from helpers.core import devices, environment, files, seeding
from helpers.core.members import Member, cross_fitted, sides
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import (
    PretrainedClassifier,
    Weights,
    load_model,
    pretrained,
    save_model,
)
from helpers.models.names import PATCHCORE
from helpers.models.patch_features import NoMiddleLayersError, middle_layers, patch_features
from helpers.results.predictions import save_predictions
from helpers.runs.stages import Stage
from helpers.training.features import EMBED_BATCH, image_batches
from helpers.training.inference import Scorer, judging_precision
from helpers.training.memory_bank import (
    NEIGHBOURS,
    MemoryBank,
    PatchCoreNetwork,
    core_set,
    network_of,
)
from helpers.training.settings import BaselineSettings

MOST_PATCHES = 100_000  # a core set is chosen from at most so many, equally many of each image
MOST_ASIDE = 200  # good images that are not remembered, to learn what score is usual
Banks = dict[Member, MemoryBank]


@dataclass(frozen=True)
class Patches:
    """A frozen backbone, the layers that patches are taken from, and the images of a run."""

    backbone: PretrainedClassifier
    layers: tuple[str, ...]  # dotted names
    cache: ImageCache
    batch_size: int = EMBED_BATCH

    def features(self, table: pd.DataFrame, name: str = "") -> Iterator[Tensor]:
        """Yield the patch features (B, D, h, w) of the images of a table (`id`, `label`).

        They are on the device; a bar called `name` counts the images.
        """
        batches = image_batches(self.cache, table, self.backbone, self.batch_size)
        scorer = Scorer(self.backbone, batches.device, images=len(batches))
        function = functools.partial(patch_features, self.backbone, layers=self.layers)
        return scorer.outputs(function, batches, name)


def fit(stage: Stage, weights: Weights) -> list[dict[str, Any]]:
    """Fill a memory for each member and write the predictions, both once.

    If the split has folds there is a memory for each, from the good images of the other folds;
    without folds the good images of the side `train` fill one. No bad image is used. Each memory is
    saved with its backbone as a network, see `PatchCoreNetwork`.

    Returns:
        One row: the numbers of good images, of their patches that the core sets were chosen from,
        and of patches in the memories; megabytes and seconds of all memories. No row if the
        backbone has no suitable layers: a printed line says why.
    """
    settings: BaselineSettings = stage.settings
    split = stage.split
    cache = stage.images(settings.image_size_px)
    backbone = pretrained(weights, num_classes=2, image_size_px=cache.size_px)
    try:
        layers = middle_layers(backbone)
    except NoMiddleLayersError as error:
        print(f"PatchCore is left out: {error}")
        return []
    patches = Patches(backbone, layers, cache, settings.batch_size)
    members = cross_fitted(split, [settings.seed])
    paths: dict[str, Any] = {str(m): stage.paths.checkpoint(PATCHCORE, *m) for m in members}
    record = stage.paths.metrics(f"fit_{PATCHCORE}")
    seen = [column for column in ("id", "label", "split", "fold") if column in split]
    inputs = {
        "images": cache.content,
        "split": files.fingerprint(split[seen].astype(str).to_numpy()),
        "weights": weights.digest,
        "share": settings.patchcore_share,
        "seed": settings.seed,
    }

    def remember(record: Path, **memories: Path) -> None:
        started = time.monotonic()
        banks, facts = _filled(patches, split, members, settings)
        for old in stage.paths.trainings(PATCHCORE).glob("*.safetensors"):
            old.unlink()  # of other folds
        for path, member in zip(memories.values(), members, strict=True):
            save_model(
                path,
                network_of(backbone, layers, banks[member]),
                full_scale_bits=cache.bits,
                fit=cache.fit,
                views=1,
                precision=judging_precision(backbone, devices.default_device()),
                made_with={"commit": environment.commit(), **environment.versions()},
            )
        facts |= {"seconds": round(time.monotonic() - started, 1)}
        files.save_json(record, {"model": "PatchCore", "features": weights.backbone, **facts})

    def predict(predictions: Path) -> None:
        banks = {m: _bank(path) for m, path in zip(members, paths.values(), strict=True)}
        judged = [sides(split, m.fold).split.isin(["val", "test"]).to_numpy() for m in members]
        wanted = dict(zip(members, judged, strict=True))
        raw = _scores(patches, banks, split, wanted)
        save_predictions(predictions, split, {m: banks[m].defect_scores(raw[m]) for m in members})

    sizes = ["image_size_px", "batch_size"]
    stage.once("patchcore memory", inputs, remember, sizes=sizes, record=record, **paths)
    scored = inputs | {"memory": [files.file_digest(path) for path in paths.values()]}
    predictions = stage.paths.predictions(PATCHCORE)
    stage.once(PATCHCORE, scored, predict, sizes=sizes, predictions=predictions)
    return [files.load_json(record)]


def _bank(path: Path) -> MemoryBank:
    model = load_model(path)
    assert isinstance(model, PatchCoreNetwork)
    return model.bank


def about(row: Mapping[str, Any]) -> str:
    """Say what a row of `fit` holds: the memory, of the first fold if there are several."""
    names = ("memory", "patches", "good_images")
    memory, patches, images = (np.atleast_1d(row[name]) for name in names)
    first, in_all = (
        ("", "") if len(memory) == 1 else (f", in the first of {len(memory)} folds", " in all")
    )
    return (
        f"PatchCore remembers {memory[0]:,} of {patches[0]:,} patches of {images[0]:,} good images"
        f"{first} ({row['memory_mb']:,} MB and {row['seconds']:,} s{in_all})."
    )


class _Good(NamedTuple):
    """The good training images of one member, as rows of the split."""

    remembered: np.ndarray  # their patches are offered to the memory
    aside: np.ndarray  # their scores say what is usual

    @property
    def patches_each(self) -> int:
        """The number of patches that each image offers, all of its own if it has fewer."""
        return MOST_PATCHES // len(self.remembered)


def _good(split: pd.DataFrame, member: Member) -> _Good:
    """Divide a member's good training images at random: a tenth of them is put aside."""
    table = sides(split, member.fold)
    is_good = (table.split == "train") & (table.label == 0).fillna(False)
    good = np.flatnonzero(is_good.to_numpy(dtype=bool))
    if len(good) < 2:
        raise ValueError(f"PatchCore needs two good training images; there are {len(good)}")
    order = seeding.numpy_stream(member.seed, f"patchcore {member.fold}").permutation(good)
    aside = min(MOST_ASIDE, max(1, len(good) // 10))
    return _Good(np.sort(order[aside:][:MOST_PATCHES]), np.sort(order[:aside]))


def _filled(
    source: Patches, split: pd.DataFrame, members: list[Member], settings: BaselineSettings
) -> tuple[Banks, dict[str, Any]]:
    """Return the memories of all members, and facts about them."""
    good = {member: _good(split, member) for member in members}
    drawn = _drawn(source, split, good, settings.seed)
    banks, offered, device = Banks(), list[int](), devices.default_device()
    for member in tqdm(members, desc="core sets", leave=False, disable=len(members) == 1):
        own = good[member]
        patches = np.concatenate([drawn[row][: own.patches_each] for row in own.remembered])
        size = max(round(settings.patchcore_share * len(patches)), NEIGHBOURS)
        seed = seeding.stream_seed(member.seed, f"core set {member.fold}")
        rows = core_set(patches, min(size, len(patches)), seed, device)
        banks[member] = MemoryBank(torch.from_numpy(patches[rows]))
        offered.append(len(patches))
    aside = {m: np.isin(np.arange(len(split)), good[m].aside) for m in members}
    raw = _scores(source, banks, split, aside)
    usual = {m: float(np.median(raw[m][aside[m]])) or 1.0 for m in members}
    banks = {m: MemoryBank(bank.patches, usual[m]) for m, bank in banks.items()}
    facts: dict[str, Any] = {
        "good_images": [len(good[m].remembered) for m in members],
        "patches": offered,
        "memory": [len(banks[m].patches) for m in members],
    }
    if len(members) == 1:
        facts = {name: values[0] for name, values in facts.items()}
    megabytes = sum(bank.patches.nbytes for bank in banks.values()) / 1e6
    facts["memory_mb"] = round(megabytes, 1)
    return banks, facts


def _drawn(
    source: Patches, split: pd.DataFrame, good: Mapping[Member, _Good], seed: int
) -> dict[int, np.ndarray]:
    """Return patches (k, D) of each image that a memory is made from, by row of the split.

    Each image goes through the backbone once. Its patches are drawn at random in an order of its
    own, of which each member takes the first ones, so they do not depend on the other images.
    """
    rows = np.unique(np.concatenate([own.remembered for own in good.values()]))
    most = max(own.patches_each for own in good.values())
    images, drawn = iter(rows), dict[int, np.ndarray]()
    for features in source.features(split.iloc[rows], "good patches"):
        for patches in features.flatten(2).transpose(1, 2):  # (h w, D)
            row = next(images)
            purpose = f"patches of {split.id.iloc[row]}"
            order = seeding.numpy_stream(seed, purpose).permutation(len(patches))[:most]
            drawn[row] = patches[torch.from_numpy(order).to(patches.device)].cpu().numpy()
    return drawn


def _scores(
    source: Patches, banks: Banks, split: pd.DataFrame, wanted: Mapping[Member, np.ndarray]
) -> dict[Member, np.ndarray]:
    """Return each member's raw scores (N,) of its wanted rows of the split, NaN elsewhere."""
    rows = np.flatnonzero(np.logical_or.reduce([*wanted.values()]))
    raw = {member: np.full(len(split), np.nan) for member in wanted}
    done = 0
    for features in source.features(split.iloc[rows], "patch distances"):
        batch = rows[done : done + len(features)]
        done += len(batch)
        for member, own in wanted.items():
            if (mask := own[batch]).any():
                part = features[torch.from_numpy(mask).to(features.device)]
                raw[member][batch[mask]] = banks[member].scores(part).cpu().numpy()
    return raw
