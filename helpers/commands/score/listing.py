"""List the images to score, part by part and always in the same order: folder, pattern or CSV.

Nothing is kept of what was listed, so that a list may have any length.
"""

from __future__ import annotations

import csv
import glob
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from helpers.commands.score import ScoreError
from helpers.core import files
from helpers.datasets.folder import SUFFIXES, Kind, left_out, walk

PART_IMAGES = 512  # scored and written together: what a kill can cost, seconds of work on a CPU


class Entry(NamedTuple):
    """One image of a list."""

    path: str  # below the list's folder, as the CSV of scores names it
    id: str
    file: str  # to open


@dataclass(frozen=True)
class ImageList:
    """Images in an order that depends on their names (or the CSV's lines) alone."""

    place: str  # absolute: the folder, the pattern or the CSV
    read: Callable[[], Iterator[Entry]]  # starts reading from the disk
    left_out: Callable[[], list[str]] = list  # lines about files of a folder that are not listed

    def entries(self) -> Iterator[Entry]:
        """Yield every image from the first one on, read again from the disk."""
        for path, name, file in self.read():
            # bytes of a name that are not UTF-8 become escapes
            texts = [text.encode("utf-8", "backslashreplace").decode() for text in (path, name)]
            yield Entry(texts[0], texts[1], file)

    def parts(self) -> Iterator[list[Entry]]:
        """Yield the images of every part, read again from the disk."""
        entries = self.entries()
        while part := list(itertools.islice(entries, PART_IMAGES)):
            yield part


def open_list(text: str) -> ImageList:
    """Return the images that a folder, a pattern with * ? [ or **, or a CSV names.

    A folder is searched with its subfolders, except hidden ones and links to folders. A CSV
    needs a column `path` (relative to the CSV's folder, or absolute) and may have a column `id`;
    without one, the id of an image is its path without the extension.

    Raises:
        ScoreError: nothing has that name.
    """
    place = Path(text).expanduser().absolute()
    if place.is_dir():
        return ImageList(str(place), lambda: _of_folder(place), lambda: left_out([place]))
    if place.is_file() and place.suffix.lower() == ".csv":
        return ImageList(str(place), lambda: _of_csv(place))
    pattern = glob.escape(str(place)) if place.is_file() else str(place)
    if place.is_file() or glob.has_magic(pattern):
        return ImageList(
            str(place), lambda: _of_pattern(pattern), lambda: _pattern_left_out(pattern)
        )
    raise ScoreError(
        f"--images {text}: there is no such folder or CSV, and it is not a pattern with * or ?"
    )


def _of_folder(folder: Path) -> Iterator[Entry]:
    for file, kind in walk(folder):
        if kind is Kind.IMAGE:
            path = file.relative_to(folder).as_posix()
            yield Entry(path, os.path.splitext(path)[0], str(file))


def _of_pattern(pattern: str) -> Iterator[Entry]:
    """Find files by a pattern, sorted; their paths start below its last folder without a *.

    Pipes and broken links are listed, to be reported as unreadable.
    """
    parts = PurePath(pattern).parts
    plain = next((i for i, part in enumerate(parts[:-1]) if glob.has_magic(part)), len(parts) - 1)
    root = os.path.join(*parts[:plain])
    for file in sorted(glob.iglob(pattern, recursive=True)):
        if file.lower().endswith(SUFFIXES) and not os.path.isdir(file):
            path = PurePath(os.path.relpath(file, root)).as_posix()
            yield Entry(path, os.path.splitext(path)[0], file)


def _pattern_left_out(pattern: str) -> list[str]:
    """Return a line about the files that a pattern finds and `_of_pattern` does not list."""
    found = (Path(file) for file in glob.iglob(pattern, recursive=True))
    others = [p.suffix.lower() for p in found if p.is_file() and p.suffix.lower() not in SUFFIXES]
    kinds = ", ".join(sorted(set(others)))
    return [f"{len(others):,} file(s) with other suffixes ({kinds})"] if others else []


def _of_csv(table: Path) -> Iterator[Entry]:
    """Read the lines of a CSV one by one."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if "path" not in (reader.fieldnames or []):
                columns = ", ".join(reader.fieldnames or []) or "nothing"
                raise ScoreError(f"{table} lacks the column path; it has {columns}")
            for row in reader:
                path = files.from_cell(row["path"])
                name = files.from_cell(row.get("id", os.path.splitext(path or "")[0]))
                if not path or not name:
                    column = "id" if path else "path"
                    raise ScoreError(f"{table}, line {reader.line_num}: {column} is empty")
                yield Entry(path, name, os.path.join(table.parent, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScoreError(f"{table} is not a readable CSV: {error}") from None
