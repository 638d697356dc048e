"""Decode image files, and keep the images of a source in a memory-mapped cache.

The folder of a cache holds `images.u8` (the pixels), `images.csv` (facts of each image) and
`cache.json` (the shape, and a digest over all).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import imagehash
import joblib
import numpy as np
import pandas as pd
from PIL import Image, ImageOps, UnidentifiedImageError
from tqdm.auto import tqdm

from helpers.core import files, keys
from helpers.datasets import DataError
from helpers.datasets.mask import cut, marked_by, window

# Suffixes may lie, so the content decides. Among these formats only PNG and TIFF can be deep (more
# than 8 bits). Pillow would drop bits of other formats unnoticed.
FORMATS = ("PNG", "JPEG", "BMP", "TIFF", "GIF", "WEBP")
BITS_PER_SAMPLE, PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0  # two tags of TIFF, and a value
HASH_SIDE = 16  # of a perceptual hash: 16 x 16 = 256 bits
WAY_OUT = "convert it to 8 bit or to 16-bit gray"

CAMERA_BITS = (8, 10, 12, 14, 16)

Fit = Literal["squash", "pad"]
ONE_SHAPE = 1.25  # aspect ratios that differ by this factor are about equal
EXAMPLES = 20  # unreadable files that an error names
CHUNK = 512  # images decoded between two writes; bounds the memory


@dataclass(frozen=True)
class ImageCache:
    """All images of a source at one size; row i belongs to `table.id[i]`."""

    pixels: np.ndarray  # (N, S, S, C) uint8, C = 1 if all images are gray, otherwise 3
    table: pd.DataFrame  # id, digest, hash, width_px, height_px, mean, several_frames
    digest: str  # over all ids and pixels
    unreadable: tuple[tuple[str, str], ...] = ()  # id and reason of the files left out
    bits: int = 0  # that its deep images (more than 8 bits) used before scaling; 0: none is deep
    fit: Fit = "squash"  # how images became squares
    mask: str = ""  # that was cut out of each image, see `datasets.mask`

    @property
    def size_px(self) -> int:
        """Return the width and height of the images."""
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """Return 1 if all images are gray, otherwise 3."""
        return self.pixels.shape[3]

    @property
    def report(self) -> str:
        """Return lines that say what was decoded, how, and what was left out."""
        sizes = self.table[["width_px", "height_px"]]
        ends = (f"{width} x {height}" for width, height in (sizes.min(), sizes.max()))
        size = " to ".join(dict.fromkeys(ends))
        kind = "gray" if self.channels == 1 else "colour"
        lines = [f"{kind} images of {size} px: {len(self.table)}; kept at {self.size_px} px"]
        ratios = sizes.width_px / sizes.height_px
        if self.fit == "squash" and ratios.max() > ONE_SHAPE * ratios.min():
            lines += ["squashed to squares; FIT=pad keeps the shapes, which differ"]
        if len(several := self.table.id[self.table.several_frames]):
            frames = "files with several pages or frames, of which the first is read"
            lines += [f"{frames}: {len(several)}, e.g. {several.iloc[0]}"]
        lines += [f"left out: {name}: {reason}" for name, reason in self.unreadable]
        return "\n".join(lines + ["only the pixels of MASK are seen"] * bool(self.mask))

    @property
    def inside(self) -> np.ndarray:
        """Return which pixels (S, S) are inside of the mask, bool; all if there is none."""
        return inside(self.mask, self.size_px, self.fit)

    def rows(self, ids: pd.Series) -> np.ndarray:
        """Return the row number of each id; raise DataError for an id without an image."""
        rows = pd.Series(np.arange(len(self.table)), index=self.table.id).reindex(ids)
        if rows.isna().any():
            missing = rows.index[rows.isna()][0]
            raise DataError(f"image {missing!r} is not in the cache; run 01_data_split again")
        return rows.to_numpy(dtype=np.int64)

    def changed_images(self, split: pd.DataFrame) -> list[str]:
        """Return the ids of images whose pixels have changed since the split, by their `digest`.

        Images that are missing or cannot be read any more count as changed.
        """
        now = self.table.set_index("id").digest.reindex(split.id)
        return split.id[now.to_numpy() != split.digest.to_numpy()].tolist()

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy some rows out of the map, in the order asked for: (B, S, S, C) uint8."""
        return np.asarray(self.pixels[rows])


