"""Write synthetic chip images in the look and the folder layout of the Nexperia contest.

    python -m helpers.datasets.chips --train 30000 --test 3000 --out DIR

The images are drawn by a program; none is a photograph. They stand in for the contest's files
(30,000 and 3,000 images, about nine good parts to one bad) if these are not available.
`DIR/chips.json` holds the settings and says whether the set is whole.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import threading
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from helpers.core.files import write_bytes
from helpers.datasets.chips.files import (
    BAD_FRACTION,
    Item,
    Settings,
    bmp_bytes,
    check_folder,
    check_room,
    list_items,
    write_marker,
    write_tables,
)
from helpers.datasets.chips.sample import IMAGE_SIZE_PX, contact_sheet, draw_sample, render_part
from helpers.datasets.nexperia import is_done

CHUNK_SIZE = 100  # images per task: long enough to hide the hand-over, short enough for the bar


def write_dataset(
    out: Path | str,
    train: int,
    test: int,
    seed: int = 0,
    *,
    bad_fraction: float = BAD_FRACTION,
    size_px: int = IMAGE_SIZE_PX,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write a data set in the contest's layout; continue one that was interrupted.

        write_dataset("data/raw/chips", train=6000, test=1000)

    Args:
        out: folder, new, empty, or started with the same settings.
        train, test: numbers of images, 1 or more each.
        seed: all images depend on it, and on nothing else but the settings here.
        bad_fraction: bad parts among the training and among the test images.
        size_px: side of the square images, 64...480.
        workers: processes; all cores if None. The images do not depend on it.
        progress: show a bar.

    Returns:
        The folder, whole.

    Raises:
        ValueError: a setting out of range, or a folder with other settings or other files.
        OSError: too little room on the disk.
    """
    settings = Settings(train, test, seed, bad_fraction, size_px)
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be 1 or more, got {workers}")
    out = Path(out)
    check_folder(out, settings)
    items = list_items(settings)
    missing = sum(not item.is_whole(out, size_px) for item in items)
    if missing == 0 and is_done(out):
        return out
    check_room(out, missing * bmp_bytes(size_px))
    write_marker(out, settings, "writing")
    with tqdm(total=len(items), unit="image", disable=not progress, desc=str(out)) as bar:
        rows = _write_images(out, settings, items, workers, bar)
    write_tables(out, rows)
    for leftover in out.rglob("*.tmp"):
        leftover.unlink()
    write_marker(out, settings, "done")
    return out


def _write_images(
    out: Path, settings: Settings, items: list[Item], workers: int, bar: tqdm
) -> list[dict]:
    """Write the missing images, in chunks; return a row of facts per image, in any order."""
    rows: list[dict] = []

    def note(done: list[dict]) -> None:
        rows.extend(done)
        bar.update(len(done))

    chunks = [items[i : i + CHUNK_SIZE] for i in range(0, len(items), CHUNK_SIZE)]
    work = partial(_write_chunk, out, settings)
    workers = min(workers, len(chunks))
    if workers == 1:
        for chunk in chunks:
            note(work(chunk))
        return rows
    # Spawned, not forked: a parent that holds torch's threads must not be forked.
    with ProcessPoolExecutor(workers, get_context("spawn"), _die_with_parent) as pool:
        try:
            for future in as_completed([pool.submit(work, chunk) for chunk in chunks]):
                note(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return rows


def _die_with_parent() -> None:
    """End this worker when its parent is killed; it would wait for work for ever."""
    parent = parent_process()
    if parent is None:  # the main process itself
        return

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _write_chunk(out: Path, settings: Settings, items: list[Item]) -> list[dict]:
    """Write the chunk's missing images, each after its mask, so that an image has its mask."""
    rows = []
    for item in items:
        key = (settings.seed, item.split, item.index, item.label)
        if item.is_whole(out, settings.size_px):
            info = draw_sample(*key).info
        else:
            image, mask, info = render_part(*key, settings.size_px)
            if item.label == 1:
                write_bytes(out / item.mask_path, _encode(mask, "PNG"), flush=False)
            write_bytes(out / item.image_path, _encode(image, "BMP"), flush=False)
        rows.append({"id": item.id, "split": item.split, "label": item.label, **info})
    return rows


def _encode(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status, 0 or, for a refused request, 1."""
    parser = argparse.ArgumentParser(
        prog="python -m helpers.datasets.chips",
        description="Write SYNTHETIC chip images in the layout of the Nexperia contest.",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--train", type=int, default=30_000, help="training images (30000)")
    parser.add_argument("--test", type=int, default=3_000, help="test images (3000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bad-fraction", type=float, default=BAD_FRACTION, help="bad parts (0.1)")
    parser.add_argument("--size-px", type=int, default=IMAGE_SIZE_PX, help="side (280)")
    parser.add_argument("--workers", type=int, help="processes (all cores)")
    parser.add_argument("--sheet", type=Path, help="PNG of 50 good and 50 bad parts")
    values = vars(parser.parse_args(arguments))
    sheet = values.pop("sheet")
    try:
        out = write_dataset(**values)
        if sheet is not None:
            contact_sheet(sheet, seed=values["seed"])
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{values['train']} + {values['test']} synthetic images in {out}")
    return 0
