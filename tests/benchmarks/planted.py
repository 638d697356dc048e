"""Test if the search finds what was planted: `python -m tests.benchmarks.planted`.

An image has two channels, one for each input of a single cell. Its label depends on a pattern that
only some operations can see, since all else in the network looks at one pixel at a time. Every
problem is searched with each seed, and again with the labels of alpha's half permuted, where
nothing must be decided. A search is a row of planted.csv, and a row is not searched again: delete
the file after a change of the search.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import seeding
from helpers.darts import search as darts
from helpers.darts.architect import BETA_RATE, BETAS
from helpers.darts.fast_supernet import FastSupernet
from helpers.darts.genotypes import strengths
from helpers.darts.settings import SearchSettings
from helpers.darts.space import KINDS, STANDARD
from helpers.training.batches import EmbeddingBatches
from tests.benchmarks import rows

TABLE = Path(__file__).with_name("planted.csv")
SEEDS = 10
KEY = ["problem", "order", "partial", "seed", "permuted"]
SIZE_PX, CHANNELS = 10, 8
NOISE, DOT, DOTS = 0.3, 1.5, 5  # deviation of the noise, brightness of a dot, dots or pairs
IMAGES = 1280  # half of them for w, half for alpha
BLANK = np.zeros((SIZE_PX, SIZE_PX))  # a channel that says nothing
AGREEING = 0.6  # share of pixels with the same sign; with .7 permuted labels punish a sure network
SEARCHES, QUANTILE = 100, 0.95  # simulated noise searches, and the share of them below the limit


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


def halves_of(problem, settings, permuted):
    """Return the half for w and the half for alpha, with equally many images of each class."""
    rng = seeding.numpy_stream(settings.seed, "planted images")
    count = problem.images * settings.partial
    half = count // 2
    labels = np.arange(count) % 2
    clean = np.array([problem.draw(rng, int(label)) for label in labels])  # (N, 2, H, W)
    images = (clean + rng.normal(0, NOISE, clean.shape)).astype(np.float32)
    if permuted:
        labels[half:] = rng.permutation(labels[half:])
    table = pd.DataFrame({"id": np.arange(count).astype(str), "label": labels})
    parts = (slice(half), slice(half, None))
    return [EmbeddingBatches(images[p], table[p], settings.batch_size) for p in parts]


def noise_limit(history, settings):
    """Simulate searches of pure noise; return the 95 % quantile of their largest leads.

    The gradients of alpha and beta are random, with the same mean in every epoch, because the same
    images come back. Their size does not matter to Adam. Weight decay is left out.
    """
    steps = math.ceil(history[-1]["images"] / settings.batch_size)  # of an epoch
    edges = len(history[-1]["alpha_normal"])
    draws = torch.Generator().manual_seed(0)
    shape = (SEARCHES, len(KINDS), edges, len(STANDARD) + 2)  # the last column is beta
    values = torch.nn.Parameter(torch.zeros(shape))
    adam = torch.optim.Adam([values], settings.alpha_lr, BETAS)
    mean = torch.randn(shape, generator=draws) / math.sqrt(steps)  # of all images
    for _ in range(settings.epochs - settings.alpha_warmup):
        noise = torch.randn((steps, *shape), generator=draws)
        for gradient in noise - noise.mean(dim=0) + mean:
            values.grad = gradient
            adam.step()
    largest = []
    for kinds in values.detach():
        record = {}
        for kind, columns in zip(KINDS, kinds, strict=True):
            record[f"alpha_{kind}"] = columns[:, :-1]
            record[f"beta_{kind}"] = BETA_RATE * columns[:, -1] if settings.partial > 1 else None
        largest.append(max(choice.lead for choice in darts.choices(record)))
    return float(np.quantile(largest, QUANTILE))


def search(problem, order, partial, seed, permuted):
    """Search a problem; return a row of the table.

    It is a hit if a right operation leads all wrong ones by more than noise, on each edge.
    """
    started, posed = time.process_time(), PROBLEMS[problem]
    rates = {"lr": 0.1 * partial, "alpha_lr": 0.03, "alpha_weight_decay": 0.0}
    size = {"channels": CHANNELS, "batch_size": 32, "epochs": 6, "order": order, "partial": partial}
    settings = SearchSettings(seed=seed, **size, **rates)
    with seeding.torch_stream(seed, "initial weights planted"):
        net = OneCell(partial)
    history = darts.alternate(net, *halves_of(posed, settings, permuted), settings)
    last, limit = history[-1], noise_limit(history, settings)
    strength = np.log(strengths(last["alpha_normal"], last["beta_normal"]))
    right = {edge: np.isin([*STANDARD], names) for edge, names in posed.right.items()}
    leads = [strength[e][ok].max() - strength[e][~ok].max() for e, ok in right.items()]
    choices = [choice for choice in darts.choices(last) if choice.kind == "normal"]
    return {
        "found": " ".join(f"{choice.chosen}:{choice.lead:.2f}" for choice in choices),
        "decided": len(darts.decided(history, limit)),
        "hit": bool(min(leads) > limit),
        "seconds": round(time.process_time() - started, 1),
    }


def summary(table):
    """Return, by problem and method, the hits and the null searches that decided something."""
    methods = {(1, 1): "order 1", (2, 1): "order 2", (1, 2): "order 1, 1/2"}
    given = table.assign(
        method=[methods[method] for method in zip(table.order, table.partial, strict=True)],
        count=table.hit.where(~table.permuted, table.decided > 0).astype(int),
        labels=table.permuted.map({False: "hits", True: "null"}),
    )
    counts = given.groupby(["problem", "method", "labels"])["count"].agg(["sum", "size"])
    return (counts["sum"].astype(str) + " of " + counts["size"].astype(str)).unstack([1, 2])


if __name__ == "__main__":
    keys = itertools.product(PROBLEMS, (1, 2), (1, 2), range(SEEDS), (False, True))
    keys = [key for key in keys if key[1:3] != (2, 2)]
    print(summary(rows.completed(TABLE, KEY, keys, search)).to_string())
