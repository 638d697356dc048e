"""Train many cells on one task: `python -m tests.benchmarks.cells chips elpv`.

A table by which search strategies are replayed. `chips`: drawn parts with faint defects, 36 random
and the published cells at 1/9, 1/3 and all of the epochs, two seeds each (six of them three at
all epochs), and the cells that searches derived, at all epochs. `elpv`: six random cells, four
seeds, one published fold of whole modules, 36 epochs. Each training has one thread; two run side
by side. A row is written to `cells.csv` beside this file as soon as it is done, and is not computed
again.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from helpers.core import files, metrics, paths
from helpers.core.members import sides
from helpers.darts import genotypes, network
from helpers.darts.settings import RetrainSettings
from helpers.datasets import chips
from helpers.datasets.cache import ImageCache
from helpers.runs.presets import PRESET_VALUES
from helpers.training import fit
from tests.benchmarks import out_of_fold, rows

TABLE = Path(__file__).with_name("cells.csv")
SEARCHED = Path(__file__).with_name("searched_cells.jsonl")  # by searches, and by `quick` on ELPV
KEY = ["set", "cell", "seed", "epochs"]
SIZE_PX, COUNTS, BAD_RATE = 96, {"train": 2000, "val": 1000, "test": 2000}, 0.3
FAINT = 0.6  # contrast of a defect, in that of `chips`: the best cell stays below .97
EPOCHS = {"chips": 27, "elpv": 36}
REPEATED = [f"random_{number}" for number in range(6)]  # by more seeds: how alike are trainings?
CELLS = [*(f"random_{number}" for number in range(36)), *genotypes.PUBLISHED, "by_hand"]


def genotype_of(cell):
    """Return the genotype of a cell: random_NUMBER, a published one, or a searched one."""
    if cell.startswith("random_"):
        return genotypes.random_genotype(int(cell.removeprefix("random_")))
    return genotypes.PUBLISHED.get(cell) or searched()[cell]


def searched():
    """Return the cells that the searches of `proxies.csv` have derived, by name."""
    lines = map(json.loads, SEARCHED.read_text("utf-8").splitlines())
    return {one["name"]: genotypes.from_json(one["cell"]) for one in lines if one["set"] == "chips"}


def faint(index, label, size_px):
    """Draw a chip whose defect, if it is bad, is faint: pixels (S, S) uint8."""
    part = chips.draw_parameters(chips.stream(0, "part", "cells", index))
    if label:
        rng = chips.stream(0, "defect", "cells", index)
        draw = chips.DEFECTS[str(rng.choice([*chips.DEFECTS]))]
        before, part = part, draw(part, rng, rng.uniform())
        points, above = part.overlay
        slants = np.add(before.slants, FAINT * np.subtract(part.slants, before.slants))
        part = dataclasses.replace(part, overlay=(points, FAINT * above), slants=tuple(slants))
    scene = chips.draw_scene(part, size_px)
    return chips.expose(scene, part, chips.stream(0, "sensor", "cells", index))


@functools.cache
def task(name, size_px=SIZE_PX):
    """Return the images of a task, and its table (`id`, `label`, `split`)."""
    if name == "elpv":
        table = sides(out_of_fold.protocol("groups"), 0)
        return out_of_fold.images(size_px), table[fit.SEEN]
    split = np.repeat([*COUNTS], [*COUNTS.values()])
    labels = (np.random.default_rng(0).random(len(split)) < BAD_RATE).astype(int)
    place = paths.cache_root() / f"cells-{FAINT}-{size_px}-{len(split)}.npz"
    if not place.exists():
        pixels = np.stack([faint(index, label, size_px) for index, label in enumerate(labels)])
        files.save_arrays(place, pixels=pixels)
    pixels = files.load_arrays(place, "pixels")["pixels"][..., None]
    table = pd.DataFrame({"id": [f"{i:05d}" for i in range(len(split))], "label": labels})
    about = table[["id"]].assign(width_px=size_px, height_px=size_px)
    return ImageCache(pixels, about, files.fingerprint(place.stem)), table.assign(split=split)


def settings_of(name, epochs):
    """Return how a network of cells is trained: as the preset `full` does, with other epochs."""
    values = PRESET_VALUES["full"]["05_genotype_retraining"] | {"retrain_epochs": epochs}
    views = {"test_views": 1} if name == "chips" else {}  # thousands of images
    return RetrainSettings(**values | {"keep": "last"} | views)


def train(name, cell, seed, epochs):
    """Train a cell's network; return the rest of its row."""
    images, table = task(name)
    started, settings = time.process_time(), settings_of(name, epochs)
    shape = images.size_px, images.channels
    if cell == "by_hand":
        build = out_of_fold.drawn(settings.network, *shape)
    else:
        spec = network.network_spec(genotype_of(cell), settings.network, *shape)
        build = partial(network.build_network, spec)
    found = fit.fit(build, images, table, settings.training, seed)
    labels = table.set_index("id").label
    row = {}
    for side in ("val", "test"):
        own = found.scores[found.scores.split == side].set_index("id").defect_score
        auc = metrics.roc_auc(labels[own.index].astype(int), own) if len(own) else np.nan
        row[f"{side}_auc"] = float(f"{auc:.5g}")
    seconds = round(time.process_time() - started, 1)  # of one core, whatever else runs
    return row | {"seconds": seconds, "weights": found.parameters}


def wanted(name):
    """Yield the rows of a task, the most telling first: all epochs of the repeated cells."""
    whole = EPOCHS[name]
    if name == "elpv":
        yield from itertools.product([name], REPEATED, range(4), [whole])
        return
    yield from itertools.product([name], REPEATED, range(3), [whole])
    yield from itertools.product([name], searched(), range(2), [whole])
    for epochs in (whole, whole // 3, whole // 9):
        yield from itertools.product([name], CELLS, range(2), [epochs])


def main(arguments=None):
    """Compute the rows that are missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.cells")
    parser.add_argument("sets", nargs="+", choices=[*EPOCHS])
    names = parser.parse_args(arguments).sets
    for name in names:
        task(name)  # drawn or decoded once
    rows.completed(TABLE, KEY, (key for name in names for key in wanted(name)), train)


if __name__ == "__main__":
    from tests.benchmarks import cells  # noqa: PLW0406 - other processes find `task` there

    cells.main()
