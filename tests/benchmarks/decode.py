"""Time images to tensors: our cache, built once, against one epoch's pass of a DataLoader.

The plain way decodes again in every epoch; all images in memory as float32 would be too large.
The files have just been written, so that both read them from the system's page cache.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.datasets.cache import open_cache
from tests.benchmarks import measure, plain
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"images": [3_000, 30_000], "size_px": 224, "batch_size": 64}
SMALL = {"images": [40], "size_px": 64, "batch_size": 8}


def ours(table: pd.DataFrame, size_px: int, folder: Path) -> Timed:
    """Build the cache in a new folder, which is removed afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as root:
        seconds = measure.seconds_of(lambda: open_cache(table, size_px, Path(root)))
    return Timed(seconds, len(table))


def plainly(table: pd.DataFrame, size_px: int, batch_size: int) -> Timed:
    """Go through a DataLoader once."""
    batches = plain.loader(table, plain.transform_of(size_px), batch_size)
    return Timed(measure.seconds_of(lambda: deque(batches, maxlen=0)), len(table))


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case per number of images, at most as many as a given folder holds."""
    counts, size_px = [], sizes["size_px"]
    for count in sizes["images"]:
        table = options.table(count)
        if len(table) in counts:
            continue
        counts.append(len(table))
        mine = options.measure(ours, table, size_px, options.cache_root)
        theirs = options.measure(plainly, table, size_px, sizes["batch_size"])
        each = [f"{1000 * side.seconds_each:.2f}" for side in (mine, theirs)]
        remark = f"{' and '.join(each)} ms an image"
        yield Case(f"{len(table):,} images to {size_px} px", mine, theirs, "s", remark)
