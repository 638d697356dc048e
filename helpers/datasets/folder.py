"""`folder:PATH`: any directory with one subfolder per class; perhaps an unlabelled test folder."""

import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.datasets import DataError, Source, check_utf8
from helpers.datasets.settings import SplitSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
# names of class folders, in any case: good ones and bad ones
CLASS_FOLDERS = (
    ("good", "ok", "functional", "0"),
    ("bad", "defect", "defects", "defective", "ng", "nok", "1"),
)
TEST_FOLDER = "test"  # unlabelled images
EXAMPLES = 5  # names in a line about what is left out
TABLE = ["id", "path", "label", "official_split"]  # the columns of a source's table


def load(place: Path | None, settings: SplitSettings) -> Source:
    """Read the class folders of `place`; images may lie deeper inside them.

    A folder belongs to a class if it has one of the names in `CLASS_FOLDERS`, or if `settings.good`
    or `settings.bad` names it; "." is `place` itself. Images of the test folder are unlabelled.
    """
    if place is None or not place.is_dir():
        raise DataError(f"{place} is not a folder")
    root = place.resolve()
    classes = _class_folders(root, settings)
    test = root / TEST_FOLDER
    has_test = test.is_dir() and test not in classes
    side = "train" if has_test else ""
    places: list[tuple[Path, Any, str]] = [(f, label, side) for f, label in classes.items()]
    places += [(test, pd.NA, "test")] if has_test else []
    if settings.labels_csv and root not in classes:  # it may label images that are in no folder
        places += [(root, pd.NA, side)]
    table = table_of(root, places)
    names, level = table.below.map(lambda path: path.parts[:-1]), settings.group_level
    level, remark = _lots(table.label, names) if level is None else (level, "")
    if level:  # no group for files above it
        table["group"] = ["/".join(p[:level]) if len(p) >= level else None for p in names]
    mapping = "good and bad as in LABELS_CSV"
    if classes:
        good, bad = (", ".join(f.name for f in classes if classes[f] == label) for label in (0, 1))
        mapping = f"bad = {bad or 'none yet'}; good = {good}"
    return Source(
        name=f"folder:{place.name}",
        table=table.filter([*TABLE, "group"]),
        label_mapping=mapping,
        caveats=remark,
        left_out=left_out([f for f, *_ in places], [root]),
    )


def _lots(labels: pd.Series, below: pd.Series) -> tuple[int, str]:
    """Return the level of the subfolders that are lots (0: no lots), and a line about it.

    Subfolders are lots if those of bad parts have the same names as those of good parts: all of
    them, or at least two. Others may be kinds of defects.
    """
    first = below.map(lambda parts: parts[0] if parts else None)
    good, bad = (set(first[labels.eq(label).fillna(False)].dropna()) for label in (0, 1))
    if len(good | bad) < 2 or not (bad <= good or len(good & bad) > 1):
        line = "subfolders are no lots: it takes two or more, with equal names in good and bad"
        return 0, f"{line} (GROUP_LEVEL=1: they are)" if good or bad else ""
    if loose := (first.isna() & labels.notna()).sum():
        line = f"{loose} images lie beside the subfolders, so these are no lots"
        return 0, f"{line} (GROUP_LEVEL=1: they are, and those images are left out)"
    return 1, f"subfolders are lots: {len(good | bad)} (GROUP_LEVEL=0: they are not)"


def table_of(root: Path, places: Sequence[tuple[Path, Any, str]]) -> pd.DataFrame:
    """Return a source's table of the images in some folders, with their label and official side.

    An id is the file's name without extension; where these repeat, the path below `root`. A further
    column `below` has the path below the folder. A folder in another one is not read twice; only
    folders of bad or unlabelled training images may be empty.
    """
    folders, rows = [folder for folder, *_ in places], []
    for folder, label, side in places:
        images = image_files(folder, [other for other in folders if other != folder])
        if not images and (side == "test" if label is pd.NA else label == 0):
            raise DataError(f"{folder} holds no image ({', '.join(SUFFIXES)})")
        rows += [(file, label, side, file.relative_to(folder)) for file in images]
    table = pd.DataFrame(rows, columns=["file", "label", "official_split", "below"])
    stems = table.file.map(lambda file: file.stem)
    longer = table.file.map(lambda file: file.relative_to(root).with_suffix("").as_posix())
    table["id"] = longer.where(stems.duplicated(keep=False), stems)
    table["path"] = table.file.map(Path.as_posix)
    return table.astype({"label": "Int64"})


