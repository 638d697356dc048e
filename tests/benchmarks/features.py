"""Time images to embeddings, images/s: `features.embed` from the cache against a DataLoader.

The cache is built already, as in every run but the first; what `embed` prepares at each call, such
as a compilation, counts. ResNet-18 has random weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import devices
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.training.features import embed
from tests.benchmarks import measure, networks, plain
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"images": 2_048, "size_px": 224, "batch_size": 64, "backbones": networks.BACKBONES}
SMALL = {"images": 6, "size_px": 32, "batch_size": 4, "backbones": networks.BACKBONES[:1]}


def ours(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int, root: Path) -> Timed:
    """Time our embeddings, after a first batch that does not count."""
    cache = open_cache(table, size_px, root)
    model, found = networks.ours(backbone, size_px), []
    embed(model, cache, table.head(batch_size), batch_size)
    seconds = measure.seconds_of(
        lambda: found.append(embed(model, cache, table, batch_size).embeddings)
    )
    return Timed(seconds, len(table), result=found[0])


def plainly(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int) -> Timed:
    """Time the stock network on a DataLoader, after a first batch that does not count."""
    spec, device = backbones.spec_of(backbone, 2, size_px), devices.default_device()
    transform = plain.transform_of(size_px, spec.mean, spec.std)
    trunk, found = networks.plain_trunk(backbone), []
    plain.embed(trunk, plain.loader(table.head(batch_size), transform, batch_size), device)
    batches = plain.loader(table, transform, batch_size)
    seconds = measure.seconds_of(lambda: found.append(plain.embed(trunk, batches, device)))
    return Timed(seconds, len(table), result=found[0])


def differences(mine: np.ndarray, theirs: np.ndarray) -> dict[str, float]:
    """Compare two embeddings (N, D): the root mean square of the difference as a fraction of that
    of `theirs`, and the largest difference as a fraction of their largest value."""
    apart = np.abs(mine - theirs)
    return {
        "rms_difference_fraction": float(np.sqrt((apart**2).mean() / (theirs**2).mean())),
        "largest_difference_fraction": float(apart.max() / np.abs(theirs).max()),
    }


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case per backbone."""
    size_px, batch, root = sizes["size_px"], sizes["batch_size"], options.cache_root
    table = options.table(sizes["images"])
    open_cache(table, size_px, root)
    for backbone in sizes["backbones"]:
        arguments = (backbone, table, size_px, batch)
        mine = options.measure(ours, *arguments, root)
        theirs = options.measure(plainly, *arguments)
        facts = differences(mine.result, theirs.result)
        rms, largest = facts.values()
        remark = f"embeddings differ by {rms:.1%} (rms), at most {largest:.1%} of the largest"
        yield Case(f"{backbone}, {size_px} px", mine, theirs, "images/s", remark, facts)
