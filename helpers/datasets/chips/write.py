"""Write synthetic chip images in the look and the folder layout of the Nexperia contest.

    python -m helpers.datasets.chips --train 30000 --test 3000 --out DIR

The images are drawn by a program; none is a photograph. They stand in for the contest's files
(30,000 and 3,000 images, about nine good parts to one bad) if these are not available.
`DIR/chips.json` holds the settings and says whether the set is whole.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont
from tqdm.auto import tqdm

from helpers.core.errors import UserError
from helpers.core.files import write_bytes, writing
from helpers.datasets import DataError
from helpers.datasets.chips.render import IMAGE_SIZE_PX, SPLITS, render_part, stream
from helpers.datasets.nexperia import LOTS, MARKER, is_done, read_marker

BAD_FRACTION = 0.1  # the contest's: about nine good parts to one bad
RENDERER_VERSION = 1  # raise it when a change of the drawing changes any pixel
CHUNK_SIZE = 100  # images per task: long enough to hide the hand-over, short enough for the bar
HIDDEN_LABELS = "hidden_test_labels.csv"
README = """SYNTHETIC IMAGES. Every picture in this folder was drawn by a program
(python -m helpers.datasets.chips); none is a photograph of a real part, and none comes from
Nexperia. Scores reached here say nothing about scores on the contest's images.

train/good_0, train/bad_1, test/all_tests   the images, laid out as in the contest
sample_submission.csv                       id, defect_score: one row per test image
masks/train, masks/test                     PNG per bad part: white where the defect changed a pixel
lots.csv                                    id, lot: parts with one package and marking
hidden_test_labels.csv                      id, label (1 bad): for scoring only, never for fitting
hidden_part_info.csv                        defect, difficulty (0 easy ... 1 hard), package; ditto
chips.json                                  settings; "state": "done" when the set is whole
"""


@dataclass(frozen=True)
class Settings:
    """All that the images of a data set depend on."""

    train: int
    test: int
    seed: int = 0
    bad_fraction: float = BAD_FRACTION
    size_px: int = IMAGE_SIZE_PX
    renderer_version: int = RENDERER_VERSION

    def __post_init__(self) -> None:
        for name, least in (("train", 1), ("test", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise DataError(f"{name} must be {least} or more, got {getattr(self, name)}")
        if not 64 <= self.size_px <= 480:  # the noise fields are 1,024 pixels wide
            raise DataError(f"size_px must be in 64...480, got {self.size_px}")
        if not 0 <= self.bad_fraction <= 1:
            raise DataError(f"bad_fraction must be in 0...1, got {self.bad_fraction}")


@dataclass(frozen=True)
class Item:
    """One image of a data set, and its place below the data set's folder."""

    split: str
    index: int
    label: int
    id: str

    @property
    def image_path(self) -> str:
        folder = ("good_0", "bad_1")[self.label] if self.split == "train" else "all_tests"
        return f"{self.split}/{folder}/{self.id}.bmp"

    @property
    def mask_path(self) -> str:
        return f"masks/{self.split}/{self.id}.png"


def list_items(settings: Settings) -> list[Item]:
    """List all images; labels and names are shuffled apart, so that no name tells a label."""
    total = settings.train + settings.test
    numbers = iter(stream(settings.seed, "names", "train").permutation(total))
    items = []
    for split, count in zip(SPLITS, (settings.train, settings.test), strict=True):
        labels = np.arange(count) < round(settings.bad_fraction * count)
        labels = stream(settings.seed, "labels", split).permutation(labels.astype(int))
        items += [
            Item(split, i, int(label), f"chip_{next(numbers):06d}")
            for i, label in enumerate(labels)
        ]
    return items


def write_dataset(
    out: Path | str,
    train: int,
    test: int,
    seed: int = 0,
    *,
    bad_fraction: float = BAD_FRACTION,
    size_px: int = IMAGE_SIZE_PX,
    workers: int | None = None,
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

    Returns:
        The folder, whole.

    Raises:
        DataError: a setting out of range, or a folder with other settings or other files.
        ArtifactError: the disk is full, or the folder cannot be written.
    """
    settings, out = Settings(train, test, seed, bad_fraction, size_px), Path(out)
    workers = (os.cpu_count() or 1) if workers is None else workers
    if workers < 1:
        raise DataError(f"workers must be 1 or more, got {workers}")
    _check_folder(out, settings)
    if is_done(out):
        return out
    items = list_items(settings)

    def mark(state: str) -> None:
        content = {"synthetic": True, "state": state, "settings": asdict(settings)}
        write_bytes(out / MARKER, json.dumps(content, indent=2).encode())

    mark("writing")
    with writing(out):
        for folder in {(out / p).parent for i in items for p in (i.image_path, i.mask_path)}:
            folder.mkdir(parents=True, exist_ok=True)
        chunks = [items[i : i + CHUNK_SIZE] for i in range(0, len(items), CHUNK_SIZE)]
        rows: list[dict] = []
        with tqdm(total=len(items), unit="image", desc=str(out)) as bar:
            for done in _write_chunks(out, settings, chunks, min(workers, len(chunks))):
                rows += done
                bar.update(len(done))
    table = pd.DataFrame(rows).sort_values("id").assign(defect_score=0.5)
    tests = table[table.split == "test"]
    part_info = ["id", "split", "label", "defect", "difficulty", "package"]
    for name, columns in (
        ("sample_submission.csv", tests[["id", "defect_score"]]),
        (LOTS, table[["id", "lot"]]),
        (HIDDEN_LABELS, tests[["id", "label"]]),
        ("hidden_part_info.csv", table[part_info]),
    ):
        write_bytes(out / name, columns.to_csv(index=False, lineterminator="\n").encode())
    write_bytes(out / "README.txt", README.encode())
    mark("done")
    return out


def _check_folder(out: Path, settings: Settings) -> None:
    """Raise DataError unless `out` is new, empty or has a set with the same settings."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"{out} is a file; choose another folder")
    there, wanted = read_marker(out).get("settings"), asdict(settings)
    if there is None:
        if any(not path.match(f".{MARKER}.*.tmp") for path in out.iterdir()):
            raise DataError(f"{out} holds other files and no {MARKER}; choose an empty folder")
    elif there != wanted:
        names = [n for n in wanted | there if there.get(n) != wanted.get(n)]
        differences = ", ".join(f"{n} {there.get(n)} (asked: {wanted.get(n)})" for n in names)
        raise DataError(
            f"{out} has other settings: {differences}; delete it, or choose another folder"
        )


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
    if parent := parent_process():

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


def contact_sheet(n_good: int, n_bad: int, seed: int, columns: int = 10) -> Image.Image:
    """Draw good and bad training parts on one labelled sheet; the good ones come first.

    The bad ones have a red caption with the defect and its difficulty.
    """
    tile_px, caption_px, title_px = 150, 16, 26
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
            contact_sheet(50, 50, values["seed"]).save(sheet)
    except (UserError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{values['train']} + {values['test']} synthetic images in {out}")
    return 0
