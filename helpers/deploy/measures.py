"""Measure images, and name those that are not like the training images.

`helpers.deploy.export` copies this file, so it imports nothing else of this package.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

# what an image below or above a measure's range is called
WORDS = {
    "width_px": ("narrower", "wider"),
    "height_px": ("shorter", "taller"),
    "brightness": ("darker", "brighter"),
    "contrast": ("less contrast", "more contrast"),
    "sharpness": ("blurred", "sharper"),
}
FEWEST = 20  # training images that give a range
TAIL, MARGIN = 0.005, 0.05  # beyond each end of a range: of the images; of the range, added to it


def measure(pixels: np.ndarray, width_px: int, height_px: int) -> list[float]:
    """Return the measures of an image in the order of `WORDS`.

    `pixels` (S, S) or (S, S, C) are those that the network sees; width and height are the file's.
    Sharpness is the log of the Laplacian's variance over that of the gradient: unlike the first
    alone it does not depend on contrast. (1 is added to both: pixels are rounded.)
    """
    gray = pixels.reshape(*pixels.shape[:2], -1).mean(axis=2, dtype=np.float32)
    across, down = np.diff(gray, axis=1), np.diff(gray, axis=0)
    laplacian = np.diff(across, axis=1)[1:-1] + np.diff(down, axis=0)[:, 1:-1]
    sharpness = np.log((laplacian.var() + 1) / (across.var() + down.var() + 1))
    return [width_px, height_px, *map(float, (gray.mean(), gray.std(), sharpness))]


def ranges(measured: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    """Return the range [low, high] of each measure of the training images; {} if these are few."""
    if len(measured) < FEWEST:
        return {}
    low, high = np.quantile(measured, [TAIL, 1 - TAIL], axis=0)
    margin = MARGIN * (high - low)
    return dict(zip(WORDS, np.stack([low - margin, high + margin], axis=1).tolist(), strict=True))


def unlike(measured: Sequence[float], training: Mapping[str, Sequence[float]]) -> list[str]:
    """Return the words for what is outside of the ranges of the training images."""
    words = []
    for name, value in zip(WORDS, measured, strict=False):  # none of an unreadable image
        low, high = training.get(name, (-np.inf, np.inf))
        words += [] if low <= value <= high else [WORDS[name][value > high]]
    return words


def counted(warnings: Sequence[str]) -> str:
    """Return a line that counts the images with a warning; "" if none has one."""
    words = Counter(itertools.chain.from_iterable(w.split(", ") for w in warnings if w))
    each = ", ".join(f"{word} ({count})" for word, count in words.most_common())
    which = f"{sum(map(bool, warnings))} of {len(warnings)} images"
    return f"{which} are not like the training images: {each}" if each else ""
