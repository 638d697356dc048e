"""From image files to batches: decoded once into a memory-mapped uint8 cache."""

from __future__ import annotations

import functools
import math
import mmap
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from helpers.core import files, locks
from helpers.core.files import writing
from helpers.datasets import DataError
from helpers.datasets.decoding import (
    DECODE_ERRORS,
    BitsFound,
    ColourFound,
    DecodedImage,
    bits_for,
    decode,
    read_pixels,
    unreadable_reason,
)

COLOUR_PROBES = 64  # images looked at to tell gray from colour, and the bit depth of 16-bit files
BITS = "full_scale_bits"  # in cache.json; "bits" of before did not promise that none is cut off
CHUNK = 512  # images decoded between two checks; bounds the memory that waits to be written


@dataclass(frozen=True)
class ImageCache:
    """All images of a source at one size, memory-mapped; row i belongs to `table.id[i]`."""

    pixels: np.ndarray  # (N, H, W, C) uint8, C = 1 for gray sources, 3 for colour
    table: pd.DataFrame  # id, digest, width_px, height_px, mean, std
    content: str  # digest over all ids and pixels
    unreadable: tuple[tuple[str, str], ...] = ()  # path and reason of the files left out
    decoded_per_s: float | None = None  # images, when the cache was built
    bits: int = 0  # that its images of more than 8 bits use, scaled to 8; 0: there is none

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
    """The cache of these images at this size; built when it is not there yet, or damaged.

    Its pixels are compared with their digest once per process: a second for a gigabyte.

    Args:
        table: `id` and `path` of each image.
        size_px: height and width in pixels.
        root: folder of all caches.
        skip_unreadable: leave out images that cannot be decoded instead of stopping.

    Raises:
        DataError: images that cannot be decoded, all of them listed.
        ArtifactError: the cache cannot be written, or does not read back as written.
    """
    folder = root / f"{source_key(table)}-{size_px}"
    cache = _load_cache(folder)
    if cache is None:
        with locks.held(folder.with_name(f".{folder.name}.lock")):
            cache = _load_cache(folder)  # another process may have built it meanwhile
            if cache is None:
                _build_cache(table, size_px, folder, skip_unreadable)
                cache = _load_cache(folder)
    if cache is None:
        raise files.ArtifactError(
            f"{folder} does not read back as it was written: check the disk, or set GOOD_BAD_HOME "
            "to a folder on another one"
        )
    if cache.unreadable and not skip_unreadable:
        raise DataError(_unreadable_report(list(cache.unreadable)))
    return cache


def source_key(table: pd.DataFrame) -> str:
    """A digest of ids, names, sizes and times of the files: cheap, and changes when they do.

    Of a file that is not there or may not be read it takes the reason: decoding lists all of them.
    """
    facts: list[list[Any]] = []
    for name, path in zip(table.id, table.path, strict=True):
        try:
            status = os.stat(path)
        except OSError as error:
            facts.append([name, Path(path).name, error.strerror])
        else:
            facts.append([name, Path(path).name, status.st_size, status.st_mtime_ns])
    return files.fingerprint(facts)


