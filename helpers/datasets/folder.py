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
    test = _test_folder(root, settings)
    side = "" if test is None else "train"
    rows = [(f, label, side) for folder, label in classes.items() for f in _filled(folder)]
    if test is not None:
        rows += [(file, pd.NA, "test") for file in _filled(test)]
    table = pd.DataFrame(rows, columns=["file", "label", "official_split"])
    table["id"] = _ids(table.file, root)
    table["path"] = table.file.map(Path.as_posix)
    table["label"] = table.label.astype("Int64")
    names = {label: [f.name for f, side in classes.items() if side == label] for label in (0, 1)}
    remarks = [_labels_left_out(test, settings), _files_left_out([*classes, *filter(None, [test])])]
    return Source(
        name=f"folder:{place.name}",
        table=table[["id", "path", "label", "official_split"]],
        label_mapping=f"bad = {', '.join(names[1])}; good = {', '.join(names[0])}",
        caveats=" ".join(filter(None, remarks)),
    )


def image_files(folder: Path) -> list[Path]:
    """List all images under a folder, in a fixed order; hidden files are left out.

    Links to files are followed, also broken ones, which are then reported as missing; links to
    folders are not.

    Raises:
        DataError: a folder that may not be read.
    """
    found = (path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    return sorted(path for path in found if path.is_file() or path.is_symlink())


def _filled(folder: Path) -> list[Path]:
    """List the images under a folder that must not be without any."""
    if found := image_files(folder):
        return found
    raise DataError(f"{folder} holds no image ({', '.join(SUFFIXES)})")


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files under a folder except hidden ones."""

    def refuse(error: OSError) -> None:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}")

    for top, _, names in os.walk(folder, onerror=refuse):  # rglob would skip it in silence
        yield from (Path(top) / name for name in names if not name.startswith("."))


def _files_left_out(folders: list[Path]) -> str:
    """Return a sentence about files that may be images of another format; "" without any."""
    others = [
        path
        for folder in folders
        for path in _files(folder)
        if path.suffix.lower() not in SUFFIXES and path.name.lower() not in OF_SYSTEMS
    ]
    suffixes = sorted({path.suffix.lower() or "none" for path in others})
    listed = ", ".join(suffixes[:5]) + (", ..." if len(suffixes) > 5 else "")
    return f"{len(others):,} file(s) with other suffixes left out ({listed})." if others else ""


def _labels_left_out(test: Path | None, settings: SplitSettings) -> str:
    """Return a sentence about class folders in the test folder; "" without any."""
    subfolders = _subfolders(test) if test else []
    named = [f"{f.parent.name}/{f.name}" for f in subfolders if any(_says(f.name, settings))]
    if not named:
        return ""
    return (
        f"The labels of {', '.join(named)} are not read: a test folder's images are unlabelled. To "
        "test on them, move them into the class folders and say in a SPLIT_CSV which are test."
    )


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


def _test_folder(root: Path, settings: SplitSettings) -> Path | None:
    """Return the folder of unlabelled test images, if there is one."""
    if settings.test_folder:
        folder = root / Path(settings.test_folder).expanduser()
        if not folder.is_dir():
            raise DataError(f"TEST_FOLDER={settings.test_folder!r}: {folder} is not a folder")
        return folder
    candidates = (p for p in root.iterdir() if p.is_dir() and p.name.lower() in TEST_WORDS)
    return next(candidates, None)


def _ids(files: pd.Series, root: Path) -> pd.Series:
    """Return file names without extension; where these repeat, the path below the root."""
    stems = files.map(lambda file: file.stem)
    relative = files.map(lambda file: file.relative_to(root) if file.is_relative_to(root) else file)
    longer = relative.map(lambda file: file.with_suffix("").as_posix())
    return longer.where(stems.duplicated(keep=False), stems)
