"""The mask of images: the pixels that count.

A mask is a line of text, so that a model can keep it: the data URI of a PNG, or "" if all pixels
count. Its pixels are those of the upright image. Whatever reads an image cuts it with `cut`, so
that every later step sees nothing else.
"""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.datasets import DataError
from helpers.datasets.settings import SplitSettings

MASK = "data:image/png;base64,"  # what the text of a mask starts with
BLACK = 127  # the largest gray value, of 255, that does not count


def mask_of(settings: SplitSettings) -> str:
    """Return the mask that MASK of notebook 01 names."""
    if not settings.mask:
        return ""
    path = Path(settings.mask).expanduser()
    try:
        with Image.open(path) as image:
            marked = np.asarray(image.convert("L")) > BLACK
            if image.has_transparency_data:  # what lies below a transparent pixel is not seen
                marked &= np.asarray(image.convert("RGBA"))[..., 3] > BLACK
    except Exception as error:  # a damaged file raises one of many kinds
        raise DataError(f"MASK={path} cannot be read ({error}): give an image file") from None
    if marked.all() or not marked.any():
        which, size = "all" if marked.any() else "none", f"{marked.shape[1]} x {marked.shape[0]}"
        way = "paint those that count white (255, at least 128), the others black or transparent"
        raise DataError(f"MASK={path} marks {which} of {size} pixels: {way}")
    buffer = io.BytesIO()
    Image.fromarray(marked).save(buffer, "PNG", optimize=True)  # one bit a pixel
    return MASK + base64.b64encode(buffer.getvalue()).decode()


def marked_by(mask: str) -> np.ndarray:
    """Return the pixels (H, W) of a mask, bool, True where they count."""
    with Image.open(io.BytesIO(base64.b64decode(mask.removeprefix(MASK)))) as image:
        return np.asarray(image) > 0


@functools.cache
def window(mask: str, width: int, height: int) -> tuple[slice, slice, np.ndarray]:
    """Return rows and columns of a mask's bounding box, and which pixels there count (bool).

    Raise ValueError if an image does not have the size of the mask.
    """
    marked = marked_by(mask)
    if marked.shape != (height, width):
        size = f"{marked.shape[1]} x {marked.shape[0]}"
        raise ValueError(f"it has {width} x {height} pixels, but MASK has {size}")
    y, x = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
    rows, columns = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
    return rows, columns, marked[rows, columns]


def cut(pixels: np.ndarray, mask: str) -> np.ndarray:
    """Return the bounding box of a mask in an image (H, W) or (H, W, 3).

    Pixels outside of a mask become the mean of those inside. That removes their content, and the
    edge is weaker than one to black, which a network would find before any defect.
    """
    if not mask:
        return pixels
    rows, columns, marked = window(mask, pixels.shape[1], pixels.shape[0])
    part = pixels[rows, columns].copy()
    part[~marked] = part[marked].mean(axis=0).round()
    return part
