"""Decode image files: for the cache, for new images, and in an exported model.

`helpers.deploy.export` copies this file, so it imports nothing else of this package.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps

# Suffixes may lie, so the content decides. Among these formats only PNG and TIFF can be deep (more
# than 8 bits). Pillow would drop bits of other formats unnoticed.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # two tags of TIFF, and a value
WAY_OUT = "convert it to 8 bit or to 16-bit gray"
CAMERA_BITS = (8, 10, 12, 14, 16)
Fit = Literal["squash", "pad"]
MASK = "data:image/png;base64,"  # start of the text of a mask


class BitsFound(Exception):
    """A deep image has a value above the scale that it was to be read with."""

    def __init__(self, bits: int, scale: int) -> None:
        super().__init__(f"uses {bits} bits, the scale is of {scale}")
        self.bits = bits


class Picture(NamedTuple):
    """The first page or frame of an image file, upright."""

    pixels: np.ndarray  # uint8: (H, W) if all pixels are gray, otherwise (H, W, 3)
    original: np.ndarray  # the pixels, or the values (H, W) uint16 of a deep image
    has_more: bool  # pages or frames, which are not read


def bits_for(largest: int) -> int:
    """Return the bits of the camera whose images reach the value `largest`."""
    return next(bits for bits in CAMERA_BITS if largest < 2**bits)


def read_image(path: Path, bits: int, mask: str = "") -> Picture:
    """Decode a file, turned upright as its EXIF data say, and cut the mask's box out.

    Transparency is left out. Deep images are scaled so that `bits` bits fill the range from 0 to
    255; a value above the range raises BitsFound. A file whose values Pillow would change raises
    ValueError; a damaged file may raise many kinds of errors.
    """
    with open_image(path) as image:
        return picture_of(image, bits, mask)


def picture_of(image: Image.Image, bits: int, mask: str = "") -> Picture:
    """Do what `read_image` does with an image that Pillow opened."""
    has_more = getattr(image, "is_animated", False)
    image.load()
    try:
        ImageOps.exif_transpose(image, in_place=True)
    except MemoryError:
        raise  # otherwise a turned image would be kept as stored
    except Exception:  # damaged EXIF data leave the pixels whole
        pass
    if is_deep(image):
        values, full = cut(np.asarray(image).astype(np.uint16), mask), 2**bits - 1
        if values.max() > full:
            raise BitsFound(bits_for(values.max()), bits)
        pixels = (values * (255.0 / max(1, full))).round().astype(np.uint8)
        return Picture(pixels, values, has_more)
    pixels = cut(np.asarray(image if image.mode == "L" else image.convert("RGB")), mask)
    if pixels.ndim == 3:
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        pixels = red if (red == green).all() and (red == blue).all() else pixels
    return Picture(pixels, pixels, has_more)


@contextlib.contextmanager
def open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file; raise ValueError if Pillow would change its values.

    Pillow gets the open file: given the path, it maps the file into memory, and reads the rows of a
    turned TIFF with the wrong length.
    """
    if not path.is_file() and path.exists():  # reading a pipe or a device may never end
        raise ValueError("not a file")
    with path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        refuse_what_pillow_changes(image)
        yield image


def refuse_what_pillow_changes(image: Image.Image) -> None:
    """Raise ValueError if Pillow would read other values than an opened file holds."""
    tags = getattr(image, "tag_v2", {})
    if image.mode in ("I", "F"):
        raise ValueError(f"numbers of 32 bits, or with a sign: {WAY_OUT}")
    if is_deep(image):
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # it would be a negative
            raise ValueError("16-bit gray where 0 is white: store it with 0 as black")
    else:
        # Pillow keeps the upper 8 bits of each channel alone
        depths = tags.get(BITS_PER_SAMPLE, ())
        tiles = getattr(image, "tile", ())
        deep_png = image.format == "PNG" and any(";16" in str(tile[3]) for tile in tiles)
        if max(depths, default=8) > 8 or deep_png:
            raise ValueError(f"several channels of more than 8 bits: {WAY_OUT}")


def is_deep(image: Image.Image) -> bool:
    """Return True if an image has more than 8 bits a pixel; all such modes are gray."""
    return image.mode.startswith("I;16")


def resize(pixels: np.ndarray, size_px: int, fit: Fit) -> np.ndarray:
    """Resize (H, W) or (H, W, 3) uint8 to a square: bilinear, antialiased.

    "pad" keeps the aspect ratio and fills the border with the mean of the image's outermost pixels:
    that makes no strong edge, as black would, and no streaks, as repeated pixels would.
    """
    height, width = pixels.shape[:2]
    scale = size_px / max(height, width)
    size = (size_px, size_px)
    if fit == "pad":
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))
    if size == (size_px, size_px):
        return resized
    sides = (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1])
    square = np.empty((size_px, size_px, *pixels.shape[2:]), np.uint8)
    square[:] = np.concatenate(sides).mean(axis=0).round()
    left, top = (size_px - size[0]) // 2, (size_px - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = resized
    return square


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
