"""PatchCore on EfficientNet-Lite0: seconds and memory to fill its memory and to score images.

There is no plain side. The images are noise: neither time nor memory depends on what they show.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from helpers.datasets.cache import ImageCache
from helpers.models.backbones import find_weights
from helpers.training import patchcore
from helpers.training.features import image_batches
from helpers.training.inference import predict
from helpers.training.settings import BaselineSettings
from tests.benchmarks import measure
from tests.benchmarks.measure import Timed
from tests.benchmarks.report import Case, Options

SIZES = {"good": [1_500, 15_000], "size_px": 192, "scored": 500}
SMALL = {"good": [20], "size_px": 32, "scored": 3}
BACKBONE = "efficientnet_lite0"
SHARE = BaselineSettings().patchcore_share


def work(good: int, scored: int, size_px: int, fills: bool) -> Timed:
    """Fill the memory from good images, or score others with it; the other part is not timed."""
    count, rng = good + scored, np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, size_px, size_px, 1), dtype=np.uint8)
    ids, is_good = [f"{i:06d}" for i in range(count)], np.arange(count) < good
    split = pd.DataFrame({"id": ids, "label": 0, "split": np.where(is_good, "train", "test")})
    cache, weights = ImageCache(pixels, split[["id"]], "noise"), find_weights(BACKBONE)
    found = []
    filling = measure.seconds_of(
        lambda: found.append(patchcore.fit(weights, cache, split[is_good], SHARE, seed=0))
    )
    facts = {"memory": found[0].memory}
    if fills:
        return Timed(filling, facts=facts)
    batches = image_batches(cache, split[~is_good], found[0].network, 64)
    return Timed(measure.seconds_of(lambda: predict(found[0].network, batches)), scored, facts)


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield filling and scoring for each number of good images."""
    for good in sizes["good"]:
        given = good, sizes["scored"], sizes["size_px"]
        filled, scored = (options.measure(work, *given, fills) for fills in (True, False))
        remark = f"{filled.facts['memory']:,} patches in memory"
        yield Case(f"fill, {good:,} good images", filled, None, "s", remark)
        yield Case(f"score, {good:,} good images", scored, None, "images/s")
