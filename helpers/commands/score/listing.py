"""The images to score, listed one by one, always in the same order: folder, pattern or CSV.

Nothing is kept of what was listed but a running digest, so that a list may have any length.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import NamedTuple

from helpers.commands.score import ScoreError
from helpers.datasets.folder import SUFFIXES


class Name(NamedTuple):
    """One image of a list."""

    path: str  # below the list's folder, as the CSV of scores names it
    id: str
    file: str  # what is opened


class Entry(NamedTuple):
    """One image of a list, and its place there."""

    position: int  # counted from 0
    path: str
    id: str
    file: str
    digest: str  # of this image's name and all names before it


@dataclass(frozen=True)
class ImageList:
    """Images in an order that depends on their names (or the CSV's lines) alone."""

    place: str  # absolute: the folder, the pattern or the CSV
    names: Callable[[], Iterator[Name]]

    def entries(self) -> Iterator[Entry]:
        """Every image from the first one on, read anew from the disk."""
        digest = ""
        for position, raw in enumerate(self.names()):
            path, name = _printable(raw.path), _printable(raw.id)
            text = f"{digest}\0{path}\0{name}".encode()
            digest = hashlib.blake2b(text, digest_size=16).hexdigest()
            yield Entry(position, path, name, raw.file, digest)


@dataclass(frozen=True)
class Shard:
    """Every `count`-th image from number `index` on."""

    index: int = 0
    count: int = 1

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def takes(self, position: int) -> bool:
        """Whether the image at a position of the list belongs here."""
        return position % self.count == self.index

    def share(self, listed: int) -> int:
        """How many of the first `listed` images belong here."""
        return len(range(self.index, listed, self.count))


def parse_shard(text: str) -> Shard:
    """The shard that "i/n" names, i from 0 to n - 1."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise ScoreError(f"--shard {text}: write i/n with i from 0 to n - 1, e.g. 0/2 and 1/2")
    return Shard(int(match[1]), int(match[2]))


def open_list(text: str) -> ImageList:
    """The images that a folder, a pattern with * ? [ or **, or a CSV names.

    A folder is searched with its subfolders, hidden ones and links to folders left out. A CSV
    needs a column `path` (relative to the CSV's folder, or absolute) and may have a column `id`;
    without one, an image's id is its path without the extension.

    Raises:
        ScoreError: nothing of that name.
    """
    place = Path(text).expanduser().absolute()
    if place.is_dir():
        return ImageList(str(place), lambda: _folder_names(str(place), ""))
    if place.is_file() and place.suffix.lower() == ".csv":
        return ImageList(str(place), lambda: _csv_names(place))
    if place.is_file():
        return ImageList(str(place), lambda: _pattern_names(glob.escape(str(place))))
    if glob.has_magic(str(place)):
        return ImageList(str(place), lambda: _pattern_names(str(place)))
    raise ScoreError(f"--images {text}: no such folder or CSV, and no pattern with * or ?")


def _folder_names(folder: str, prefix: str) -> Iterator[Name]:
    """Depth first, each folder sorted by name; one folder's names are held at a time."""
    try:
        with os.scandir(folder) as found:
            items = sorted(
                (item.name, item.is_dir(follow_symlinks=False), item.is_dir()) for item in found
            )
    except OSError as error:
        raise ScoreError(f"{folder} cannot be listed: {error.strerror}") from None
    for name, is_folder, leads_to_folder in items:
        if name.startswith("."):
            continue
        path, file = prefix + name, os.path.join(folder, name)
        if is_folder:
            yield from _folder_names(file, f"{path}/")
        elif not leads_to_folder and _is_image(name):  # a broken link is told as unreadable
            yield Name(path, os.path.splitext(path)[0], file)


def _pattern_names(pattern: str) -> Iterator[Name]:
    """The files of a pattern, sorted; paths are below the pattern's last folder without a *."""
    parts = PurePath(pattern).parts
    plain = next((i for i, part in enumerate(parts[:-1]) if glob.has_magic(part)), len(parts) - 1)
    root = os.path.join(*parts[:plain])
    for file in sorted(glob.iglob(pattern, recursive=True)):
        if _is_image(file) and os.path.isfile(file):
            path = PurePath(os.path.relpath(file, root)).as_posix()
            yield Name(path, os.path.splitext(path)[0], file)


def _csv_names(table: Path) -> Iterator[Name]:
    """The lines of a CSV, read one by one."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle)
            if "path" not in (reader.fieldnames or []):
                columns = ", ".join(reader.fieldnames or []) or "nothing"
                raise ScoreError(f"{table} lacks the column path; it has {columns}")
            for row in reader:
                path = row["path"]
                name = row.get("id", os.path.splitext(path or "")[0])
                if not path or not name:
                    column = "id" if path else "path"
                    raise ScoreError(f"{table}, line {reader.line_num}: {column} is empty")
                yield Name(path, name, os.path.join(table.parent, path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ScoreError(f"{table} is not a readable CSV: {error}") from None


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _printable(text: str) -> str:
    """A name as UTF-8 can hold it; bytes of a name that are no UTF-8 become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
