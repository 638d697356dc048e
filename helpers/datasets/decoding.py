"""Read image files: one file's pixels as bytes, and the bits that a set's deep images use."""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import struct
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

# what Pillow's decoders raise on damaged files
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)
DECODE_ERRORS = (*_BROKEN, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError)

# Cameras deliver 8, 10, 12, 14 or 16 bits. Most floating-point images reach from 0 to 1; a filter
# takes some a little beyond, which must not leave 8 bits almost empty: hence 2.
CAMERA_BITS = (1, 2, 8, 10, 12, 14, 16)
SHALLOW = (b"BM", b"\xff\xd8")  # first bytes of BMP and JPEG, which have no deep images
HEADERS_PER_TASK = 64


class BitsFound(Exception):
    """A deep image has a value above the scale that it was to be read with."""

    def __init__(self, bits: int, scale: int) -> None:
        super().__init__(f"uses {bits} bits, the scale is of {scale}")
        self.bits = bits


def deep_bits(paths: Sequence[Path]) -> int:
    """Return the bits that the deep images (more than 8 bits) of a set use; 0 if none is deep.

    Reads the header of every file, and the pixels of the deep ones alone: a 16-bit file does not
    say how many bits the camera used. Ignores files that cannot be read; decoding names them.
    """

    def largest_value(start: int) -> float:
        largest = 0.0
        for path in paths[start : start + HEADERS_PER_TASK]:
            with contextlib.suppress(*DECODE_ERRORS, MemoryError), path.open("rb") as file:
                if file.read(2) not in SHALLOW and _is_deep(image := Image.open(file)):
                    largest = max(largest, float(_deep_values(image).max()))
        return largest

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        largest = max(pool.map(largest_value, range(0, len(paths), HEADERS_PER_TASK)), default=0.0)
    return bits_for(largest) if largest > 0 else 0


def bits_for(largest: float) -> int:
    """Return the bits of the camera whose images reach the value `largest`, which is finite."""
    fitting = (bits for bits in CAMERA_BITS if largest <= 2**bits - 1)
    return next(fitting, math.ceil(largest).bit_length())


def read_pixels(path: Path, bits: int) -> np.ndarray:
    """Decode a file to uint8: (H, W) if all pixels are gray, otherwise (H, W, 3).

    Deep images are scaled so that `bits` bits fill the range from 0 to 255. No value is cut off.

    Raises:
        BitsFound: a value above the range.
        ValueError: a value that is not finite, or below 0.
        Exception: any of `DECODE_ERRORS`, if the file is damaged.
    """
    with Image.open(path) as image:
        if _is_deep(image):
            values = _deep_values(image)
            largest = float(values.max())
            if largest > 2**bits - 1:
                raise BitsFound(bits_for(largest), bits)
            return (values * (255.0 / max(1, 2**bits - 1))).round().astype(np.uint8)
        if image.mode == "L":
            return np.asarray(image)
        rgb = np.asarray(image.convert("RGB"))
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    return red if (red == green).all() and (red == blue).all() else rgb


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I") or image.mode == "F"


def _deep_values(image: Image.Image) -> np.ndarray:
    values = np.asarray(image, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ValueError("holds values that are not finite")
    if (smallest := float(values.min())) < 0:
        raise ValueError(
            f"holds negative values, down to {smallest:g}: add to all images what "
            "makes them 0 or more"
        )
    return values


def decode(path: Path, size_px: int, bits: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one image and resize it to a square; raise what `read_pixels` raises.

    Returns:
        Pixels (S, S) or (S, S, 3), uint8, and facts about the original: a digest of its pixels
        (equal for identical images), its size, mean and standard deviation (0 to 255).
    """
    pixels = read_pixels(path, bits)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(f"{height}x{width}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(pixels).data)
    counts = np.reshape(Image.fromarray(pixels).histogram(), (-1, 256)).sum(axis=0)
    values = np.arange(256)
    mean = counts @ values / counts.sum()
    return resize(pixels, size_px), {
        "digest": digest.hexdigest(),
        "width_px": width,
        "height_px": height,
        "mean": float(mean),
        "std": math.sqrt(counts @ (values - mean) ** 2 / counts.sum()),
    }


def resize(pixels: np.ndarray, size_px: int) -> np.ndarray:
    """Resize (H, W) or (H, W, 3) uint8 to a square: bilinear, antialiased, aspect not kept."""
    square = (size_px, size_px)
    return np.asarray(Image.fromarray(pixels).resize(square, Image.Resampling.BILINEAR))


def unreadable_reason(path: Path, error: Exception) -> str:
    """Say in words why a file cannot be decoded, given the error that it raised."""
    if isinstance(error, OSError) and error.errno:  # the system refuses to read it
        return error.strerror or str(error)
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return str(error) or type(error).__name__
