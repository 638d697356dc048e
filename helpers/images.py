"""From image files to batches: decoded once into a memory-mapped uint8 cache."""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import struct
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError
from tqdm.auto import tqdm

from helpers import artifacts
from helpers.datasets import DataError

COLOUR_PROBES = 64  # images looked at to tell gray from colour, and the bit depth of 16-bit files
CHUNK = 512  # images decoded between two checks; bounds the memory that waits to be written
# what Pillow's decoders raise on damaged files
_BROKEN = (OSError, ValueError, SyntaxError, EOFError, LookupError, TypeError, ArithmeticError)
DECODE_ERRORS = (*_BROKEN, RuntimeError, struct.error, zlib.error, Image.DecompressionBombError)


@dataclass(frozen=True)
class DecodedImage:
    """One image at cache size, and what is known about the original."""

    pixels: np.ndarray  # (H, W) gray or (H, W, 3), uint8
    digest: str  # of the original's pixels: equal for identical images
    width_px: int
    height_px: int
    mean: float  # of all values, 0 to 255
    std: float


class _ColourFound(Exception):
    """An image in colour among images that were taken for gray."""


def read_pixels(path: Path, gray: bool | None, bits: int = 16) -> np.ndarray:
    """Decode a file to uint8, (H, W) when `gray`, else (H, W, 3); None goes by the pixels.

    Images of more than 8 bits are scaled so that `bits` bits fill the range.
    """
    with Image.open(path) as image:
        if image.mode.startswith("I") or image.mode == "F":
            values = np.asarray(image, dtype=np.float32)
            scaled = np.clip(values * (255.0 / (2**bits - 1)), 0, 255).round().astype(np.uint8)
            return np.repeat(scaled[..., None], 3, axis=2) if gray is False else scaled
        if gray is not False and image.mode == "L":
            return np.asarray(image)
        rgb = np.asarray(image.convert("RGB"))
    if gray is False:
        return rgb
    if (rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 0] == rgb[..., 2]).all():
        return rgb[..., 0]
    if gray:
        raise _ColourFound(str(path))
    return rgb


def decode(path: Path, size_px: int, gray: bool, bits: int = 16) -> DecodedImage:
    """Read one image and resize it to a square, with what is known about the original."""
    pixels = read_pixels(path, gray, bits)
    height, width = pixels.shape[:2]
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{height}x{width}".encode())
    # A gray image saved as colour has the same pixels as the gray one.
    flat = pixels if gray or (pixels[..., :1] != pixels).any() else pixels[..., 0]
    digest.update(np.ascontiguousarray(flat))
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


