"""Test if the search finds what was planted: `python -m tests.benchmarks.planted`.

An image has two channels, one for each input of a single cell. Its label depends on a pattern that
only some operations can see, since all else in the network looks at one pixel at a time. A search
is a hit if each edge that matters keeps a right operation (by luck: one or two of seven). It is a
row of planted.csv, and a row is not searched again: delete the file after a change of the search.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from torch import nn

from helpers.core import seeding
from helpers.darts import search as darts
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.genotypes import strengths
from helpers.darts.settings import SearchSettings
from helpers.darts.space import OPS
from helpers.training.batches import EmbeddingBatches
from tests.benchmarks import rows

TABLE = Path(__file__).with_name("planted.csv")
SEEDS = 10
KEY = ["problem", "order", "partial", "seed"]
SIZE_PX, CHANNELS = 10, 8
NOISE, DOT, DOTS = 0.3, 1.5, 5  # deviation of the noise, brightness of a dot, dots or pairs
IMAGES = 1280  # half of them for w, half for alpha
BLANK = np.zeros((SIZE_PX, SIZE_PX))  # a channel that says nothing
AGREEING = 0.6  # share of pixels with the same sign


def pairs(rng, label, distance):
    """Draw pairs of dots `distance` pixels apart, along rows (label 1) or along columns (0)."""
    pixels = np.zeros((SIZE_PX, SIZE_PX))
    rows, columns = rng.integers(0, SIZE_PX - distance, size=(2, DOTS))
    rows += distance * rng.integers(2, size=DOTS)  # drawn as the columns are: a dot tells nothing
    pixels[rows, columns] = pixels[rows, columns + distance] = DOT
    return pixels if label else pixels.T


def stripes(rng, label):
    """Draw stripes one pixel wide, along rows (label 1) or along columns (0)."""
    pixels = np.zeros((SIZE_PX, SIZE_PX))
    pixels[rng.integers(2) :: 2] = DOT / 6
    return pixels if label else pixels.T


def agreeing(rng, label):
    """Draw signs that agree at six of ten pixels of both channels (label 1), or at four (0).

    A neighbour says nothing about a pixel, so operations that mix pixels add noise to the answer.
    """
    signs = rng.choice([-1.0, 1.0], size=(SIZE_PX, SIZE_PX))
    agree = rng.random(signs.shape) < (AGREEING if label else 1 - AGREEING)
    return signs, np.where(agree, signs, -signs)


def either(rng, label):
    """Draw far pairs into the first channel or near ones into the second: both are needed."""
    return (pairs(rng, label, 6), BLANK) if rng.integers(2) else (BLANK, pairs(rng, label, 1))


class Problem(NamedTuple):
    draw: Callable  # from a generator and a label to two channels
    right: Mapping[int, tuple[str, ...]]  # row of alpha to operations
    images: int = IMAGES  # with fewer, w sometimes learns nothing, so alpha cannot learn either


SEP, WIDE = ("sep_conv_3x3", "sep_conv_5x5"), ("sep_conv_5x5", "dil_conv_5x5")
SKIP = ("skip_connect",)
PROBLEMS = {
    "near": Problem(lambda rng, label: (pairs(rng, label, 1), BLANK), {0: SEP}),
    "far": Problem(lambda rng, label: (pairs(rng, label, 6), BLANK), {0: WIDE}, 2 * IMAGES),
    "texture": Problem(lambda rng, label: (stripes(rng, label), BLANK), {0: SEP}),
    "middle": Problem(lambda rng, label: (pairs(rng, label, 3), BLANK), {0: SEP}),
    "skip": Problem(agreeing, {0: SKIP, 1: SKIP}),
    "differ": Problem(either, {0: WIDE, 1: SEP}, 3 * IMAGES),  # each edge sees half of the images
}


def pointwise(channels):
    """Return a 1x1 convolution of one channel, and a BN that always uses batch statistics."""
    norm = nn.BatchNorm2d(channels, affine=False, track_running_stats=False)
    return nn.Sequential(nn.Conv2d(1, channels, 1, bias=False), norm)


class OneCell(FastSupernet):
    """A normal cell with one node; each input sees a channel of its own, pixel by pixel."""

    def __init__(self, partial):
        super().__init__(CHANNELS, layers=1, num_classes=2, partial=partial, nodes=1)
        self.stem0, self.stem1 = (pointwise(3 * CHANNELS) for _ in range(2))
        # Without this ReLU the mean would not depend on which pixels are neighbours.
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def inputs(self, x):
        return self.stem0(x[:, :1]), self.stem1(x[:, 1:])


def halves_of(problem, settings):
    """Return the half for w and the half for alpha, with equally many images of each class."""
    rng = seeding.numpy_stream(settings.seed, "planted images")
    count = problem.images * settings.partial
    half = count // 2
    labels = np.arange(count) % 2
    clean = np.array([problem.draw(rng, int(label)) for label in labels])  # (N, 2, H, W)
    images = (clean + rng.normal(0, NOISE, clean.shape)).astype(np.float32)
    table = pd.DataFrame({"id": np.arange(count).astype(str), "label": labels})
    parts = (slice(half), slice(half, None))
    return [EmbeddingBatches(images[p], table[p], settings.batch_size) for p in parts]


def search(problem, order, partial, seed):
    """Search a problem; return a row of the table."""
    started, posed = time.process_time(), PROBLEMS[problem]
    rates = {"lr": 0.1 * partial, "alpha_lr": 0.03, "alpha_weight_decay": 0.0}
    size = {"channels": CHANNELS, "batch_size": 32, "epochs": 6, "order": order, "partial": partial}
    settings = SearchSettings(seed=seed, **size, **rates)
    with seeding.torch_stream(seed, "initial weights planted"):
        net = OneCell(partial)
    last = darts.alternate(net, *halves_of(posed, settings), settings)[-1]
    weights = np.array(strengths(last["alpha_normal"], last["beta_normal"]))
    found = [[*OPS][row.argmax()] for row in weights]
    return {
        "found": " ".join(found),
        "hit": all(found[edge] in names for edge, names in posed.right.items()),
        "seconds": round(time.process_time() - started, 1),
    }


if __name__ == "__main__":
    keys = itertools.product(PROBLEMS, (1, 2), (1, 2), range(SEEDS))
    keys = [key for key in keys if key[1:3] != (2, 2)]
    table = rows.completed(TABLE, KEY, keys, search)
    print(table.pivot_table("hit", "problem", ["order", "partial"], "sum").to_string())
