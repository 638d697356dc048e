"""Decode image files, and keep the images of a source in a memory-mapped cache.

The folder of a cache holds `images.u8` (the pixels), `images.csv` (facts of each image) and
`cache.json` (the shape, and a digest over all).
"""

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import imagehash
import joblib
import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from helpers.core import files, keys
from helpers.datasets import DataError, decoding
from helpers.datasets.decoding import Fit

CHUNK = 512  # images decoded between two writes; bounds the memory
HASH_SIDE = 16  # of a perceptual hash: 16 x 16 = 256 bits
ONE_SHAPE = 1.25  # aspect ratios that differ by this factor are about equal
EXAMPLES = 20  # unreadable files that an error names


@dataclass(frozen=True)
class ImageCache:
    """All images of a source at one size; row i belongs to `table.id[i]`."""

    pixels: np.ndarray  # (N, S, S, C) uint8, C = 1 if all images are gray, otherwise 3
    table: pd.DataFrame  # id, digest, hash, width_px, height_px, mean, several_frames
    digest: str  # over all ids and pixels
    unreadable: Mapping[str, str] = field(default_factory=dict)  # reason by the id; left out
    bits: int = 0  # used by its deep images (more than 8 bits) before scaling; 0: no deep image
    fit: Fit = "squash"  # how images became squares
    mask: str = ""  # its box was cut out of each image, see `sources.mask_of`

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
        if several := self.table.several_frames.sum():
            lines += [f"files with several pages or frames, of which the first is read: {several}"]
        lines += [f"left out: {name}: {reason}" for name, reason in self.unreadable.items()]
        return "\n".join(lines + ["only the pixels of MASK are seen"] * bool(self.mask))

    @property
    def inside(self) -> np.ndarray:
        """Return True for the pixels (S, S) inside the mask; for all pixels without a mask."""
        return inside(self.mask, self.size_px, self.fit)

    def rows(self, ids: pd.Series) -> np.ndarray:
        """Return the row number of each id; raise DataError for an id without an image."""
        rows = pd.Series(np.arange(len(self.table)), index=self.table.id).reindex(ids)
        if rows.isna().any():
            missing = rows.index[rows.isna()][0]
            raise DataError(f"image {missing!r} is not in the cache; run 01_data_split again")
        return rows.to_numpy(dtype=np.int64)

    def changed_images(self, split: pd.DataFrame) -> list[str]:
        """Return the ids of images that have other pixels than in the split, or are gone."""
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

    `root` is the folder of all caches. An edit of the code that decodes leads to another folder.
    Images that cannot be decoded raise a DataError that lists them, unless `skip_unreadable`.
    """
    key = files.fingerprint([_files_of(table), keys.digest_of(_build_cache), mask])
    folder = root / f"{key}-{fit}-{size_px}"
    with files.held(folder.with_name(f".{folder.name}.lock")):  # only one process decodes
        if (meta := _sound(folder)) is None:
            _build_cache(table, size_px, folder, fit, mask)
            meta = files.load_json(folder / "cache.json")
    pixels = np.memmap(folder / "images.u8", np.uint8, "r", shape=tuple(meta.pop("shape")))
    about = files.load_csv(folder / "images.csv", ("id",), text=["digest", "hash"])
    cache = ImageCache(pixels, about, **meta)
    if cache.unreadable and not skip_unreadable:
        raise _unreadable(table, cache.unreadable)
    return cache


def _files_of(table: pd.DataFrame) -> list[Any]:
    """Return the id, the name and a digest of each file of a table."""

    def digest(path: str) -> str:
        with contextlib.suppress(OSError):  # decoding gives the reason
            return _digest_of(Path(path)) if os.path.isfile(path) else "not a file"
        return "not readable"

    digests = [*_in_threads(digest, table.path.tolist(), desc="read files", delay=2)]
    return [table.id.tolist(), [os.path.basename(path) for path in table.path], digests]


def _in_threads(function: Callable, values: Sequence[Any], **bar: Any) -> Iterator[Any]:
    """Yield a function's result for each value, in order; a chunk is in memory at once.

    Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
    """
    with tqdm(total=len(values), unit="img", leave=False, **bar) as progress:
        for start in range(0, len(values), CHUNK):
            calls = map(joblib.delayed(function), values[start : start + CHUNK])
            for result in joblib.Parallel(-1, require="sharedmem")(calls):
                yield result
                progress.update()


def _build_cache(table: pd.DataFrame, size_px: int, folder: Path, fit: Fit, mask: str) -> None:
    """Decode the images of a table into a folder; replace what is there, which is damaged.

    The pixels decide if there is colour, since gray images are often saved as colour: the first
    image that has it turns those before it into three equal channels.
    """
    bits = depth_of([*map(Path, table.path)], mask)
    kept: list[dict[str, Any]] = []
    failed, channels = {}, 1

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
                    failed[name] = result
                    continue
                pixels, facts = result
                if pixels.shape[2] > channels:  # the first with colour
                    channels = 3
                    file.seek(0)
                    gray = np.frombuffer(file.read(), np.uint8)
                    file.seek(0)
                    file.write(np.repeat(gray, channels).tobytes())
                file.write(np.broadcast_to(pixels, (size_px, size_px, channels)).tobytes())
                kept.append({"id": name, **facts})
        if not kept:
            raise _unreadable(table, failed)
        files.save_csv(partial / "images.csv", pd.DataFrame(kept))
        shape = [len(kept), size_px, size_px, channels]
        meta = {"shape": shape, "bits": bits, "fit": fit, "mask": mask, "unreadable": failed}
        files.save_json(partial / "cache.json", meta | {"digest": _seal(partial, meta)})
        shutil.rmtree(folder, ignore_errors=True)


def _unreadable(table: pd.DataFrame, failed: Mapping[str, str]) -> DataError:
    paths = table.set_index("id").path
    listed = [f"  {paths[name]}: {reason}" for name, reason in failed.items()][:EXAMPLES]
    way = "Replace or delete them, or leave them out with -p SKIP_UNREADABLE=True"
    if len(failed) == len(table):
        way = "No image can be read, so check what all have in common"
    return DataError("\n".join([f"images that cannot be read: {len(failed)}", *listed, way]))


def _sound(folder: Path) -> dict[str, Any] | None:
    """Return the content of cache.json; None if there is no cache or it is damaged."""
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
    about = file.stat()
    return _digest_once(file, about.st_ino, about.st_size, about.st_mtime_ns, about.st_ctime_ns)


@functools.cache
def _digest_once(file: Path, *facts: int) -> str:
    """Return a file's digest; a process reads it again only if `facts` about it have changed."""
    return files.file_digest(file)


