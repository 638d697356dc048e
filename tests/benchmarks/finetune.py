"""Training of all layers, images/s of the second epoch: our loop against a tutorial's.

Both augment, and both use AdamW with label smoothing; the plain way decodes the files each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import torch

from helpers.core import devices
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.training.augment import augmentation
from helpers.training.batches import image_batches
from helpers.training.loop import Training
from helpers.training.settings import FinetuneSettings
from tests.benchmarks import measure, plain
from tests.benchmarks.measure import Timed

EPOCHS = 2  # the first one warms up
VAL_IMAGES = 16  # validation is not timed


def ours(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int, root: Path) -> Timed:
    """Train a backbone as notebook 03 does, with the augmentation "full"."""
    model = plain.network(backbone, size_px)
    settings, cache = FinetuneSettings(batch_size=batch_size).fbp, open_cache(table, size_px, root)
    training = Training(
        model,
        image_batches(cache, table, model, batch_size, augmentation(settings.augment)),
        image_batches(cache, table.head(VAL_IMAGES), model, batch_size),
        dataclasses.replace(settings, epochs=EPOCHS),
        seed=0,
    ).run()
    return Timed(len(table) / training.history[-1]["images_per_s"], len(table))


def plainly(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int) -> Timed:
    """Train the stock network from files."""
    spec, device = backbones.spec_of(backbone, 2, size_px), devices.default_device()
    transform = plain.transform_of(size_px, spec.mean, spec.std, "full")
    batches = plain.loader(table, transform, batch_size, shuffle=True)
    model = plain.network(backbone, size_px)
    adamw = torch.optim.AdamW(model.parameters(), lr=FinetuneSettings().fbp_lr)
    seconds = plain.train(model, batches, device, EPOCHS, adamw)
    return Timed(seconds[-1], len(table))


def cases(folder: Path, small: bool) -> Iterator[tuple[str, Timed, Timed]]:
    """Yield one case per backbone."""
    images, size_px, batch_size = (12, 32, 4) if small else (512, 224, 32)
    table = plain.image_table(folder / "images", images)
    open_cache(table, size_px, folder / "cache")
    for backbone in plain.BACKBONES[: 1 if small else None]:
        arguments = (backbone, table, size_px, batch_size)
        mine = measure.fresh(ours, *arguments, folder / "cache")
        theirs = measure.fresh(plainly, *arguments)
        yield f"{backbone}, {size_px} px, batch {batch_size}", mine, theirs
