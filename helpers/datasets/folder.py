"""`folder:PATH`: any directory with one subfolder per class; perhaps an unlabelled test folder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from helpers.datasets import DataError, Source

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
GOOD_WORDS = ("good", "ok", "functional", "0")
BAD_WORDS = ("bad", "defect", "defective", "ng", "1")
NEGATIONS = ("not", "no", "non")  # "not_ok" says neither word alone
TEST_WORDS = ("test", "unlabelled", "unlabeled")
OF_SYSTEMS = ("thumbs.db", "desktop.ini")  # files that a file manager leaves; others are hidden


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Read the class folders of `place`; images may lie deeper inside them.

    A folder belongs to a class if one of the words of its name (split at anything that is not a
    letter) is one of the class's words, or it is 0, class 0, label 0 (or 1), or if
    `settings.good_folders` or `settings.bad_folders` names it.

    Raises:
        DataError: no such folder, no class folder, an ambiguous one, a class without images.
    """
    if place is None:
        raise DataError("DATASET='folder' needs a path: folder:PATH")
    if not place.is_dir():
        raise DataError(f"{place} is not a folder")
    root = place.resolve()
    classes = _class_folders(root, settings)
    test = next((p for p in _subfolders(root) if p.name.lower() in TEST_WORDS), None)
    if settings.test_folder:
        test = root / Path(settings.test_folder).expanduser()
        if not test.is_dir():
            raise DataError(f"TEST_FOLDER={settings.test_folder!r}: {test} is not a folder")
    side = "" if test is None else "train"
    sources = [(folder, label, side) for folder, label in classes.items()]
    sources += [(test, pd.NA, "test")] if test else []
    rows = []
    for folder, label, side in sources:
        if not (images := image_files(folder)):
            raise DataError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
        rows += [(file, label, side) for file in images]
    table = pd.DataFrame(rows, columns=["file", "label", "official_split"])
    # an id is the file name without extension; where these repeat, the path below the root
    stems = table.file.map(lambda file: file.stem)
    below = table.file.map(lambda f: f.relative_to(root) if f.is_relative_to(root) else f)
    longer = below.map(lambda file: file.with_suffix("").as_posix())
    table["id"] = longer.where(stems.duplicated(keep=False), stems)
    table["path"] = table.file.map(Path.as_posix)
    table["label"] = table.label.astype("Int64")
    names = {label: [f.name for f, side in classes.items() if side == label] for label in (0, 1)}
    remarks = _left_out([folder for folder, _, _ in sources], test, settings)
    return Source(
        name=f"folder:{place.name}",
        table=table[["id", "path", "label", "official_split"]],
        label_mapping=f"bad = {', '.join(names[1])}; good = {', '.join(names[0])}",
        caveats=" ".join(remarks),
    )


def image_files(folder: Path) -> list[Path]:
    """List all images under a folder, in a fixed order; hidden files are left out.

    Broken links are listed, so that they are reported as missing; links to folders are not
    followed.

    Raises:
        DataError: a folder that may not be read.
    """
    found = (path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file() or path.is_symlink())


def _files(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}")

    for top, _, names in os.walk(folder, onerror=refuse):  # rglob would skip it in silence
        yield from (Path(top) / name for name in names if not name.startswith("."))


def _left_out(folders: list[Path], test: Path | None, settings: SplitSettings) -> Iterator[str]:
    """Yield sentences about labels and files that are not used."""
    subfolders = _subfolders(test) if test else []
    if named := [f"{f.parent.name}/{f.name}" for f in subfolders if any(_says(f.name, settings))]:
        yield (
            f"The labels of {', '.join(named)} are not read: a test folder's images are "
            "unlabelled. To test on them, move them into the class folders and say in a SPLIT_CSV "
            "which are test."
        )
    others = [
        path.suffix.lower() or "none"
        for folder in folders
        for path in _files(folder)
        if path.suffix.lower() not in SUFFIXES and path.name.lower() not in OF_SYSTEMS
    ]
    if others:
        suffixes = sorted(set(others))
        listed = ", ".join(suffixes[:5]) + (", ..." if len(suffixes) > 5 else "")
        yield f"{len(others):,} file(s) with other suffixes left out ({listed})."


def _subfolders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))


def _says(name: str, settings: SplitSettings) -> tuple[bool, bool]:
    """Return if a folder's name says good, and if it says bad; both if it negates a word."""
    good = {word.lower() for word in settings.good_folders}
    bad = {word.lower() for word in settings.bad_folders}
    name = name.lower()
    if name in good | bad:
        return name in good, name in bad
    words = set(re.findall(r"[a-z]+", name))
    if words <= {"class", "label"}:  # "0", "class1", but not "camera_1"
        words |= set(re.findall(r"\d+", name))
    says_good, says_bad = bool(words & set(GOOD_WORDS)), bool(words & set(BAD_WORDS))
    if words & set(NEGATIONS) and (says_good or says_bad):
        return True, True
    return says_good, says_bad


def _class_folders(root: Path, settings: SplitSettings) -> dict[Path, int]:
    """Return the label, 0 good or 1 bad, of each subfolder whose name says one."""
    subfolders = _subfolders(root)
    classes: dict[Path, int] = {}
    for folder in subfolders:
        says_good, says_bad = _says(folder.name, settings)
        if says_good and says_bad:
            raise DataError(
                f"{folder} could be good or bad by its name; "
                f"name it with -p GOOD_FOLDERS={folder.name} or -p BAD_FOLDERS={folder.name}"
            )
        if says_good or says_bad:
            classes[folder] = int(says_bad)
    if set(classes.values()) != {0, 1}:
        listed = ", ".join(folder.name for folder in subfolders) or "no subfolder"
        raise DataError(
            f"{root} needs one subfolder of good and one of bad parts; it has {listed}. Name them "
            f"{'/'.join(GOOD_WORDS)} and {'/'.join(BAD_WORDS)}, or pass -p GOOD_FOLDERS=NAME "
            f"-p BAD_FOLDERS=NAME"
        )
    return classes