def open_cache(
    table: pd.DataFrame,
    size_px: int,
    root: Path,
    skip_unreadable: bool = False,
    fit: Fit = "squash",
    mask: str = "",
) -> ImageCache:
    """Open the cache of a table's images (`id`, `path`); build it if it is missing or damaged.

        cache = open_cache(source.table, 192, paths.cache_root())
        batch = cache.take(cache.rows(source.table.id[:64]))  # (64, 192, 192, C) uint8

    `root` is the folder of all caches. An edit of the code that decodes leads to another folder.
    Images that cannot be decoded raise a DataError that lists them, unless `skip_unreadable`.
    """
    key = files.fingerprint([source_key(table), keys.digest_of(_build_cache), mask])
    folder = root / f"{key}-{fit}-{size_px}"
    with files.held(folder.with_name(f".{folder.name}.lock")):  # only one process decodes
        if (meta := _sound(folder)) is None:
            _build_cache(table, size_px, folder, fit, mask)
            meta = files.load_json(folder / "cache.json")
    cache = ImageCache(
        pixels=np.memmap(folder / "images.u8", np.uint8, "r", shape=tuple(meta["shape"])),
        table=files.load_csv(folder / "images.csv", ("id",), text=["digest", "hash"]),
        digest=meta["digest"],
        unreadable=tuple((name, reason) for name, reason in meta["unreadable"]),
        bits=meta["bits"],
        fit=fit,
        mask=mask,
    )
    if cache.unreadable and not skip_unreadable:
        raise _unreadable(table, cache.unreadable)
    return cache


def source_key(table: pd.DataFrame) -> str:
    """Return a digest of the ids and of each file's name and bytes.

    A process reads a file again only if its size or a time has changed.
    """

    def digest(path: str) -> str:
        with contextlib.suppress(OSError):  # decoding gives the reason
            return _digest_of(Path(path)) if os.path.isfile(path) else "not a file"
        return "not readable"

    digests = [*_in_threads(digest, table.path.tolist(), desc="read files", delay=2)]
    names = [os.path.basename(path) for path in table.path]
    return files.fingerprint([table.id.tolist(), names, digests])


def _in_threads(function: Callable, values: Sequence[Any], **bar: Any) -> Iterator[Any]:
    """Yield a function's result for each value, in order; a chunk is in memory at once.

    Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
    """
    bar |= {"total": len(values), "unit": "img", "leave": False}
    with ThreadPoolExecutor(joblib.cpu_count()) as pool, tqdm(**bar) as progress:
        for start in range(0, len(values), CHUNK):
            for result in pool.map(function, values[start : start + CHUNK]):
                yield result
                progress.update()


def _build_cache(table: pd.DataFrame, size_px: int, folder: Path, fit: Fit, mask: str) -> None:
    """Decode the images of a table into a folder; replace what is there, which is damaged.

    The pixels decide if there is colour, since gray images are often saved as colour: the first
    image that has it turns those before it into three equal channels.
    """
    bits = depth_of([*map(Path, table.path)], mask)
    kept: list[dict[str, Any]] = []
    failed, channels = [], 1

    def attempt(path: str) -> tuple[np.ndarray, dict[str, Any]] | str:
        try:
            return decode(Path(path), size_px, bits, fit, mask)
        except MemoryError:
            raise DataError(f"{path} does not fit into the memory") from None
        except Exception as error:  # a damaged file raises one of many kinds
            return unreadable_reason(Path(path), error)

    with files.atomic_folder(folder) as partial:
        results = _in_threads(attempt, table.path.tolist(), desc=f"decode to {size_px} px")
        with (partial / "images.u8").open("w+b") as file:
            for name, result in zip(table.id, results, strict=True):
                if isinstance(result, str):
                    failed.append((name, result))
                    continue
                pixels, facts = result
                if pixels.ndim == 3 and channels == 1:
                    channels = 3
                    file.seek(0)
                    gray = np.frombuffer(file.read(), np.uint8)
                    file.seek(0)
                    file.write(np.repeat(gray, channels).tobytes())
                gray_or_colour = pixels.reshape(size_px, size_px, -1)
                file.write(np.broadcast_to(gray_or_colour, (size_px, size_px, channels)).tobytes())
                kept.append({"id": name, **facts})
        if not kept:
            raise _unreadable(table, failed)
        files.save_csv(partial / "images.csv", pd.DataFrame(kept))
        shape = [len(kept), size_px, size_px, channels]
        meta = {"shape": shape, "bits": bits, "fit": fit, "mask": mask, "unreadable": failed}
        files.save_json(partial / "cache.json", meta | {"digest": _seal(partial, meta)})
        shutil.rmtree(folder, ignore_errors=True)


