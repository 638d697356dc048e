"""The region of an image that counts: a rectangle, or the marked pixels of a mask.

A region is a line of text, so that a model can keep it: "" for the whole image, "x,y,width,height",
or a mask as the data URI of a PNG. Its pixels are those of the upright image. Whatever reads an
image cuts the region out, so that every later step sees nothing else.
"""

from __future__ import annotations

import base64
import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from helpers.datasets import DataError

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings

MASK = "data:image/png;base64,"  # what the text of a mask starts with
BLACK = 127  # the largest gray value, of 255, that does not count


def region_of(settings: SplitSettings) -> str:
    """Return the region that REGION or MASK of notebook 01 names.

    Raises:
        DataError: the mask cannot be read, or marks nothing or everything.
    """
    if not settings.mask:
        return settings.region.replace(" ", "")
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


def marked_by(region: str) -> np.ndarray:
    """Return the mask (H, W) of a region, bool, True where pixels count."""
    with Image.open(io.BytesIO(base64.b64decode(region.removeprefix(MASK)))) as image:
        return np.asarray(image) > 0


@functools.cache
def window(region: str, width: int, height: int) -> tuple[slice, slice, np.ndarray | None]:
    """Return rows and columns of a region, and which pixels there count (bool); None: all.

    Those of a mask are its bounding box.

    Raises:
        ValueError: an image of this size does not hold the region.
    """
    if region.startswith(MASK):
        marked = marked_by(region)
        if marked.shape != (height, width):
            size = f"{marked.shape[1]} x {marked.shape[0]}"
            raise ValueError(f"it has {width} x {height} pixels, but MASK has {size}")
        y, x = np.flatnonzero(marked.any(axis=1)), np.flatnonzero(marked.any(axis=0))
        rows, columns = slice(y[0], y[-1] + 1), slice(x[0], x[-1] + 1)
        return rows, columns, marked[rows, columns]
    left, top, w, h = map(int, region.split(","))
    if left + w > width or top + h > height:
        raise ValueError(f"it has {width} x {height} pixels, so REGION={region} is outside of it")
    return slice(top, top + h), slice(left, left + w), None


def cut(pixels: np.ndarray, region: str) -> np.ndarray:
    """Return the region of an image (H, W) or (H, W, 3); raise what `window` raises.

    Pixels outside of a mask become the mean of those inside. That removes their content, and the
    edge is weaker than one to black, which a network would find before any defect.
    """
    if not region:
        return pixels
    rows, columns, marked = window(region, pixels.shape[1], pixels.shape[0])
    part = pixels[rows, columns]
    if marked is not None:
        part = part.copy()
        part[~marked] = part[marked].mean(axis=0).round()
    return part
