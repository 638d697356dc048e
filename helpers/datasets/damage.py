"""Load masks of the damage in an image: a PNG that is white there, or polygons of labelme."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from helpers.core import files
from helpers.datasets import DataError
from helpers.datasets.decoding import Fit


def read(path: Path, size_px: int, fit: Fit = "squash") -> np.ndarray:
    """Return which pixels (S, S) of an image, made square as `fit` says, are damaged; bool.

    A pixel counts if any of its area is damaged, so that small damage does not vanish. `path` is a
    PNG of the image's size, or labelme's JSON with `imageWidth`, `imageHeight` and `shapes`.
    """
    if path.suffix.lower() == ".json":
        about = files.load_json(path)
        with files.reading(path):
            mask = Image.new("L", (about["imageWidth"], about["imageHeight"]))
            for shape in about["shapes"]:
                points = [tuple(point) for point in shape["points"]]
                ImageDraw.Draw(mask).polygon(points, fill=255, outline=255)
    else:
        with Image.open(path) as image:
            mask = image.convert("L")
    damaged = np.asarray(mask) > 127
    if not damaged.any():
        raise DataError(f"{path} outlines no damage")
    height, width = damaged.shape
    if fit == "pad":
        side = max(height, width)
        top, left = (side - height) // 2, (side - width) // 2
        edges = ((top, side - height - top), (left, side - width - left))
        damaged = np.pad(damaged, edges)
    places = [np.arange(size_px) * size // size_px for size in damaged.shape]
    square = damaged[np.ix_(*places)]  # of a smaller image all pixels
    rows, columns = (np.arange(size) * size_px // size for size in damaged.shape)
    y, x = np.nonzero(damaged)
    square[rows[y], columns[x]] = True
    return square
