"""Images to embeddings: `features.embed_all` from the cache against a DataLoader.

The cache is built already, as in every run but the first; what `embed` prepares at each call, such
as a compilation, counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from helpers.core import devices
from helpers.datasets.cache import open_cache
from helpers.models import backbones
from helpers.training.features import embed_all
from tests.benchmarks import measure, plain
from tests.benchmarks.measure import Timed


def ours(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int, root: Path) -> Timed:
    """Time our embeddings, after a first batch that does not count."""
    cache, model, found = open_cache(table, size_px, root), plain.network(backbone, size_px), []
    embed_all(model, cache, table.head(batch_size), batch_size)
    seconds = measure.seconds_of(
        lambda: found.append(embed_all(model, cache, table, batch_size)["embedding"])
    )
    return Timed(seconds, len(table), found[0])


def plainly(backbone: str, table: pd.DataFrame, size_px: int, batch_size: int) -> Timed:
    """Time the stock network on a DataLoader, after a first batch that does not count."""
    spec, device = backbones.spec_of(backbone, 2, size_px), devices.default_device()
    transform = plain.transform_of(size_px, spec.mean, spec.std)
    trunk, found = plain.network(backbone, size_px).trunk, []
    plain.embed(trunk, plain.loader(table.head(batch_size), transform, batch_size), device)
    batches = plain.loader(table, transform, batch_size)
    seconds = measure.seconds_of(lambda: found.append(plain.embed(trunk, batches, device)))
    return Timed(seconds, len(table), found[0])


def cases(folder: Path, small: bool) -> Iterator[tuple[str, Timed, Timed]]:
    """Yield one case per backbone."""
    images, size_px, batch_size = (6, 32, 4) if small else (2048, 224, 64)
    table = plain.image_table(folder / "images", images)
    open_cache(table, size_px, folder / "cache")
    for backbone in plain.BACKBONES[: 1 if small else None]:
        arguments = (backbone, table, size_px, batch_size)
        mine = measure.fresh(ours, *arguments, folder / "cache")
        yield f"{backbone}, {size_px} px", mine, measure.fresh(plainly, *arguments)