def _unreadable(table: pd.DataFrame, failed: Sequence[tuple[str, str]]) -> DataError:
    paths = table.set_index("id").path
    named = [f"  {paths[name]}: {reason}" for name, reason in failed[:EXAMPLES]]
    lines = "\n".join(named + ["  ..."] * (len(failed) > EXAMPLES))
    way = "Replace or delete them, or leave them out with -p SKIP_UNREADABLE=True"
    if len(failed) == len(table):
        way = "No image can be read, so check what all have in common"
    return DataError(f"images that cannot be read: {len(failed)}\n{lines}\n{way}")


def _sound(folder: Path) -> dict[str, Any] | None:
    """Return the content of cache.json; None if there is no cache or its digest does not match."""
    with contextlib.suppress(OSError, files.ArtifactError, AttributeError, KeyError):
        meta = files.load_json(folder / "cache.json")
        if meta.pop("digest") == (digest := _seal(folder, meta)):
            return meta | {"digest": digest}
    return None


def _seal(folder: Path, meta: dict[str, Any]) -> str:
    """Return a digest over all that a cache holds."""
    parts = [_digest_of(folder / name) for name in ("images.csv", "images.u8")]
    return files.fingerprint([meta, *parts])


def _digest_of(file: Path) -> str:
    status = file.stat()
    times = status.st_mtime_ns, status.st_ctime_ns
    return _digest_once(file, status.st_ino, status.st_size, *times)


@functools.cache
def _digest_once(file: Path, *facts: int) -> str:
    """Return the digest of a file, read once per process while `facts` about it stay the same."""
    return files.file_digest(file)


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


def depth_of(paths: Sequence[Path], mask: str = "") -> int:
    """Return the bits that the deep images of a set use, inside of the mask; 0 if none is deep.

    A 16-bit file does not say how many bits the camera used, so the pixels of deep images are read.
    """

    def largest(path: Path) -> int:
        with contextlib.suppress(Exception), _opened(path) as image:  # decoding names the file
            if _is_deep(image):
                return int(picture_of(image, max(CAMERA_BITS), mask).original.max())
        return 0

    brightest = max(_in_threads(largest, paths, disable=True), default=0)
    return bits_for(brightest) if brightest else 0


def bits_for(largest: int) -> int:
    """Return the bits of the camera whose images reach the value `largest`."""
    return next(bits for bits in CAMERA_BITS if largest < 2**bits)


def read_image(path: Path, bits: int, mask: str = "") -> Picture:
    """Decode a file, turned upright as its EXIF data say, and cut the mask's box out.

    Transparency is left out. Deep images are scaled so that `bits` bits fill the range from 0 to
    255; a value above the range raises BitsFound. A file whose values Pillow would change raises
    ValueError; a damaged file may raise many kinds of errors.
    """
    with _opened(path) as image:
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
    if _is_deep(image):
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
def _opened(path: Path) -> Iterator[Image.Image]:
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
    path: Path, size_px: int, bits: int, fit: Fit = "squash", mask: str = ""
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one image; return pixels (S, S) or (S, S, 3) uint8, and its row of `ImageCache.table`.

    The digest is that of its values, equal for identical images. Raises what `read_image` raises.
    """
    pixels, original, has_more = read_image(path, bits, mask)
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


def inside(mask: str, size_px: int, fit: Fit) -> np.ndarray:
    """Return which pixels (S, S) of a square image are inside of a mask; all if there is none."""
    if not mask:
        return np.ones((size_px, size_px), dtype=bool)
    height, width = marked_by(mask).shape
    *_, marked = window(mask, width, height)
    return resize(np.uint8(255) * marked, size_px, fit) > 127


def unreadable_reason(path: Path, error: Exception) -> str:
    """Say in words why a file cannot be decoded, given the error that it raised."""
    if isinstance(error, OSError) and error.errno:  # the system refuses to read it
        return error.strerror or str(error)
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, damaged, or of a kind that cannot be read: {WAY_OUT}"
    return str(error) or type(error).__name__
