"""Load a contest's images by a description of its layout, and read its sample submission.

    Contest("casting-products", {"good": "train/ok", "bad": "train/def", "test": "unlabelled"})

The folders are relative to the one that holds them all. Each may be nested once more under the same
name, as some zip files are. The submission has the columns of the sample submission.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files, paths
from helpers.datasets import DataError, Source
from helpers.datasets.folder import TABLE, left_out, table_of
from helpers.datasets.settings import SplitSettings

CLASSES = {"good": (0, "train"), "bad": (1, "train"), "test": (pd.NA, "test")}
SAMPLE = "*sample*.csv"


@dataclass(frozen=True)
class Contest:
    """A source of images: where a contest keeps the images of each class, and its test images."""

    slug: str  # the contest's name in its address
    layout: Mapping[str, str | tuple[str, ...]]  # "good", "bad", "test": a folder, or several
    sample: str = SAMPLE  # the name of the sample submission
    other_slugs: tuple[str, ...] = ()  # of further stages of the contest
    attribution: str = ""
    caveats: str = ""

    def __post_init__(self) -> None:
        if {*self.layout} != {*CLASSES}:
            raise DataError(f"a layout has {', '.join(CLASSES)}; it has {', '.join(self.layout)}")

    def __call__(self, place: Path | None, settings: SplitSettings) -> Source:
        """Load the contest's table; test labels are hidden.

        `place` is the unpacked folder. Without it, search `data/raw/<slug>` and Kaggle's input
        folders, also for a user's data set with the contest's name.
        """
        tops = [place] if place else self._downloads()
        roots = [(top, root) for top in tops for root in (top, *_subfolders(top))]
        found = [both for both in roots if all(self._folders(both[1], key) for key in CLASSES)]
        if not found:
            folder = paths.raw_root() / self.slug
            names = ", ".join(name for key in CLASSES for name in self._names(key))
            raise DataError(
                f"{place or self.slug}: no folders of good, bad and test images ({names}); "
                f"`kaggle competitions download -p {folder} --unzip {self.slug}` fetches them, or "
                "name the unpacked folder: --dataset NAME:PATH"
            )
        top, root = found[0]
        places = [(f, *about) for key, about in CLASSES.items() for f in self._folders(root, key)]
        table = table_of(root, places)
        tests = table[table.official_split == "test"]
        sides = {root / name.partition("/")[0] for key in CLASSES for name in self._names(key)}
        return Source(
            name=self.slug,
            table=table[TABLE],
            label_mapping=f"bad = {' or '.join(self._names('bad'))}",
            attribution=self.attribution,
            caveats=self.caveats,
            left_out=left_out([f for f, *_ in places], sorted(sides)),
            submission=_submission([top, root, *_subfolders(root)], self.sample, tests),
        )

    def _names(self, key: str) -> tuple[str, ...]:
        names = self.layout[key]
        return (names,) if isinstance(names, str) else names

    def _folders(self, root: Path, key: str) -> list[Path]:
        """Return the folders of a class that are there."""
        return [f for name in self._names(key) if (f := _nested(root, name)).is_dir()]

    def _downloads(self) -> list[Path]:
        """Return the folders where the contest may be, downloaded or mounted."""
        kaggle, folders = paths.KAGGLE_INPUT, []
        for slug in (self.slug, *self.other_slugs):  # Kaggle has a new path and an old one
            folders += [paths.raw_root() / slug, kaggle / "competitions" / slug, kaggle / slug]
            folders += sorted((kaggle / "datasets").glob(f"*/{slug}"))
        return folders


NEXPERIA = Contest(
    "semi-conductor-image-classification-first",
    {
        "good": ("train/good_0", "train/train_contest/good_all"),
        "bad": ("train/bad_1", "train/train_contest/defect"),
        "test": "test",
    },
    other_slugs=("semi-conductor-image-classification-second-stage",),
    attribution="Images: Nexperia contest; not public, not to be passed on",
    caveats="The contest's first stage has 30,000 training and 3,000 test images.",
)


def _subfolders(folder: Path) -> list[Path]:
    """Return the subfolders of a folder: a zip file may add a level."""
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _nested(root: Path, name: str) -> Path:
    """Return `root / name`, where each folder may be nested once more under its own name."""
    for part in name.split("/"):
        root /= part
        root = root / part if (root / part).is_dir() else root
    return root


def read_sample(path: Path) -> tuple[list[str], str, str]:
    """Return the ids of a sample submission, and the names of its columns of ids and scores."""
    header = header_of(path)
    if len(header) != 2:
        raise DataError(f"{path} must have two columns, the id and the score; it has {header}")
    ids = files.load_csv(path, header, text=header)[header[0]]
    return ids.tolist(), header[0], header[1]


def header_of(path: Path) -> list[str]:
    """Return the names in the first line of a CSV."""
    with files.reading(path), path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _submission(folders: Sequence[Path], sample: str, tests: pd.DataFrame) -> dict[str, Any]:
    """Return what a submission needs: its columns `id` and `score`, and `names` by the image's id.

    The ids of a sample submission may be those of the images, or unique names or paths of their
    files. The `names` are those of all images that the sample names.
    """
    found = next((file for folder in folders for file in sorted(folder.glob(sample))), None)
    if found is None:
        return {}
    wanted, id_name, score_name = read_sample(found)
    stems = tests.file.map(lambda file: file.stem)
    images = {**tests.id.groupby(stems).agg(list), **{name: [name] for name in tests.id}}
    names: dict[str, str] = {}
    for name in wanted:
        image = images.get(name) or images.get(Path(name).stem, [])
        if len(image) != 1:
            raise DataError(f"{found}: {name!r} is not the name of a test image")
        names[image[0]] = name
    return {"id": id_name, "score": score_name, "names": names}
