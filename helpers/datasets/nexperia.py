"""The Nexperia contest's images, both stages' layouts, or anything written in the same layout.

    train/good_0, train/bad_1, test/all_tests                            (first stage)
    train/train_contest/{good_all,defect}, test/test_contest/test        (second stage)

Folders may be nested once more under the same name; images are bmp, png or jpg. A synthetic set
(`helpers.datasets.chips`) has the marker file `chips.json` beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from helpers.core import files, paths
from helpers.datasets import DataError, Source
from helpers.datasets.folder import image_files, left_out

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings

SLUGS = (
    "semi-conductor-image-classification-first",
    "semi-conductor-image-classification-second-stage",
)
GOOD_FOLDERS, BAD_FOLDERS = ("good_0", "good_all"), ("bad_1", "defect")
SAMPLE_NAMES = ("submission_sample.csv", "sample_submission.csv")
CONTEST_COUNTS = (30_000, 3_000)  # training and test images of the first stage
MARKER = "chips.json"
LOTS = "lots.csv"  # of a synthetic set: id, lot


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Load the contest's table; test labels are hidden.

    `place` is the unpacked folder; without it, `data/raw/<slug>` and Kaggle's input folders are
    searched, also for anybody's data set of the contest's name.

    Raises:
        DataError: nothing found, a folder without images, test images that the sample lacks.
    """
    root = (_with_train(place) or place) if place else paths.waited_for(_find_root)
    if root is None:
        raise DataError(f"the contest's images are not there; {_how_to_fetch()}")
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; {_how_to_fetch()}")
    good, bad = (_class_folders(root / "train", names) for names in (GOOD_FOLDERS, BAD_FOLDERS))
    test = image_files(root / "test")
    if not test:
        raise DataError(f"{root / 'test'} holds no image; {_how_to_fetch()}")
    rows = [
        *((file, 0, "train") for images in good.values() for file in images),
        *((file, 1, "train") for images in bad.values() for file in images),
        *((file, pd.NA, "test") for file in _order_by_sample(test, root)),
    ]
    table = pd.DataFrame(rows, columns=["file", "label", "official_split"])
    table["id"] = table.file.map(lambda file: file.stem)
    table["path"] = table.file.map(Path.as_posix)
    table["label"] = table.label.astype("Int64")
    columns = ["id", "path", "label", "official_split"]
    if (root / LOTS).is_file():
        lots = files.load_csv(root / LOTS, ("id", "lot")).set_index("id").lot
        table["group"] = table.id.map(lots)
        columns.append("group")
    counts = (len(rows) - len(test), len(test))
    caveats = "Training and test images: {:,} and {:,}".format(*counts)
    if counts != CONTEST_COUNTS:
        caveats += "; the contest's first stage has {:,} and {:,}".format(*CONTEST_COUNTS)
    name, attribution = "nexperia", "Images: Nexperia contest; not public, not to be passed on"
    if (root / MARKER).is_file():
        if not is_done(root):
            raise DataError(
                f"{root} is incomplete: run `python -m helpers.datasets.chips` with the same "
                "arguments to finish it"
            )
        name, caveats = "chips", f"{caveats}. Synthetic"
        attribution = "Images: synthetic, drawn by helpers.datasets.chips; not Nexperia's"
    return Source(
        name=name,
        table=table[columns],
        label_mapping="bad = the contest's class 1 (positive)",
        attribution=attribution,
        caveats=f"{caveats}.",
        left_out=tuple(left_out([*good, *bad, root / "test"], root / "train")),
    )


def _find_root() -> Path | None:
    """Return the contest's folder, None if it is neither downloaded nor mounted."""
    kaggle = paths.KAGGLE_INPUT
    for slug in SLUGS:
        mounts = [kaggle / "competitions" / slug, kaggle / slug]  # the new path and the old one
        mounts += sorted((kaggle / "datasets").glob(f"*/{slug}"))
        for folder in (paths.raw_root() / slug, *mounts):
            if found := _with_train(folder):
                return found
    return None


def is_done(root: Path | str) -> bool:
    """Return True if `root` holds a whole synthetic data set."""
    return read_marker(Path(root)).get("state") == "done"


def read_marker(root: Path) -> dict:
    """Read the marker file of a synthetic data set; empty if there is none.

    Raises:
        DataError: the file is damaged.
    """
    try:
        marker = json.loads((root / MARKER).read_text())
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError):
        marker = None
    if not isinstance(marker, dict) or not isinstance(marker.get("settings", {}), dict):
        raise DataError(f"{root / MARKER} is damaged: delete {root}, or choose another folder")
    return marker


def _with_train(folder: Path) -> Path | None:
    """Return the folder, or the one inside it, that holds `train`; zip files wrap one around."""
    places = [folder / "train", *sorted(folder.glob("*/train"))]
    return next((train.parent for train in places if train.is_dir()), None)


def _how_to_fetch() -> str:
    return (
        f"`python -m helpers.kaggle download -c {SLUGS[0]}` fetches them into {paths.raw_root()}, "
        "or name the unpacked folder: --dataset nexperia:PATH"
    )


def _class_folders(train: Path, names: tuple[str, ...]) -> dict[Path, list[Path]]:
    """Return the images of each folder that has one of the names."""
    folders = sorted(
        folder
        for name in names
        for folder in train.glob(f"**/{name}")
        if folder.parent.name not in names
        and not any(part.startswith(".") for part in folder.relative_to(train).parts)
    )
    images = {folder: image_files(folder) for folder in folders}
    if not any(images.values()):
        raise DataError(
            f"{train} has no images in a folder {' or '.join(names)}; {_how_to_fetch()}"
        )
    return images


def _order_by_sample(test: list[Path], root: Path) -> list[Path]:
    """Put the test images in the order of the sample submission, if there is one."""
    samples = [file for name in SAMPLE_NAMES for file in sorted(root.rglob(name))]
    if not samples:
        return test
    sample = samples[0]
    try:
        ids = files.load_csv(sample, ("id",)).id.fillna("")
    except files.ArtifactError as error:
        raise DataError(f"{error}; download again") from None
    if missing := sorted(set(ids) ^ {file.stem for file in test}):
        raise DataError(
            f"{sample} and the test folder differ in {len(missing)} id(s), e.g. {missing[0]!r}; "
            "download again"
        )
    position = {name: i for i, name in enumerate(ids)}
    return sorted(test, key=lambda file: position[file.stem])
