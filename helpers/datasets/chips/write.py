"""Write synthetic chip images in the look and the folder layout of the Nexperia contest.

    python -m helpers.datasets.chips --train 30000 --test 3000 --out DIR

The images are drawn by a program; none is a photograph. They stand in for the contest's files
(30,000 and 3,000 images, about nine good parts to one bad) if these are not available.
`DIR/chips.json` holds the settings and says whether the set is whole.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from helpers.core.files import writing
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
from helpers.datasets.chips.render import IMAGE_SIZE_PX, render_part
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
    """Write a data set in the contest's layout, unless it is there.

        write_dataset("data/raw/chips", train=6000, test=1000)

    Args:
        out: folder, new, empty, or with a set of the same settings; one that was not finished
            is drawn again.
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
    if is_done(out):
        return out
    items = list_items(settings)
    check_room(out, len(items) * bmp_bytes(size_px))
    write_marker(out, settings, "writing")
    with writing(out):
        for folder in {(out / p).parent for i in items for p in (i.image_path, i.mask_path)}:
            folder.mkdir(parents=True, exist_ok=True)
        chunks = [items[i : i + CHUNK_SIZE] for i in range(0, len(items), CHUNK_SIZE)]
        rows: list[dict] = []
        with tqdm(total=len(items), unit="image", disable=not progress, desc=str(out)) as bar:
            for done in _write_chunks(out, settings, chunks, min(workers, len(chunks))):
                rows += done
                bar.update(len(done))
    write_tables(out, rows)
    write_marker(out, settings, "done")
    return out


def _write_chunks(
    out: Path, settings: Settings, chunks: list[list[Item]], workers: int
) -> Iterator[list[dict]]:
    """Write the images of all chunks; yield the facts about each chunk, in any order."""
    if workers == 1:
        yield from (_write_chunk(out, settings, chunk) for chunk in chunks)
        return
    # Spawned, not forked: a parent that holds torch's threads must not be forked.
    with ProcessPoolExecutor(workers, get_context("spawn"), _die_with_parent) as pool:
        futures = [pool.submit(_write_chunk, out, settings, chunk) for chunk in chunks]
        try:
            yield from (future.result() for future in as_completed(futures))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


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
    """Write some images, and the masks of the bad ones; return the facts about them."""
    rows = []
    for item in items:
        image, mask, info = render_part(
            settings.seed, item.split, item.index, item.label, settings.size_px
        )
        Image.fromarray(image).save(out / item.image_path)
        if item.label == 1:
            Image.fromarray(mask).save(out / item.mask_path)
        rows.append({"id": item.id, "split": item.split, "label": item.label, **info})
    return rows


def contact_sheet(
    path: Path | str | None = None,
    n_good: int = 50,
    n_bad: int = 50,
    seed: int = 0,
    columns: int = 10,
    tile_px: int = 150,
) -> Image.Image:
    """Draw good and bad training parts on one labelled sheet; the good ones come first.

    Args:
        path: PNG to write, or None to write nothing.
        n_good, n_bad: how many parts of either class.
        seed: of the data set.
        columns: tiles in a row.
        tile_px: side of a tile.

    Returns:
        RGB image; bad parts have a red caption with the defect and its difficulty.

    Raises:
        ValueError: no parts asked for, or columns below 1.
    """
    if min(n_good, n_bad) < 0 or n_good + n_bad < 1 or columns < 1:
        raise ValueError(
            "a contact sheet needs one part or more and one column or more, "
            f"got n_good={n_good}, n_bad={n_bad}, columns={columns}"
        )
    caption_px, title_px = 16, 26
    width_px, height_px = tile_px + 4, tile_px + caption_px + 4
    rows = -(-(n_good + n_bad) // columns)
    sheet = Image.new("RGB", (columns * width_px, title_px + rows * height_px), "white")
    title = f"Synthetic chip images, drawn by a program: {n_good} good, {n_bad} bad, seed {seed}"
    ImageDraw.Draw(sheet).text((4, 4), title, "black", ImageFont.load_default(size=15))
    for i in range(n_good + n_bad):
        label = int(i >= n_good)
        image, _, info = render_part(seed, "train", i, label)
        x, y = i % columns * width_px + 2, title_px + i // columns * height_px
        sheet.paste(Image.fromarray(image).resize((tile_px, tile_px)), (x, y))
        caption = f"{info['defect']} {info['difficulty']:.2f}" if label else "good"
        strip = Image.new("RGB", (tile_px, caption_px), "white")  # cuts what is wider than a tile
        font, colour = ImageFont.load_default(size=11), "red" if label else "black"
        ImageDraw.Draw(strip).text((0, 0), caption, colour, font)
        sheet.paste(strip, (x, y + tile_px))
    if path is not None:
        sheet.save(path)
    return sheet


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
