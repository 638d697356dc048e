"""The mask of images: the pixels that count.

A mask is a line of text, so that a model can keep it: the data URI of a PNG, or "" if all pixels
count. Its pixels are those of the upright image. Whatever reads an image cuts it with
`decoding.cut`, so that every later step sees nothing else.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from helpers.datasets import DataError
from helpers.datasets.decoding import MASK
from helpers.datasets.settings import SplitSettings

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
