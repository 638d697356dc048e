"""Write synthetic chip images in the look and the folder layout of the Nexperia contest.

The images are drawn by a program; none is a photograph. They stand in for the contest's files
(30,000 and 3,000 images, about nine good parts to one bad) if these are not available. Beside them:

    masks/train, masks/test     PNG per bad part: white where the defect changed a pixel
    lots.csv                    id, lot: parts with one package and marking
    hidden_test_labels.csv      id, label (1 bad): for scoring only, never for fitting
    hidden_part_info.csv        defect, difficulty (0 easy ... 1 hard), package; ditto
    chips.json                  the settings
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
from PIL import Image
from tqdm.auto import tqdm

from helpers.core import files
from helpers.datasets import DataError
from helpers.datasets.chips.draw import IMAGE_SIZE_PX, SPLITS, render_part, stream
from helpers.datasets.nexperia import LOTS, MARKER

BAD_FRACTION = 0.1  # the contest's: about nine good parts to one bad
RENDERER_VERSION = 3  # raise it when a change of the drawing changes any pixel
FOLDERS = {"train": ("train/good_0", "train/bad_1"), "test": ("test/all_tests",) * 2}
RANGES = {"train": (1, np.inf), "test": (1, np.inf), "seed": (0, np.inf)}
RANGES |= {"bad_fraction": (0, 1), "size_px": (64, np.inf)}
HIDDEN_LABELS = "hidden_test_labels.csv"
README = """SYNTHETIC IMAGES. Every picture in this folder was drawn by a program
(python -m helpers.datasets.chips); none is a photograph of a real part, and none comes from
Nexperia. Scores reached here say nothing about scores on the contest's images. The hidden_*.csv
files are for scoring only, never for fitting.
"""


def list_parts(settings: dict[str, Any]) -> pd.DataFrame:
    """List `split, index, label, id` of all images; ids are shuffled, so none tells a label."""
    seed, total = settings["seed"], sum(settings[split] for split in SPLITS)
    numbers = stream(seed, "names", "train").permutation(total)
    tables = []
    for split in SPLITS:
        count = settings[split]
        labels = np.arange(count) < round(settings["bad_fraction"] * count)
        labels = stream(seed, "labels", split).permutation(labels.astype(int))
        tables.append(pd.DataFrame({"split": split, "index": np.arange(count), "label": labels}))
    return pd.concat(tables, ignore_index=True).assign(id=[f"chip_{n:06d}" for n in numbers])


def write_dataset(
    out: Path | str,
    train: int,
    test: int,
    seed: int = 0,
    bad_fraction: float = BAD_FRACTION,
    size_px: int = IMAGE_SIZE_PX,
) -> Path:
    """Write a data set in the contest's layout, unless it is there, and return the folder `out`.

    `out` is new, empty, or has a set of the same settings, which stays as it is. The images depend
    on the settings alone.

    Raises:
        DataError: a setting out of range, or a folder with other settings or other files.
        ArtifactError: the disk is full, or the folder cannot be written.
    """
    settings = {"train": train, "test": test, "seed": seed, "bad_fraction": bad_fraction}
    settings |= {"size_px": size_px, "renderer_version": RENDERER_VERSION}
    for name, (low, high) in RANGES.items():
        if not low <= settings[name] <= high:
            raise DataError(f"{name} must be from {low} to {high}, got {settings[name]}")
    out, marker = Path(out), {"synthetic": True, "state": "done", "settings": settings}
    if (out / MARKER).is_file():
        if (there := files.load_json(out / MARKER)) != marker:
            raise DataError(f"{out} has other settings, {there}: delete it, or choose another one")
        return out
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise DataError(f"{out} holds other files and no {MARKER}; choose an empty folder")
    with files.atomic_folder(out) as folder:
        table = _draw_images(folder, settings)
        tests = table[table.split == "test"]
        for name, columns in {
            "sample_submission.csv": tests[["id", "defect_score"]],
            LOTS: table[["id", "lot"]],
            HIDDEN_LABELS: tests[["id", "label"]],
            "hidden_part_info.csv": table.drop(columns=["lot", "defect_score"]),
        }.items():
            columns.to_csv(folder / name, index=False, lineterminator="\n")
        (folder / "README.txt").write_text(README)
        files.save_json(folder / MARKER, marker)
    return out


def _draw_images(folder: Path, settings: dict[str, Any]) -> pd.DataFrame:
    """Write all images and masks; return `id, split, label` and what is known of each part."""

    def draw(part: tuple) -> dict[str, Any]:
        split, index, label, name = part
        image, mask, info = render_part(settings["seed"], split, index, label, settings["size_px"])
        Image.fromarray(image).save(folder / FOLDERS[split][label] / f"{name}.bmp")
        if label == 1:
            Image.fromarray(mask).save(folder / "masks" / split / f"{name}.png")
        return {"id": name, "split": split, "label": label, **info}

    for split in SPLITS:
        for name in (*FOLDERS[split], f"masks/{split}"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    parts = list(list_parts(settings).itertuples(index=False, name=None))
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        try:
            rows = list(tqdm(pool.map(draw, parts), total=len(parts), unit="image", desc="chips"))
        finally:
            pool.shutdown(cancel_futures=True)
    return pd.DataFrame(rows).sort_values("id").assign(defect_score=0.5)
