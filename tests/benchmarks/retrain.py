"""Training of the network of DARTS_V2, images/s of the second epoch: ours against the plain one.

The sizes are those of the preset `quick`. The plain network has the same operations and numbers of
weights, by torch's own modules; it is trained from the files, gray as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import devices
from helpers.darts import retrain
from helpers.darts.genotypes import PUBLISHED
from helpers.datasets.cache import open_cache
from helpers.runs import settings as config
from helpers.runs.settings import RetrainSettings
from tests.benchmarks import plain
from tests.benchmarks.finetune import EPOCHS, our_epoch
from tests.benchmarks.measure import Timed
from tests.benchmarks.networks import PlainDerived
from tests.benchmarks.report import Case, Options

GENOTYPE = "DARTS_V2"
QUICK: RetrainSettings = config.resolve("05_genotype_retraining", "quick", {})
SIZES = {
    "images": 1_280,
    "size_px": QUICK.retrain_image_size_px,
    "batch_size": QUICK.retrain_batch_size,
    "channels": QUICK.retrain_channels,
    "layers": QUICK.retrain_layers,
}
SMALL = {"images": 12, "size_px": 32, "batch_size": 4, "channels": 4, "layers": 3}


def settings_of(sizes: dict[str, Any]) -> RetrainSettings:
    """Return the preset `quick` with these sizes."""
    return dataclasses.replace(
        QUICK,
        retrain_batch_size=sizes["batch_size"],
        retrain_channels=sizes["channels"],
        retrain_layers=sizes["layers"],
    )


def ours(table: pd.DataFrame, sizes: dict[str, Any], root: Path) -> Timed:
    """Train a network as notebook 05 does."""
    settings, cache = settings_of(sizes), open_cache(table, sizes["size_px"], root)
    network = retrain.make_network(settings, PUBLISHED[GENOTYPE], cache, seed=0)
    return our_epoch(network, table, cache, settings.training)


def plainly(table: pd.DataFrame, sizes: dict[str, Any], in_channels: int) -> Timed:
    """Train the same network of torch's own modules, from files."""
    mode, settings = "L" if in_channels == 1 else "RGB", settings_of(sizes)
    middle = [0.5] * in_channels
    augment = settings.retrain_augment
    transform = plain.transform_of(sizes["size_px"], middle, [0.25] * in_channels, augment)
    batches = plain.loader(table, transform, sizes["batch_size"], shuffle=True, mode=mode)
    shape = (settings.retrain_channels, settings.retrain_layers, 2, in_channels)
    network, device = PlainDerived(PUBLISHED[GENOTYPE], *shape), devices.default_device()
    return Timed(plain.train(network, batches, device, EPOCHS, settings.retrain_lr)[-1], len(table))


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case."""
    root = options.cache_root
    table = options.table(sizes["images"])
    in_channels = open_cache(table, sizes["size_px"], root).channels
    mine = options.measure(ours, table, sizes, root)
    theirs = options.measure(plainly, table, sizes, in_channels)
    name = f"{GENOTYPE}, C={sizes['channels']}, L={sizes['layers']}, {sizes['size_px']} px"
    yield Case(name, mine, theirs, "images/s")
