"""Load the Nexperia contest's images (both stages), or a data set in the same layout.

    train/good_0, train/bad_1, test/all_tests                            (first stage)
    train/train_contest/{good_all,defect}, test/test_contest/test        (second stage)

Folders may be nested once more under the same name; images are bmp, png or jpg. A synthetic set
(`helpers.datasets.chips`) has the marker file `chips.json` beside them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from helpers.core import files, paths
from helpers.datasets import DataError, Source
from helpers.datasets.folder import NO_CLASS, image_files, left_out

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings

SLUGS = (
    "semi-conductor-image-classification-first",
    "semi-conductor-image-classification-second-stage",
)
LABELS = {"good_0": 0, "good_all": 0, "bad_1": 1, "defect": 1}  # of folders below train
SAMPLE_NAMES = ("submission_sample.csv", "sample_submission.csv")
MARKER = "chips.json"
LOTS = "lots.csv"  # of a synthetic set: id, lot


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the contest's table; test labels are hidden.

    `place` is the unpacked folder; without it, `data/raw/<slug>` and Kaggle's input folders are
    searched, also for anybody's data set of the contest's name.

    Raises:
        DataError: nothing found, or a folder without images.
    """
    root = (_with_train(place) or place) if place else _find_root()
    if root is None or not all((root / side).is_dir() for side in ("train", "test")):
        raise DataError(f"{root or 'nexperia'}: no folders train and test; {_how_to_fetch()}")
    train, test = root / "train", image_files(root / "test")
    labels = {}  # of the nearest folder with a known name; None: there is none
    for file in image_files(train):
        names = reversed(file.relative_to(train).parts)
        labels[file] = next((LABELS[name] for name in names if name in LABELS), None)
    for images, name in ((labels, "train"), (test, "test")):
        if not images:
            raise DataError(f"{root / name} holds no image; {_how_to_fetch()}")
    rows = [(file, label, "train") for label in (0, 1) for file in labels if labels[file] == label]
    rows += [(file, pd.NA, "test") for file in test]
    count = len(labels) + len(test) - len(rows)
    no_class = (f"{NO_CLASS}: {count:,}",) if count else ()
    table = pd.DataFrame(
        [(file.stem, file.as_posix(), label, side) for file, label, side in rows],
        columns=["id", "path", "label", "official_split"],
    ).astype({"label": "Int64"})
    if (root / LOTS).is_file():
        lots = files.load_csv(root / LOTS, ("id", "lot")).set_index("id").lot
        table["group"] = table.id.map(lots)
    caveats = f"Training and test images: {len(rows) - len(test):,} and {len(test):,}"
    caveats += " (the contest's first stage: 30,000 and 3,000)"
    name, attribution = "nexperia", "Images: Nexperia contest; not public, not to be passed on"
    if (root / MARKER).is_file():
        name, caveats = "chips", f"{caveats}. Synthetic"
        attribution = "Images: synthetic, drawn by helpers.datasets.chips; not Nexperia's"
    return Source(
        name=name,
        table=table,
        label_mapping="bad = the contest's class 1 (positive)",
        attribution=attribution,
        caveats=f"{caveats}.",
        left_out=tuple(left_out([train, root / "test"])) + no_class,
    )


def _find_root() -> Path | None:
    """Return the contest's folder, None if it is neither downloaded nor mounted."""
    kaggle = paths.KAGGLE_INPUT
    for slug in SLUGS:
        mounts = [kaggle / "competitions" / slug, kaggle / slug]  # the new path and the old one
        mounts += sorted((kaggle / "datasets").glob(f"*/{slug}"))
        for folder in (paths.raw_root() / slug, *mounts):
            if place := _with_train(folder):
                return place
    return None


def _with_train(folder: Path) -> Path | None:
    """Return the folder, or its subfolder, that holds `train`: a zip file may add a level."""
    places = [folder / "train", *sorted(folder.glob("*/train"))]
    return next((train.parent for train in places if train.is_dir()), None)


def _how_to_fetch() -> str:
    folder = paths.raw_root() / SLUGS[0]
    return (
        f"`kaggle competitions download -p {folder} --unzip {SLUGS[0]}` fetches them, or name the "
        "unpacked folder: --dataset nexperia:PATH"
    )
