"""From which length on does a search find a planted answer: `python -m tests.benchmarks.power`.

Images of the run's own kind and size (ELPV, 128 px, as many as `quick` searches on) get pairs of
dots, 24 px apart: along rows in bad images, along columns in good ones. The supernet has the run's
stem and one cell with one node. An edge sees maps of a quarter of the side, where a pair is 6
pixels wide: only the operations WIDE span it (9 pixels; the others at most 5, but with the reach of
the stem a dilated 3x3 one sees it too). A search is a hit if the edge with the largest weight keeps
one of WIDE. It may do so without having seen a pair, so the pattern is found if the supernet has an
AUC of LEARNED, too. As controls, images without dots are searched, and each operation is trained
alone. A search is a row of power.csv, and a row is not searched again.
"""

import itertools
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import environment, seeding
from helpers.darts import search
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.genotypes import strengths
from helpers.darts.settings import SearchSettings
from helpers.darts.space import OPS
from helpers.runs.presets import PRESET_VALUES
from helpers.training.batches import EmbeddingBatches
from helpers.training.inference import evaluate
from tests.benchmarks import out_of_fold, rows

TABLE = Path(__file__).with_suffix(".csv")
KEY = ["method", "epochs", "seed"]
QUICK = PRESET_VALUES["quick"]["04_darts_search"]
PAPER = {"alpha_lr": 3e-4, "alpha_weight_decay": 1e-3, "partial": 1, "lr": 0.025}
WARMUP = QUICK["alpha_warmup"] / QUICK["epochs"]  # a share of the epochs
METHODS = {
    "quick": {},
    "all channels": {"partial": 1},
    "second order": {"order": 2},
    "warm-up of a third": {"alpha_warmup": 1 / 3},
    "the paper's rates": PAPER,
    "nothing planted": {},
} | {f"{operation} alone": {"partial": 1, "alpha_lr": 1e-9} for operation in OPS}
LENGTHS = {"quick": (3, 6, 12, 24), "all channels": (3, 6, 12)}  # the other methods: 12 epochs
SEEDS = {"second order": 5, "warm-up of a third": 5, "the paper's rates": 5}  # quick ...: 10
SEEDS |= {method: 1 for method in METHODS if method.endswith(" alone")}
WIDE = ("sep_conv_5x5", "dil_conv_5x5")
APART_PX, PAIRS, BRIGHTNESS, RADIUS_PX = 24, 8, 3.0, 2.0  # brightness in deviations of the pixels
LEARNED = 0.55  # AUC on 500 good and 500 bad images: 2.7 standard errors above chance


def planted(seed, brightness=BRIGHTNESS):
    """Return images (N, 1, 128, 128) float32 and labels (N,), half of them for w."""
    cache, rng = out_of_fold.images(QUICK["image_size_px"]), seeding.numpy_stream(seed, "planted")
    chosen = rng.permutation(len(cache.pixels))[: QUICK["search_images"]]
    pixels = cache.pixels[np.sort(chosen), ..., 0].astype(np.float32)
    images, side = (pixels - pixels.mean()) / pixels.std(), pixels.shape[1]
    labels = np.arange(len(images)) % 2
    reach = np.arange(-6, 7)
    dot = brightness * np.exp(-(reach[:, None] ** 2 + reach**2) / 2 / RADIUS_PX**2)
    for image, label in zip(images, labels, strict=True):
        view = image if label else image.T
        y, x = rng.integers(6, side - 6 - APART_PX, size=(2, PAIRS))
        y += APART_PX * rng.integers(2, size=PAIRS)  # drawn as x is: one dot tells nothing
        for row, column in itertools.chain(
            zip(y, x, strict=True), zip(y, x + APART_PX, strict=True)
        ):
            view[row - 6 : row + 7, column - 6 : column + 7] += dot
    return images[:, None], labels


class OneCell(FastSupernet):
    """The run's stem, a normal cell with one node, and what tells how often a pattern occurs."""

    def __init__(self, channels, k):
        super().__init__(channels, 1, 2, in_channels=1, stem="quarter", partial=k, nodes=1)
        # without this ReLU the mean would not depend on which pixels are neighbours
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1))


def settings_of(method, epochs, seed):
    """Return the settings of a search; a warm-up is a part of its epochs."""
    given = {"alpha_warmup": WARMUP} | METHODS[method] | {"epochs": epochs}
    given["alpha_warmup"] = int(given["alpha_warmup"] * epochs)
    return SearchSettings(**QUICK | given, seed=seed)


def batches_of(settings, brightness):
    """Return the half for w and the half for alpha."""
    images, labels = planted(settings.seed, brightness)
    table = pd.DataFrame({"id": np.arange(len(labels)).astype(str), "label": labels})
    half = len(labels) // 2
    parts = (slice(half), slice(half, None))
    return [EmbeddingBatches(images[p], table[p], settings.batch_size) for p in parts]


def one(method, epochs, seed):
    """Search; return the rest of a row."""
    started, settings = time.process_time(), settings_of(method, epochs, seed)
    with seeding.torch_stream(seed, "initial weights planted"):
        net = OneCell(settings.channels, settings.partial)
    if method.endswith(" alone"):
        net.alpha_normal.data[:] = -30.0
        net.alpha_normal.data[:, 1 + [*OPS].index(method.removesuffix(" alone"))] = 30.0
    w_half, alpha_half = batches_of(settings, BRIGHTNESS * (method != "nothing planted"))
    last = search.alternate(net, w_half, alpha_half, settings)[-1]
    weights = np.array(strengths(last["alpha_normal"], last["beta_normal"]))
    edge, operation = np.unravel_index(weights.argmax(), weights.shape)
    return {
        "found": [*OPS][operation],
        "edge": int(edge),
        "auc": round(evaluate(net, alpha_half)["val_auc"], 4),
        "hit": [*OPS][operation] in WIDE,
        "seconds": round(time.process_time() - started, 1),
    }


def main():
    """Do the searches that are missing, and print the hits."""
    out_of_fold.images(QUICK["image_size_px"])  # decoded once
    lengths = {method: LENGTHS.get(method, (12,)) for method in METHODS}
    keys = [(m, n, s) for m in METHODS for n in lengths[m] for s in range(SEEDS.get(m, 10))]
    table = rows.completed(TABLE, KEY, keys, one)
    table["found"] = table.hit & (table.auc >= LEARNED)
    by_length = table.groupby(["method", "epochs"], sort=False)
    counts = by_length.agg(searches=("hit", "size"), hits=("hit", "sum"), found=("found", "sum"))
    print(counts.join(by_length.auc.agg(["min", "median", "max"])).to_string())


if __name__ == "__main__":
    with environment.threads(1):
        torch.set_num_threads(1)
        main()