def _build_cache(table: pd.DataFrame, size_px: int, folder: Path, skip_unreadable: bool) -> None:
    started, paths = time.monotonic(), [Path(path) for path in table.path]
    if folder.exists():
        print(f"the cache {folder} is damaged, or of an older version: the images are decoded anew")
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):  # of a killed process
        shutil.rmtree(leftover, ignore_errors=True)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with writing(folder):
            gray, bits, kept, failed = _decode_set(table.id.tolist(), paths, size_px, partial)
        if failed and not skip_unreadable:
            raise DataError(_unreadable_report(failed))
        if not kept:
            raise DataError("none of the images can be read")
        frame = pd.DataFrame(kept)
        files.save_csv(partial / "images.csv", frame)
        meta = {
            "shape": [len(frame), size_px, size_px, 1 if gray else 3],
            BITS: bits,
            "decoded_per_s": round(len(frame) / max(time.monotonic() - started, 1e-9), 1),
            "unreadable": failed,
            "table": files.file_digest(partial / "images.csv"),
            "pixels": files.file_digest(partial / "images.u8"),
            "content": files.fingerprint([size_px, frame.id.tolist(), frame.digest.tolist()]),
        }
        meta["digest"] = files.fingerprint(meta)
        files.save_json(partial / "cache.json", meta)
        shutil.rmtree(folder, ignore_errors=True)
        with writing(folder):
            os.replace(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _decode_set(
    ids: list[str], paths: list[Path], size_px: int, folder: Path
) -> tuple[bool, int, list[dict], list[tuple[str, str]]]:
    """As `_decode_all`, with what the set is: begun anew when an image is more than the sample."""
    gray, bits = probe(paths)
    while True:  # ends: colour turns up once, and each time there are more bits
        try:
            return gray, bits, *_decode_all(ids, paths, size_px, gray, bits, folder)
        except ColourFound:
            gray = False
        except BitsFound as found:
            bits = found.bits


def _decode_all(
    ids: list[str], paths: list[Path], size_px: int, gray: bool, bits: int, folder: Path
) -> tuple[list[dict], list[tuple[str, str]]]:
    """Decode in parallel, write pixels in order; return facts of the kept and the failed images."""

    def attempt(path: Path) -> DecodedImage | str:
        """The decoded image, or why it cannot be read."""
        try:
            return decode(path, size_px, gray, bits)
        except MemoryError:
            raise DataError(f"{path} does not fit into the memory") from None
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


def _unreadable_report(failed: list[tuple[str, str]]) -> str:
    lines = "\n".join(f"  {path}: {reason}" for path, reason in failed)
    return (
        f"{len(failed)} image(s) cannot be read:\n{lines}\n"
        "Replace or delete them, or leave them out with -p SKIP_UNREADABLE=True"
    )


def probe(paths: list[Path]) -> tuple[bool, int]:
    """Whether the source is gray, and the bits that its deep images use (0: none is); a sample."""
    step = max(1, len(paths) // COLOUR_PROBES)
    gray, largest = True, 0.0
    for path in paths[::step]:
        try:
            with Image.open(path) as image:
                if image.mode.startswith("I") or image.mode == "F":
                    brightest = float(np.asarray(image).max())
                    largest = max(largest, brightest if math.isfinite(brightest) else 0.0)
                    continue
            read_pixels(path, gray=True, bits=0)
        except ColourFound:
            gray = False
        except DECODE_ERRORS:
            continue  # reported with all others when the whole set is decoded
    return gray, bits_for(largest) if largest > 0 else 0


def _load_cache(folder: Path) -> ImageCache | None:
    """The cache in a folder; None where there is none, or not a byte for byte whole one."""
    meta = _read_meta(folder)
    if meta is None:
        return None
    pixels, table = folder / "images.u8", folder / "images.csv"
    try:  # another process, which builds it anew, may take the files away at any moment
        if files.file_digest(table) != meta["table"] or _digest_of(pixels) != meta["pixels"]:
            return None
        mapped = np.memmap(pixels, dtype=np.uint8, mode="r", shape=tuple(meta["shape"]))
        facts = files.load_csv(table, ("id", "digest"))
    except (FileNotFoundError, IsADirectoryError, files.ArtifactError):
        return None
    except OSError as error:
        raise files.ArtifactError(f"{folder} cannot be read: {error.strerror}") from None
    return ImageCache(
        pixels=mapped,
        table=facts,
        content=meta["content"],
        unreadable=tuple((path, reason) for path, reason in meta["unreadable"]),
        bits=meta.get(BITS, 0),
        decoded_per_s=meta.get("decoded_per_s"),
    )


def _read_meta(folder: Path) -> dict[str, Any] | None:
    try:
        meta = files.load_json(folder / "cache.json")
    except files.ArtifactError:
        return None
    digest = meta.pop("digest", None) if isinstance(meta, dict) else None
    if digest != files.fingerprint(meta):
        return None
    guessed_bits = meta.get("bits", 16)  # of an older version, which cut off what had more
    return meta if guessed_bits == 16 else None


def _digest_of(file: Path) -> str:
    status = file.stat()
    return _digest_once(file, status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=32)
def _digest_once(file: Path, *facts: int) -> str:
    """The digest of a file, read once per process as long as `facts` about it stay."""
    return files.file_digest(file)