def depth_of(paths: Sequence[Path], mask: str = "") -> int:
    """Return the bits that the deep images of a set use, inside the mask; 0 without deep images.

    A 16-bit file does not say how many bits the camera used, so the pixels of deep images are read.
    """

    def largest(path: Path) -> int:
        with contextlib.suppress(Exception), decoding.open_image(path) as image:  # reported later
            if decoding.is_deep(image):
                return int(decoding.picture_of(image, 16, mask).original.max())
        return 0

    brightest = max(_in_threads(largest, paths, disable=True), default=0)
    return decoding.bits_for(brightest) if brightest else 0


def decode(
    path: Path, size_px: int, bits: int, fit: Fit = "squash", mask: str = ""
) -> tuple[np.ndarray, dict[str, Any]]:
    """Read one image; return pixels (S, S, 1 or 3) uint8, and its row of `ImageCache.table`.

    The digest is that of its values, equal for identical images. Raises what `read_image` raises.
    """
    pixels, original, has_more = decoding.read_image(path, bits, mask)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(f"{height}x{width}".encode(), digest_size=16)
    digest.update(np.ascontiguousarray(original).data)
    return decoding.resize(pixels, size_px, fit).reshape(size_px, size_px, -1), {
        "digest": digest.hexdigest(),
        "hash": str(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE)),
        "width_px": width,
        "height_px": height,
        "mean": float(pixels.mean()),
        "several_frames": has_more,
    }


def inside(mask: str, size_px: int, fit: Fit) -> np.ndarray:
    """Return True for the pixels (S, S) of a square image inside a mask; for all without a mask."""
    if not mask:
        return np.ones((size_px, size_px), dtype=bool)
    height, width = decoding.marked_by(mask).shape
    *_, marked = decoding.window(mask, width, height)
    return decoding.resize(np.uint8(255) * marked, size_px, fit) > 127


def unreadable_reason(path: Path, error: Exception) -> str:
    """Say in words why a file cannot be decoded, given the error that it raised."""
    if isinstance(error, OSError) and error.errno:  # the system refuses to read it
        return error.strerror or str(error)
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image, damaged, or of a kind that cannot be read: {decoding.WAY_OUT}"
    return str(error) or type(error).__name__
