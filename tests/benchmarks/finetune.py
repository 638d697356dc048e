"""Training of all layers, images/s of the second epoch: our loop against a tutorial's.

Both augment, and both use AdamW with label smoothing; the plain way decodes the files each time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import devices
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.models.depthwise import use_fast_depthwise
from helpers.training.features import image_batches
from helpers.training.loop import Training
from helpers.training.settings import FinetuneSettings
from tests.benchmarks import networks, plain
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"images": 512, "size_px": 224, "batch_size": 32, "backbones": networks.BACKBONES}
SMALL = {"images": 12, "size_px": 32, "batch_size": 4, "backbones": networks.BACKBONES[:1]}
EPOCHS = 2  # the first one warms up
VAL_IMAGES = 16  # validation is not timed


def ours(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int, root: Path) -> Timed:
    """Train a backbone as notebook 03 does, with the augmentation "full"."""
    model = use_fast_depthwise(networks.ours(backbone, size_px))
    settings, cache = FinetuneSettings(batch_size=batch_size).fbp, open_cache(table, size_px, root)
    training = Training(
        model,
        image_batches(cache, table, model, batch_size, settings.augment),
        image_batches(cache, table.head(VAL_IMAGES), model, batch_size),
        dataclasses.replace(settings, epochs=EPOCHS),
        seed=0,
        name="benchmark",
    ).run()
    return Timed(len(table) / training.history[-1]["images_per_s"], len(table))


def plainly(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int) -> Timed:
    """Train the stock network from files."""
    spec, device = backbones.spec_of(backbone, 2, size_px), devices.default_device()
    transform = plain.transform_of(size_px, spec.mean, spec.std, "full")
    batches = plain.loader(table, transform, batch_size, shuffle=True)
    model = networks.plain_classifier(backbone)
    seconds = plain.train(model, batches, device, EPOCHS, FinetuneSettings().fbp_lr)
    return Timed(seconds[-1], len(table))


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case per backbone."""
    size_px, batch, root = sizes["size_px"], sizes["batch_size"], options.cache_root
    table = options.table(sizes["images"])
    open_cache(table, size_px, root)
    for backbone in sizes["backbones"]:
        arguments = (backbone, table, size_px, batch)
        mine = options.measure(ours, *arguments, root)
        theirs = options.measure(plainly, *arguments)
        yield Case(f"{backbone}, {size_px} px, batch {batch}", mine, theirs, "images/s")
