"""The Nexperia contest's images, both stages' layouts, or anything written in the same layout.

    train/good_0, train/bad_1, test/all_tests                            (first stage)
    train/train_contest/{good_all,defect}, test/test_contest/test        (second stage)

Folders may be nested once more under the same name; images are bmp, png or jpg.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from helpers.core import files as artifacts
from helpers.core import paths
from helpers.datasets import DataError, Source, marker
from helpers.datasets.folder import image_files

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings


SLUGS = (
    "semi-conductor-image-classification-first",
    "semi-conductor-image-classification-second-stage",
)
GOOD_FOLDERS, BAD_FOLDERS = ("good_0", "good_all"), ("bad_1", "defect")
SAMPLE_NAMES = ("submission_sample.csv", "sample_submission.csv")
CONTEST_COUNTS = {"train": 30_000, "test": 3_000}  # of the first stage


def load(place: Path | None, settings: SplitSettings) -> Source:
    """The contest's table; test labels are hidden.

    `place` is the unpacked folder; without one it is looked for in `data/raw/<slug>` and in
    Kaggle's input folders: the contest's at its old and its new mount path, and anybody's data
    set of the contest's name.

    Raises:
        DataError: nothing found, a folder without images, test images that the sample lacks.
    """
    root = (_with_train(place) or place) if place else find_root()
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; {_how_to_fetch()}")
    good = _files(root / "train", GOOD_FOLDERS)
    bad = _files(root / "train", BAD_FOLDERS)
    test = image_files(root / "test")
    if not test:
        raise DataError(f"{root / 'test'} holds no image; {_how_to_fetch()}")
    rows = [(p, 0, "train") for p in good] + [(p, 1, "train") for p in bad]
    rows += [(p, pd.NA, "test") for p in test]
    table = pd.DataFrame(rows, columns=["file", "label", "official_split"])
    table["id"] = table.file.map(lambda file: file.stem)
    table["path"] = table.file.map(Path.as_posix)
    table["label"] = table.label.astype("Int64")
    table = _order_by_sample(table, root)
    synthetic = (root / marker.MARKER).is_file()
    if synthetic and not marker.is_done(root):
        raise DataError(f"{root} was not written to its end; run helpers.datasets.chips again")
    return Source(
        name="chips" if synthetic else "nexperia",
        table=table[["id", "path", "label", "official_split"]],
        label_mapping="bad = the contest's class 1 (positive)",
        attribution=(
            "Images: synthetic, drawn by helpers.datasets.chips; not Nexperia's"
            if synthetic
            else "Images: Nexperia contest; not public, not to be passed on"
        ),
        caveats=_counts(len(good) + len(bad), len(test)) + (" Synthetic." if synthetic else ""),
    )


def find_root() -> Path:
    """The unpacked contest, at any of the places where it may lie; DataError at none."""
    for slug in SLUGS:
        candidates = [
            paths.raw_root() / slug,
            paths.KAGGLE_INPUT / "competitions" / slug,
            paths.KAGGLE_INPUT / slug,
            *sorted((paths.KAGGLE_INPUT / "datasets").glob(f"*/{slug}")),
        ]
        for folder in candidates:
            if found := _with_train(folder):
                return found
    raise DataError(f"the contest's images are not there; {_how_to_fetch()}")


def _with_train(folder: Path) -> Path | None:
    """The folder, or the one in it (zipped with the folder around it), that holds `train`."""
    places = [folder / "train", *sorted(folder.glob("*/train"))]
    return next((train.parent for train in places if train.is_dir()), None)


def _how_to_fetch() -> str:
    return (
        f"`python -m helpers.kaggle download -c {SLUGS[0]}` fetches them into {paths.raw_root()}, "
        "or name the unpacked folder: --dataset nexperia:PATH"
    )


def _files(train: Path, names: tuple[str, ...]) -> list[Path]:
    folders = [p for p in sorted(train.rglob("*")) if p.is_dir() and p.name in names]
    top = [p for p in folders if not any(parent in folders for parent in p.parents)]
    files = [file for folder in top for file in image_files(folder)]
    if not files:
        there = ", ".join(sorted(p.name for p in train.glob("*"))[:5]) or "nothing"
        raise DataError(
            f"{train} has no images in a folder {' or '.join(names)}; it holds {there}; "
            f"{_how_to_fetch()}"
        )
    return files


def _order_by_sample(table: pd.DataFrame, root: Path) -> pd.DataFrame:
    """Put the test images in the order of the sample submission, where there is one."""
    found = [file for name in SAMPLE_NAMES for file in sorted(root.rglob(name))]
    if not found:
        return table
    sample = found[0]
    try:
        ids = artifacts.load_csv(sample, ("id",)).id.fillna("")
    except artifacts.ArtifactError as error:
        raise DataError(f"{error}; download again") from None
    if ids.duplicated().any():
        row = int(np.flatnonzero(ids.duplicated())[0])
        line = artifacts.line_of(sample, row)
        raise DataError(f"{sample}, line {line}, names the id {ids[row]!r} twice; download again")
    test = table[table.official_split == "test"].set_index("id", drop=False)
    missing = sorted(set(ids) ^ set(test.id))
    if missing:
        raise DataError(
            f"{sample} and the test folder differ in {len(missing)} id(s), e.g. {missing[0]!r}; "
            "download again"
        )
    train = table[table.official_split == "train"]
    return pd.concat([train, test.loc[ids]], ignore_index=True)


def _counts(train: int, test: int) -> str:
    """The counts found, beside the contest's own where they differ."""
    found = f"{train:,} training and {test:,} test images"
    if (train, test) == (CONTEST_COUNTS["train"], CONTEST_COUNTS["test"]):
        return f"{found}, as in the contest's first stage."
    expected = f"{CONTEST_COUNTS['train']:,} and {CONTEST_COUNTS['test']:,}"
    return f"{found}; the contest's first stage has {expected}."