def image_files(folder: Path, skip: Container[Path] = ()) -> list[Path]:
    """List the images under a folder, sorted, with broken links and pipes, to be reported."""
    images = [path for path in walk(folder, skip) if is_image(path)]
    for path in images:
        check_utf8(str(path))
    return images


def is_image(path: Path) -> bool:
    """Return True if a name is that of an image file; broken links and pipes count too."""
    return path.suffix.lower() in SUFFIXES and not path.is_dir()


def left_out(folders: Sequence[Path], outside: Sequence[Path] = ()) -> tuple[str, ...]:
    """Return lines like "other files and links to folders: 2 (.txt, .webp)" about the `folders`.

    Files in the folders `outside`, and in none of the `folders`, count too.
    """
    others, no_class = [], []
    for top in dict.fromkeys([*folders, *outside]):
        for path in walk(top, skip=folders):
            if not is_image(path):
                others.append(path.suffix.lower() or path.name)
            elif top not in folders:
                no_class.append(path.relative_to(top).parts[0])
    kinds = {"other files and links to folders": others, "images in no class folder": no_class}
    lines = [f"{kind}: {len(n):,} ({_listed(sorted(set(n)))})" for kind, n in kinds.items() if n]
    # a name may not be UTF-8
    return tuple(line.encode(errors="backslashreplace").decode() for line in lines)


def walk(folder: Path, skip: Container[Path] = ()) -> Iterator[Path]:
    """Yield all files below a folder, and the links to folders, but no hidden ones; sorted."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    for path in (folder / name for name in names):
        if path not in skip:
            yield from [path] if path.is_symlink() or not path.is_dir() else walk(path, skip)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if len(names) > EXAMPLES else "")


def _class_folders(root: Path, settings: SplitSettings) -> dict[Path, int]:
    """Return the label, 0 good or 1 bad, of each subfolder whose name says one, or of the root."""
    subfolders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    places = {".": root} | {folder.name: folder for folder in subfolders}
    listed = _listed([folder.name for folder in subfolders]) or "no subfolder"
    for name in (*settings.good, *settings.bad):
        if name not in places:
            word = "GOOD" if name in settings.good else "BAD"
            raise DataError(f"{word}={name}: {root} has {listed}")
    if both := {*settings.good} & {*settings.bad}:
        raise DataError(f"{_listed(sorted(both))} is in GOOD and in BAD")
    named = {word: label for label, words in enumerate(CLASS_FOLDERS) for word in words}
    given = dict.fromkeys(settings.bad, 1) | dict.fromkeys(settings.good, 0)
    labels = {folder: given.get(name, named.get(name.lower())) for name, folder in places.items()}
    classes = {folder: label for folder, label in labels.items() if label is not None}
    # if no folder of bad parts is known, another may hold them
    others = set() if {root, 1} & {*classes, *classes.values()} else {*subfolders} - {*classes}
    unnamed = any(is_image(f) for folder in others - {root / TEST_FOLDER} for f in walk(folder))
    if not settings.labels_csv and (unnamed or 0 not in classes.values()):
        known = " and ".join("/".join(words) for words in CLASS_FOLDERS)
        raise DataError(
            f"{root} needs a subfolder of good parts, and one of bad parts, which may be empty; it "
            f"has {listed}. Name them {known}, or pass -p GOOD=NAME -p BAD=NAME (GOOD=. if all its "
            "images are good), or label the images by -p LABELS_CSV=FILE"
        )
    return classes
