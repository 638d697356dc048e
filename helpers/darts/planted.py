"""Problems whose answer is known: does the search find the operation that was planted?

An image has two channels, one for each input of a single cell. Its label depends on a pattern that
only some operations can see, since all else in the network looks at one pixel at a time:

    sep_conv_3x3, sep_conv_5x5   all pixels of a window of 5 x 5, or of 9 x 9 (two convolutions)
    dil_conv_3x3, dil_conv_5x5   every second pixel, in both directions, of such a window
    pools                        a window of 3 x 3, without regard to direction

    settings = settings_of(seed=0)
    _, history = search_planted(PROBLEMS["far"], settings)
    verdict.choices(history[-1])[0].chosen  # "dil_conv_5x5"
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor, nn

from helpers.core import seeding
from helpers.darts.genotypes import strengths
from helpers.darts.search import alternate
from helpers.darts.settings import SearchSettings
from helpers.darts.space import OPERATIONS
from helpers.darts.supernet import Pointwise, Supernet
from helpers.training.batches import EmbeddingBatches

SIZE_PX, CHANNELS = 10, 8
NOISE, DOT, DOTS = 0.3, 1.5, 5  # deviation of the noise, brightness of a dot, dots or pairs
AGREEING = 0.7  # of the pixels of two channels have the same sign
IMAGES = 1280  # half of them for w, half for alpha

Draw = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]  # label to two channels


def dots(places: np.ndarray) -> np.ndarray:
    """Return pixels (H, W) with a dot at each of the places (N, 2)."""
    pixels = np.zeros((SIZE_PX, SIZE_PX))
    pixels[*places.T] = DOT
    return pixels


def pairs(rng: np.random.Generator, label: int, distance: int) -> np.ndarray:
    """Draw pairs of dots so far apart, in rows (label 1) or in columns (0)."""
    starts = rng.integers(0, (SIZE_PX, SIZE_PX - distance), size=(DOTS, 2))
    pixels = dots(np.concatenate([starts, starts + np.array([0, distance])]))
    return pixels if label else pixels.T


def stripes(rng: np.random.Generator, label: int) -> np.ndarray:
    """Draw stripes one pixel wide, along rows (label 1) or along columns (0)."""
    pixels = np.zeros((SIZE_PX, SIZE_PX))
    pixels[rng.integers(2) :: 2] = DOT / 6
    return pixels if label else pixels.T


def agreeing(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw signs that agree at seven of ten pixels of both channels (label 1), or at three (0).

    A neighbour says nothing about a pixel, so what mixes pixels mixes the answer with noise.
    """
    signs = rng.choice([-1.0, 1.0], size=(SIZE_PX, SIZE_PX))
    agree = rng.random(signs.shape) < (AGREEING if label else 1 - AGREEING)
    return signs, np.where(agree, signs, -signs)


BLANK = np.zeros((SIZE_PX, SIZE_PX))  # a channel that says nothing


def either(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw far pairs into the first channel or near ones into the second: both are needed."""
    if rng.integers(2):
        return pairs(rng, label, 6), BLANK
    return BLANK, pairs(rng, label, 1)


@dataclass(frozen=True)
class Problem:
    """How images are drawn, and which operations are right on which edges."""

    draw: Draw
    right: Mapping[int, tuple[str, ...]]  # row of alpha to operations
    images: int = IMAGES


SEP, WIDE = ("sep_conv_3x3", "sep_conv_5x5"), ("sep_conv_5x5", "dil_conv_5x5")
SKIP = ("skip_connect",)
PROBLEMS = {
    "near": Problem(lambda rng, label: (pairs(rng, label, 1), BLANK), {0: SEP}),
    "middle": Problem(lambda rng, label: (pairs(rng, label, 3), BLANK), {0: SEP}),
    "far": Problem(lambda rng, label: (pairs(rng, label, 6), BLANK), {0: WIDE}),
    "texture": Problem(lambda rng, label: (stripes(rng, label), BLANK), {0: SEP}),
    "skip": Problem(agreeing, {0: SKIP, 1: SKIP}),
    "differ": Problem(either, {0: WIDE, 1: SEP}, 2 * IMAGES),  # each edge sees half of them
}


class OneCell(Supernet):
    """A normal cell with one node; each input sees a channel of its own, pixel by pixel."""

    def __init__(self, partial: int) -> None:
        super().__init__(CHANNELS, layers=1, num_classes=2, partial=partial, nodes=1)
        self.stem0, self.stem1 = (Pointwise(1, 3 * CHANNELS) for _ in range(2))
        # The supernet has no ReLU here; means of linear maps would not say what is beside what.
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1))

    def inputs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the two inputs of the cell from images x (B, 2, H, W)."""
        return self.stem0(x[:, :1]), self.stem1(x[:, 1:])


def halves_of(
    problem: Problem, settings: SearchSettings, permuted: bool = False
) -> list[EmbeddingBatches]:
    """Return the half for w and the half for alpha, with as many images of each class.

    If `permuted`, each image of alpha's half has the label of another: there is nothing to find.
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


def settings_of(seed: int, order: int = 1, partial: int = 1) -> SearchSettings:
    """Return the settings with which the problems are searched: 6 epochs.

    With partial channels w learns more slowly: its rate is higher, and the images are more.
    """
    given: dict[str, Any] = {"seed": seed, "order": order, "partial": partial, "channels": CHANNELS}
    rates = {"lr": 0.1 * partial, "alpha_lr": 0.03, "alpha_weight_decay": 0.0}
    return SearchSettings(**given | rates, batch_size=32, epochs=6)


def search_planted(
    problem: Problem, settings: SearchSettings, permuted: bool = False
) -> tuple[OneCell, list[dict[str, Any]]]:
    """Search the operations of a problem; return the network and its history by epochs."""
    with seeding.torch_stream(settings.seed, "initial weights planted"):
        net = OneCell(settings.partial)
    w_half, alpha_half = halves_of(problem, settings, permuted)
    return net, alternate(net, w_half, alpha_half, settings)


def is_hit(problem: Problem, worth: ArrayLike, margin: float = 0.0) -> bool:
    """Return True if a right operation leads all wrong ones on each edge that matters.

    `worth` (edges, operations) is what each operation is worth, such as the log of its strength in
    a search (`log_strengths`), and the lead is more than `margin`, such as `verdict.noise_limit`.
    """
    worth = np.asarray(worth)
    for edge, right in problem.right.items():
        is_right = np.isin(OPERATIONS, right)
        if worth[edge][is_right].max() - worth[edge][~is_right].max() <= margin:
            return False
    return True


def log_strengths(history: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Return log of the strength of each operation (edges, operations) in the last epoch."""
    last = history[-1]
    return np.log(strengths(last["alpha_normal"], last["beta_normal"]))
