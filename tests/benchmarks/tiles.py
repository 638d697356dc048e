"""Small defects in large images, with tiles and without: `python -m tests.benchmarks.tiles`.

Chips are drawn at 1,024 px; the bad ones have a crumb of at most 24 px, the good ones dust of at
most 10 px. A linear probe (LL) and PatchCore see them shrunk to 256 px, whole, and whole in 5 x 5
tiles, which PatchCore does not need: its patches are tiles already. Writes tiles.csv: the AUC on
images that were not trained on, the share of bad ones whose map is highest on the defect, and
CPU seconds for each image that is scored.
"""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from helpers.core import files, metrics, paths
from helpers.datasets import chips as draw
from helpers.datasets.cache import ImageCache, open_cache
from helpers.explain.anomaly_maps import AnomalyMaps
from helpers.explain.localisation import masks_of, pointing_game
from helpers.explain.subject import make_subject
from helpers.models import backbones, compiled
from helpers.training import fit, patchcore
from helpers.training.features import Features, embed_all
from helpers.training.settings import TrainSettings

PIXELS = 1024
CRUMB_PX = (14.0, 18.0)  # its edge is ragged, so at most 24 px are drawn, before the blur
SEEN = 30  # gray levels that a pixel of the defect differs by
CASES = ((256, 0), (PIXELS, 5), (PIXELS, 0))  # pixels and tiles
TABLE = paths.project_root() / "tests" / "benchmarks" / "tiles.csv"
PROBE = TrainSettings(
    epochs=40, batch_size=16, lr=3e-3, label_smoothing=0.0, augment="none", keep="last"
)


def chip(number: int, is_bad: bool, size_px: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a chip (H, W) uint8 and the mask, bool, of its defect: a bright crumb on the body."""
    part = draw.draw_parameters(draw.stream(0, "part", "train", number))
    rng = draw.stream(0, "defect", "train", number)
    size = rng.uniform(*CRUMB_PX) / (size_px / draw.UNITS)
    points = draw._ragged(rng.uniform(-0.45, 0.45, 2) * part.body, size, size, 0, rng)
    with_crumb = draw._with(part, points, part.level + rng.uniform(105, 205))
    good, bad = (
        draw.expose(draw.draw_scene(p, size_px), p, draw.stream(0, "sensor", "train", number))
        for p in (part, with_crumb)
    )
    return (bad if is_bad else good), np.abs(bad.astype(int) - good) > SEEN


def draw_chips(folder: Path, count: int, size_px: int) -> pd.DataFrame:
    """Draw chips that are missing; return `id, path, label, split, file` (of the mask)."""
    rows = []
    for number in range(count):
        label, name = number % 2, folder / f"chip{number:03d}.png"
        split, file = ("train", "val")[number // 2 % 2], name.with_suffix(".mask.png")
        if not name.is_file():
            image, mask = chip(number, bool(label), size_px)
            Image.fromarray(mask).save(file)
            Image.fromarray(image).save(name)
        rows.append((name.stem, str(name), label, split, file))
    return pd.DataFrame(rows, columns=["id", "path", "label", "split", "file"])


def row(model: str, cache: ImageCache, tiles: int, bad: pd.DataFrame, maps, judged, seconds):
    """Return a row of the table; `judged` has `label` and `defect_score`."""
    masks = masks_of(bad, cache)
    hits = metrics.rate_interval(pointing_game(maps, masks).numpy() > 0.5)
    auc = metrics.auc_interval(judged.label, judged.defect_score)
    return {
        "model": model,
        "image_size_px": cache.size_px,
        "tiles": tiles,
        "images": len(judged),
        **{f"auc{end}": value for end, value in zip(("", "_low", "_high"), auc, strict=True)},
        **{f"hits{end}": value for end, value in zip(("", "_low", "_high"), hits, strict=True)},
        "chance": masks.double().mean().item(),
        "seconds": seconds / len(judged),
    }


def cases(table: pd.DataFrame, folder: Path, each: tuple[tuple[int, int], ...]) -> Iterator[dict]:
    """Yield the rows of LL and PatchCore; the latter once for each size."""
    val, seed = table[table.split == "val"], 0
    for size_px, tiles in each:
        cache = open_cache(table, size_px, folder / "cache")
        weights = backbones.find_weights("efficientnet_lite0", "", size_px)
        began = time.process_time()
        found = Features.of_arrays(embed_all(weights, cache, table[["id"]], tiles=tiles))
        seconds = (time.process_time() - began) * len(val) / len(table)
        build = functools.partial(fit.pretrained, weights, size_px, tiles=tiles)
        probe = fit.fit(build, cache, table, PROBE, seed, features=found)
        judged = val.merge(probe.scores[["id", "defect_score"]], on="id")
        subject = make_subject(probe.network, cache, judged, 0.5)
        bad = judged[judged.label == 1]
        yield row("LL", cache, tiles, bad, subject.maps(bad.id, 1), judged, seconds)
        if tiles == 0:
            core = patchcore.fit(weights, cache, table, 0.01, seed)
            judged = val.merge(core.scores[["id", "defect_score"]], on="id")
            began = time.process_time()
            maps = AnomalyMaps(core.network, cache).maps(bad.id)
            seconds = (time.process_time() - began) * len(val) / len(bad)
            yield row("PatchCore", cache, tiles, bad, maps, judged, seconds)


def main(arguments: list[str] | None = None) -> int:
    """Draw, measure and print; write a row as soon as it is known. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.tiles", description=__doc__)
    parser.add_argument("--chips", type=int, default=120, help="half of them to train (120)")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--folder", type=Path, help="keep the chips here, and take those there")
    parser.add_argument("--small", action="store_true", help="64 px: the numbers say nothing")
    given = parser.parse_args(arguments)
    if not given.small:
        compiled.WORTH_IT_FROM = 1  # so large images are worth a compilation
    size_px, each = (64, ((32, 0), (64, 2))) if given.small else (PIXELS, CASES)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        table = draw_chips(folder, given.chips, size_px)
        for found in cases(table, folder, each):
            rows.append(found)
            files.save_csv(given.table, pd.DataFrame(rows).round(4))
            print(pd.DataFrame(rows[-1:]).round(3).to_string(index=False), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
