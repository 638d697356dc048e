"""Problems whose answer is known: does the search find the operation that was planted?

An image has two channels, one for each input of a single cell. Its label depends on a pattern that
only some operations can see, since all else in the network looks at one pixel at a time:

    sep_conv_3x3, sep_conv_5x5   all pixels of a window of 5 x 5, or of 9 x 9 (two convolutions)
    dil_conv_3x3, dil_conv_5x5   every second pixel, in both directions, of such a window
    pools                        a window of 3 x 3, without regard to direction

    settings = settings_of(seed=0)
    _, history = search_planted(PROBLEMS["far"], settings)
    verdict.choices(history[-1])[0].chosen  # "dil_conv_5x5"

More problems, and counts of hits, are in `tests/benchmarks/planted.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from helpers.core import seeding
from helpers.darts.search import alternate
from helpers.darts.settings import SearchSettings
from helpers.darts.supernet import Pointwise, Supernet
from helpers.training.batches import EmbeddingBatches

SIZE_PX, CHANNELS = 10, 8
NOISE, DOT, DOTS = 0.3, 1.5, 5  # deviation of the noise, brightness of a dot, dots or pairs
IMAGES = 1280  # half of them for w, half for alpha
BLANK = np.zeros((SIZE_PX, SIZE_PX))  # a channel that says nothing

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # label to two channels


def pairs(rng: np.random.Generator, label: int, distance: int) -> np.ndarray:
    """Draw pairs of dots `distance` pixels apart, along rows (label 1) or along columns (0)."""
    pixels = np.zeros((SIZE_PX, SIZE_PX))
    rows, columns = rng.integers(0, SIZE_PX - distance, size=(2, DOTS))
    rows += distance * rng.integers(2, size=DOTS)  # drawn as the columns are: a dot tells nothing
    pixels[rows, columns] = pixels[rows, columns + distance] = DOT
    return pixels if label else pixels.T


def stripes(rng: np.random.Generator, label: int) -> np.ndarray:
    """Draw stripes one pixel wide, along rows (label 1) or along columns (0)."""
    pixels = np.zeros((SIZE_PX, SIZE_PX))
    pixels[rng.integers(2) :: 2] = DOT / 6
    return pixels if label else pixels.T


@dataclass(frozen=True)
class Problem:
    """A function that draws images, and the right operations of the edges."""

    draw: Draw
    right: Mapping[int, tuple[str, ...]]  # row of alpha to operations
    images: int = IMAGES


SEP, WIDE = ("sep_conv_3x3", "sep_conv_5x5"), ("sep_conv_5x5", "dil_conv_5x5")
PROBLEMS = {
    "near": Problem(lambda rng, label: (pairs(rng, label, 1), BLANK), {0: SEP}),
    # with fewer images w sometimes learns nothing, so alpha cannot learn either
    "far": Problem(lambda rng, label: (pairs(rng, label, 6), BLANK), {0: WIDE}, 2 * IMAGES),
    "texture": Problem(lambda rng, label: (stripes(rng, label), BLANK), {0: SEP}),
}


class OneCell(Supernet):
    """A normal cell with one node; each input sees a channel of its own, pixel by pixel."""

    def __init__(self, partial: int) -> None:
        super().__init__(CHANNELS, layers=1, num_classes=2, partial=partial, nodes=1)
        self.stem0, self.stem1 = (Pointwise(1, 3 * CHANNELS) for _ in range(2))
        # Without this ReLU the mean would not depend on which pixels are neighbours.
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the cell from images x (B, 2, H, W)."""
        return self.stem0(x[:, :1]), self.stem1(x[:, 1:])


def halves_of(
    problem: Problem, settings: SearchSettings, permuted: bool = False
) -> list[EmbeddingBatches]:
    """Return the half for w and the half for alpha, with equally many images of each class.

    If `permuted`, the labels of alpha's half are shuffled: there is nothing to find.
    """
    rng = seeding.numpy_stream(settings.seed, "planted images")
    count = problem.images * settings.partial
    half = count // 2
    labels = np.arange(count) % 2
    clean = np.array([problem.draw(rng, int(label)) for label in labels])  # (N, 2, H, W)
    images = (clean + rng.normal(0, NOISE, clean.shape)).astype(np.float32)
    if permuted:
        labels[half:] = rng.permutation(labels[half:])
    ids, parts = np.arange(count).astype(str), (slice(half), slice(half, None))
    return [EmbeddingBatches(images[p], labels[p], ids[p], settings.batch_size) for p in parts]


def settings_of(seed: int) -> SearchSettings:
    """Return the settings with which the problems are searched: 6 epochs."""
    return SearchSettings(
        seed=seed,
        channels=CHANNELS,
        batch_size=32,
        epochs=6,
        lr=0.1,
        alpha_lr=0.03,
        alpha_weight_decay=0.0,
    )


def search_planted(
    problem: Problem, settings: SearchSettings, permuted: bool = False
) -> tuple[OneCell, list[dict[str, Any]]]:
    """Search the operations of a problem; return the network and its history by epochs."""
    with seeding.torch_stream(settings.seed, "initial weights planted"):
        net = OneCell(settings.partial)
    w_half, alpha_half = halves_of(problem, settings, permuted)
    return net, alternate(net, w_half, alpha_half, settings)