@dataclass(frozen=True)
class ImageCache:
    """All images of a source at one size, memory-mapped; row i belongs to `table.id[i]`."""

    pixels: np.ndarray  # (N, H, W, C) uint8, C = 1 for gray sources, 3 for colour
    table: pd.DataFrame  # id, digest, width_px, height_px, mean, std
    content: str  # digest over all ids and pixels
    unreadable: tuple[tuple[str, str], ...] = ()  # path and reason of the files left out
    decoded_per_s: float | None = None  # images, when the cache was built

    @property
    def size_px(self) -> int:
        """Height and width of the cached images."""
        return self.pixels.shape[1]

    @property
    def channels(self) -> int:
        """1 for gray, 3 for colour."""
        return self.pixels.shape[3]

    @property
    def report(self) -> str:
        """One paragraph on what was decoded and what was left out."""
        kind = "gray" if self.channels == 1 else "colour"
        lines = [f"{len(self.table)} {kind} images at {self.size_px} px"]
        lines += [f"left out: {Path(path).name}: {reason}" for path, reason in self.unreadable]
        return "\n".join(lines)

    def rows(self, ids: pd.Series) -> np.ndarray:
        """The row number of each id."""
        found = pd.Series(np.arange(len(self.table)), index=self.table.id).reindex(ids)
        if found.isna().any():
            missing = found.index[found.isna()][0]
            raise DataError(f"image {missing!r} is not in the cache; run 01_data_split again")
        return found.to_numpy(dtype=np.int64)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy some rows out of the map, in the order asked for: (B, H, W, C) uint8."""
        order = np.argsort(rows, kind="stable")  # read in disk order
        batch = np.empty((len(rows), *self.pixels.shape[1:]), dtype=np.uint8)
        batch[order] = self.pixels[rows[order]]
        if isinstance(self.pixels.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            # the system keeps the pages; they no longer count as this process's memory
            self.pixels.base.madvise(mmap.MADV_DONTNEED)
        return batch


def open_cache(
    table: pd.DataFrame, size_px: int, root: Path, skip_unreadable: bool = False
) -> ImageCache:
    """The cache of these images at this size; built when it is not there yet.

    Args:
        table: `id` and `path` of each image.
        size_px: height and width in pixels.
        root: folder of all caches.
        skip_unreadable: leave out images that cannot be decoded instead of stopping.

    Raises:
        DataError: images that cannot be decoded, all of them listed.
    """
    folder = root / f"{source_key(table)}-{size_px}"
    meta_path = folder / "cache.json"
    if meta_path.is_file():
        meta = artifacts.load_json(meta_path)
        if meta["unreadable"] and not skip_unreadable:
            raise DataError(_unreadable_report([tuple(item) for item in meta["unreadable"]]))
        if _is_whole(folder, meta):
            return _load_cache(folder, meta)
        shutil.rmtree(folder)
    _build_cache(table, size_px, folder, skip_unreadable)
    return _load_cache(folder, artifacts.load_json(meta_path))


def source_key(table: pd.DataFrame) -> str:
    """A digest of ids, names, sizes and times of the files: cheap, and changes when they do."""
    facts = []
    for name, path in zip(table.id, table.path, strict=True):
        try:
            status = os.stat(path)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror}") from None
        facts.append([name, Path(path).name, status.st_size, status.st_mtime_ns])
    return artifacts.fingerprint(facts)


def _build_cache(table: pd.DataFrame, size_px: int, folder: Path, skip_unreadable: bool) -> None:
    started, paths = time.monotonic(), [Path(path) for path in table.path]
    gray, bits = probe(paths)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        try:
            kept, failed = _decode_all(table.id.tolist(), paths, size_px, gray, bits, partial)
        except _ColourFound:
            gray = False
            kept, failed = _decode_all(table.id.tolist(), paths, size_px, gray, bits, partial)
        if failed and not skip_unreadable:
            raise DataError(_unreadable_report(failed))
        if not kept:
            raise DataError("none of the images can be read")
        frame = pd.DataFrame(kept)
        artifacts.save_csv(partial / "images.csv", frame)
        meta = {
            "shape": [len(frame), size_px, size_px, 1 if gray else 3],
            "bits": bits,
            "decoded_per_s": round(len(frame) / max(time.monotonic() - started, 1e-9), 1),
            "unreadable": failed,
            "table": artifacts.file_digest(partial / "images.csv"),
            "content": artifacts.fingerprint([size_px, frame.id.tolist(), frame.digest.tolist()]),
        }
        artifacts.save_json(partial / "cache.json", meta)
        shutil.rmtree(folder, ignore_errors=True)
        os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decode_all(
    ids: list[str], paths: list[Path], size_px: int, gray: bool, bits: int, folder: Path
) -> tuple[list[dict], list[tuple[str, str]]]:
    """Decode in parallel, write pixels in order; return facts of the kept and the failed images."""

    def attempt(path: Path) -> DecodedImage | str:
        """The decoded image, or why it cannot be read."""
        try:
            return decode(path, size_px, gray, bits)
        except DECODE_ERRORS as error:
            return unreadable_reason(path, error)

    kept, failed = [], []
    # Pillow frees the interpreter lock while it decodes and resizes, so threads are enough.
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        (folder / "images.u8").open("wb") as file,
        tqdm(total=len(paths), desc=f"decode to {size_px} px", unit="img", leave=False) as bar,
    ):
        for start in range(0, len(paths), CHUNK):
            chunk = slice(start, start + CHUNK)
            results = pool.map(attempt, paths[chunk])
            for name, path, result in zip(ids[chunk], paths[chunk], results, strict=True):
                bar.update()
                if isinstance(result, str):
                    failed.append((path.as_posix(), result))
                    continue
                file.write(result.pixels.tobytes())
                facts = {k: v for k, v in vars(result).items() if k != "pixels"}
                kept.append({"id": name} | facts)
        file.flush()
        os.fsync(file.fileno())
    return kept, failed


def unreadable_reason(path: Path, error: Exception) -> str:
    """Why a file cannot be decoded, in words, by the error that it gave."""
    if path.is_file() and path.stat().st_size == 0:
        return "the file is empty (0 bytes)"
    if isinstance(error, UnidentifiedImageError):
        return "not an image"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _unreadable_report(failed: list[tuple[str, str]]) -> str:
    lines = "\n".join(f"  {path}: {reason}" for path, reason in failed)
    return (
        f"{len(failed)} image(s) cannot be read:\n{lines}\n"
        "Replace or delete them, or leave them out with -p SKIP_UNREADABLE=True"
    )


def probe(paths: list[Path]) -> tuple[bool, int]:
    """Whether the source is gray, and the bits that its deep images use; from a sample."""
    step = max(1, len(paths) // COLOUR_PROBES)
    gray, largest = True, 0.0
    for path in paths[::step]:
        try:
            with Image.open(path) as image:
                if image.mode.startswith("I") or image.mode == "F":
                    largest = max(largest, float(np.asarray(image).max()))
                    continue
            read_pixels(path, gray=True)
        except _ColourFound:
            gray = False
        except DECODE_ERRORS:
            continue  # reported with all others when the whole set is decoded
    # Cameras deliver 8, 10, 12, 14 or 16 bits; floating-point images mostly reach from 0 to 1.
    bits = next((b for b in (1, 8, 10, 12, 14, 16) if largest <= 2**b - 1), 16) if largest else 16
    return gray, bits


def _is_whole(folder: Path, meta: dict) -> bool:
    pixels, table = folder / "images.u8", folder / "images.csv"
    return (
        pixels.is_file()
        and table.is_file()
        and pixels.stat().st_size == int(np.prod(meta["shape"]))
        and artifacts.file_digest(table) == meta["table"]
    )


def _load_cache(folder: Path, meta: dict) -> ImageCache:
    pixels = np.memmap(folder / "images.u8", dtype=np.uint8, mode="r", shape=tuple(meta["shape"]))
    table = artifacts.load_csv(folder / "images.csv", ("id", "digest"))
    unreadable = tuple((path, reason) for path, reason in meta["unreadable"])
    return ImageCache(pixels, table, meta["content"], unreadable, meta.get("decoded_per_s"))
