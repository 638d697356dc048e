"""Read image files: one file's pixels as bytes, and the bits that a set's deep images use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import imagehash
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# what Pillow's decoders raise on damaged files
DECODE_ERRORS = (
    *(OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError),
    RuntimeError,
    AssertionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)

# Suffixes may lie, so the content decides. Among these formats only PNG and TIFF can be deep (more
# than 8 bits). Pillow would drop bits of other formats unnoticed.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # two tags of TIFF, and a value
HASH_SIDE = 16  # of a perceptual hash: 16 x 16 = 256 bits
WAY_OUT = "convert it to 8 bit or to 16-bit gray"

CAMERA_BITS = (8, 10, 12, 14, 16)

Fit = Literal["squash", "pad"]
ONE_SHAPE = 1.25  # aspect ratios that differ by this factor are about equal
SHAPES_READ = 1000  # images that tell the aspect ratios of a set


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


def depth_of(paths: Sequence[Path]) -> int:
    """Return the bits that the deep images of a set use; 0 if none is deep.

    Reads the header of every file, and the pixels of the deep ones alone: a 16-bit file does not
    say how many bits the camera used. Ignores files that cannot be read; decoding names them.
    """

    def largest(path: Path) -> int:
        with contextlib.suppress(*DECODE_ERRORS, MemoryError), _opened(path) as image:
            return int(np.asarray(image).max()) if _is_deep(image) else 0
        return 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        brightest = max(pool.map(largest, paths), default=0)
    return bits_for(brightest) if brightest else 0


def bits_for(largest: int) -> int:
    """Return the bits of the camera whose images reach the value `largest`."""
    return next(bits for bits in CAMERA_BITS if largest < 2**bits)


def choose_fit(paths: Sequence[Path]) -> Fit:
    """Return how images lose less when they become squares.

    "squash" if they have about one shape: all are distorted alike, and no pixel is spent on a
    border. Otherwise "pad": parts of one kind must not look narrow here and wide there. One image
    in a hundred at either end does not count. Reads the headers of at most 2,000 images.
    """
    ratios = [1.0]
    for path in paths[:: max(1, len(paths) // SHAPES_READ)]:
        with contextlib.suppress(*DECODE_ERRORS, MemoryError), _opened(path) as image:
            ratios.append(image.width / image.height)
    low, high = np.quantile(ratios[1:] or ratios, (0.01, 0.99))
    return "squash" if high <= ONE_SHAPE * low else "pad"


def read_image(path: Path, bits: int) -> Picture:
    """Decode a file, turned upright as its EXIF data say; transparency is left out.

    Deep images are scaled so that `bits` bits fill the range from 0 to 255. No value is cut off:
    one above the range raises BitsFound. What Pillow does not read as it is raises ValueError, and
    a damaged file any of `DECODE_ERRORS`.
    """
    with _opened(path) as image:
        return picture_of(image, bits)


def picture_of(image: Image.Image, bits: int) -> Picture:
    """Return what `read_image` does, and raise what it raises, for an image that Pillow opened."""
    has_more = getattr(image, "is_animated", False)
    image.load()
    with contextlib.suppress(*DECODE_ERRORS):  # damaged EXIF data leave the pixels whole
        ImageOps.exif_transpose(image, in_place=True)
    if _is_deep(image):
        values, full = np.asarray(image).astype(np.uint16), 2**bits - 1
        if values.max() > full:
            raise BitsFound(bits_for(values.max()), bits)
        pixels = (values * (255.0 / max(1, full))).round().astype(np.uint8)
        return Picture(pixels, values, has_more)
    pixels = np.asarray(image if image.mode == "L" else image.convert("RGB"))
    if pixels.ndim == 3:
        red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
        pixels = red if (red == green).all() and (red == blue).all() else pixels
    return Picture(pixels, pixels, has_more)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a file whose header promises an image that Pillow reads whole.

    Pillow maps a file into memory if it knows the path, and then reads the rows of a turned TIFF
    with the wrong length.
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
    if _is_deep(image):
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:  # it would be a negative
            raise ValueError("16-bit gray where 0 is white: store it with 0 as black")
    else:
        # Pillow keeps the upper 8 bits of each channel alone
        depths = tags.get(BITS_PER_SAMPLE, ())
        tiles = getattr(image, "tile", ())
        deep_png = image.format == "PNG" and any(";16" in str(tile[3]) for tile in tiles)
        if max(depths, default=8) > 8 or deep_png:
            raise ValueError(f"several channels of more than 8 bits: {WAY_OUT}")


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith("I;16")


def decode(
    path: Path, size_px: int, bits: int, fit: Fit = "squash"
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one image and fit it into a square; raise what `read_image` raises.

    Returns:
        Pixels (S, S) or (S, S, 3), uint8, and facts about the original: a digest of its values
        (equal for identical images), its perceptual hash (256 bits, as hexadecimal digits), its
        size, its mean, and if the file has more than one page or frame.
    """
    pixels, original, has_more = read_image(path, bits)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(f"{height}x{width}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(original).data)
    return resize(pixels, size_px, fit), {
        "digest": digest.hexdigest(),
        "hash": str(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE)),
        "width_px": width,
        "height_px": height,
        "mean": float(pixels.mean()),
        "several_frames": has_more,
    }


def resize(pixels: np.ndarray, size_px: int, fit: Fit) -> np.ndarray:
    """Resize (H, W) or (H, W, 3) uint8 to a square: bilinear, antialiased.

    "squash" does not keep the aspect ratio. "pad" does, and fills the border with the mean of the
    image's own outermost pixels: that makes no strong edge, as black would, and no streaks, as
    repeated pixels would, which look like scratches.
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


def unreadable_reason(path: Path, error: Exception) -> str:
    """Say in words why a file cannot be decoded, given the error that it raised."""
    if isinstance(error, OSError) and error.errno:  # the system refuses to read it
        return error.strerror or str(error)
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, damaged, or of a kind that cannot be read: {WAY_OUT}"
    return str(error) or type(error).__name__
