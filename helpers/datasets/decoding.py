"""One image file: its pixels as bytes, at the cache's size, and what is known of the original."""

from __future__ import annotations

import hashlib
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

# what Pillow's decoders raise on damaged files
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)
DECODE_ERRORS = (*_BROKEN, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError)

# Cameras deliver 8, 10, 12, 14 or 16 bits. Floating-point images mostly reach from 0 to 1; a filter
# takes some a little beyond, which must not leave 8 bits almost empty: hence 2.
CAMERA_BITS = (1, 2, 8, 10, 12, 14, 16)


@dataclass(frozen=True)
class DecodedImage:
    """One image at cache size, and what is known about the original."""

    pixels: np.ndarray  # (H, W) gray or (H, W, 3), uint8
    digest: str  # of the original's pixels: equal for identical images
    width_px: int
    height_px: int
    mean: float  # of all values, 0 to 255
    std: float


class ColourFound(Exception):
    """An image in colour among images that were taken for gray."""


class BitsFound(Exception):
    """A deep image that needs more bits than its set was taken for."""

    def __init__(self, path: Path, bits: int) -> None:
        super().__init__(str(path))
        self.bits = bits


def read_pixels(path: Path, gray: bool | None, bits: int) -> np.ndarray:
    """Decode a file to uint8, (H, W) when `gray`, else (H, W, 3); None goes by the pixels.

    Images of more than 8 bits (deep ones) are scaled so that `bits` bits fill the range; 0 takes
    none but black ones.

    Raises:
        ColourFound: `gray`, and the image is in colour.
        BitsFound: a value above the range.
        ValueError: a value that is not finite, or below the range.
    """
    with Image.open(path) as image:
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image, dtype=np.float32)
            if not np.isfinite(values).all():
                raise ValueError("holds values that are not finite")
            _refuse_to_cut_off(path, values, bits)
            scaled = (values * (255.0 / max(1, 2**bits - 1))).round().astype(np.uint8)
            return np.repeat(scaled[..., None], 3, axis=2) if gray is False else scaled
        if gray is not False and image.mode == "L":
            return np.asarray(image)
        rgb = np.asarray(image.convert("RGB"))
    if gray is False:
        return rgb
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return rgb[..., 0]
    if gray:
        raise ColourFound(str(path))
    return rgb


def bits_for(largest: float) -> int:
    """The bits that a camera's deep images use, by their largest value, which is finite."""
    fitting = (bits for bits in CAMERA_BITS if largest <= 2**bits - 1)
    return next(fitting, math.ceil(largest).bit_length())


def _refuse_to_cut_off(path: Path, values: np.ndarray, bits: int) -> None:
    """Raise where a scale from 0 to the largest value of `bits` bits would lose some values."""
    smallest, largest = float(values.min()), float(values.max())
    if smallest < 0:
        raise ValueError(
            f"holds negative values, down to {smallest:g}: add to all images what "
            "makes them 0 or more"
        )
    if largest > 2**bits - 1:
        raise BitsFound(path, bits_for(largest))


def decode(path: Path, size_px: int, gray: bool, bits: int = 16) -> DecodedImage:
    """Read one image and resize it to a square, with what is known about the original.

    No value is cut off: see `read_pixels` for what it raises instead.
    """
    pixels = read_pixels(path, gray, bits)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{height}x{width}".encode())
    # A gray image saved as colour has the same pixels as the gray one.
    flat = pixels if gray or (pixels[..., :1] != pixels).any() else pixels[..., 0]
    digest.update(np.ascontiguousarray(flat).data)
    return DecodedImage(
        pixels=resize(pixels, size_px),
        digest=digest.hexdigest(),
        width_px=width,
        height_px=height,
        mean=float(pixels.mean()),
        std=float(pixels.std()),
    )


def resize(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """(H, W) or (H, W, 3) uint8 to a square (bilinear with antialiasing, aspect not kept)."""
    square = (size_px, size_px)
    return np.asarray(Image.fromarray(pixels).resize(square, Image.Resampling.BILINEAR))


def unreadable_reason(path: Path, error: Exception) -> str:
    """Why a file cannot be decoded, in words, by the error that it gave."""
    if isinstance(error, OSError) and error.errno:  # the system refuses to read it
        return error.strerror or str(error)
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__
