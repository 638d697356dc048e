"""Make up the benchmarks' data: gray images in BMP files, and embeddings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

SOURCE_PX = 280  # the contest's images
SUFFIXES = {".bmp", ".png", ".jpg", ".jpeg", ".tif", ".tiff"}
DIMENSIONS = 512  # of an embedding, as ResNet-18's
BAD_SHIFT = np.float32(0.5)  # hard enough: an AUC of 0.96 by the SVM, of 0.84 by a small forest


def image_table(folder: Path, count: int, given: Path | None = None) -> pd.DataFrame:
    """Return `id, path, label` of `count` images: of `given`, or made up and written to `folder`.

    Labels alternate. Images that are in `folder` already are used again.

    Raises:
        SystemExit: `given` holds fewer than two images.
    """
    if given is not None:
        files = sorted(p for p in given.rglob("*") if p.suffix.lower() in SUFFIXES)[:count]
        if len(files) < 2:
            raise SystemExit(f"--images {given} holds {len(files)} images, two are needed")
    else:
        files = [folder / f"{i:06d}.bmp" for i in range(count)]
        write_images([path for path in files if not path.is_file()])
    rows = np.arange(len(files))
    return pd.DataFrame(
        {
            "id": [f"{i:06d}" for i in rows],
            "path": [path.as_posix() for path in files],
            "label": rows % 2,
        }
    )


def write_images(files: list[Path], size_px: int = SOURCE_PX) -> None:
    """Write 8-bit gray BMP files: a dark ground with grain, a brighter body, each its own."""
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(int(path.stem))
        pixels = rng.integers(20, 80, (size_px, size_px), dtype=np.uint8)
        top, left = rng.integers(10, size_px // 3, 2)
        pixels[top : top + size_px // 2, left : left + size_px // 2] += np.uint8(120)
        Image.fromarray(pixels).save(path)


def embeddings(n: int, bad: np.ndarray) -> np.ndarray:
    """Make embeddings (n, 512) like a network's: 40 directions of falling spread, noise, a ReLU.

    Rows where `bad` (n,) is True are shifted in each direction, by less than the spread.
    """
    rng = np.random.default_rng(0)
    factors = rng.standard_normal((n, 40), np.float32) * np.linspace(3, 0.3, 40, dtype=np.float32)
    factors[bad] += BAD_SHIFT
    mixing = rng.standard_normal((40, DIMENSIONS), np.float32) / np.float32(np.sqrt(40))
    made = np.float32(0.3) * rng.standard_normal((n, DIMENSIONS), np.float32)
    made += factors @ mixing
    return np.maximum(made, 0, out=made)


def labelled_embeddings(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Make embeddings (n, 512) and labels (n,), nine good ones to a bad one."""
    labels = (np.arange(n) % 10 == 0).astype(np.int64)
    return embeddings(n, labels == 1), labels
