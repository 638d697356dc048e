"""The sources of images: one module each, and the table that all of them give.

A source's table has one row per image: `id` (text, unique), `path`, `label` (0 good, 1 bad,
missing when hidden), `official_split` ("train", "test", or "" when the source has no test set of
its own), and columns of the source's own.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings


class DataError(ValueError):
    """The images or their table cannot be used; the message names the culprit and the way out."""


@dataclass(frozen=True)
class Source:
    """A data set: its table and what must be said where its numbers are shown."""

    name: str
    table: pd.DataFrame
    label_mapping: str
    stratify: tuple[str, ...] = ()  # columns that a random split keeps in proportion
    groups: tuple[str, ...] = ()  # columns whose subgroups are evaluated on their own
    attribution: str = ""
    caveats: str = ""


# module of each kind; imported only when asked for
REGISTRY = {
    "elpv": "helpers.datasets.elpv",
    "folder": "helpers.datasets.folder",
    "chips": "helpers.datasets.chips",
    "nexperia": "helpers.datasets.nexperia",
}


def load(settings: SplitSettings) -> Source:
    """The source that `settings.dataset` names: "elpv", "folder:PATH", ...

    Raises:
        DataError: unknown source, or a table that breaks the rules above.
    """
    check_name(settings.dataset)
    kind, _, place = settings.dataset.partition(":")
    open_source: Callable[..., Source] = importlib.import_module(REGISTRY[kind]).load
    source = open_source(Path(place).expanduser() if place else None, settings)
    check_table(source)
    return source


def check_name(dataset: str) -> None:
    """Refuse an unknown kind, and a colon without a place after it, which an unset variable leaves.

    Raises:
        DataError: what is wrong with `dataset`, which is `kind` or `kind:place`.
    """
    kind, colon, place = dataset.partition(":")
    if kind not in REGISTRY:
        is_folder = bool(dataset) and not colon and Path(dataset).expanduser().is_dir()
        hint = f"; for the images in that folder write folder:{dataset}" if is_folder else ""
        raise DataError(f"DATASET={dataset!r} is not one of {', '.join(sorted(REGISTRY))}{hint}")
    if colon and not place.strip():
        alone = "" if kind == "folder" else f", or {kind} alone"
        raise DataError(f"DATASET={dataset!r} has no path after the colon: {kind}:PATH{alone}")


def check_place(dataset: str) -> None:
    """Refuse an unknown kind, and a place that is not there, before any work is begun.

    Raises:
        DataError: what is wrong with `dataset`, which is `kind` or `kind:place`.
    """
    check_name(dataset)
    kind, _, place = dataset.partition(":")
    if kind == "folder" and not place:
        raise DataError("DATASET='folder' wants a place: folder:PATH")
    if place and not Path(place).expanduser().exists():
        raise DataError(f"DATASET={dataset!r}: {place} does not exist")


def check_table(source: Source) -> None:
    """Refuse names that are no text, duplicate ids, and a class without images."""
    table = source.table
    for path in table.path:
        if not path.isprintable():
            _check_text(path)
    doubled = sorted(table.loc[table.id.duplicated(keep=False), "id"].unique())
    if doubled:
        example = table.loc[table.id == doubled[0], "path"].tolist()
        raise DataError(
            f"{source.name}: {len(doubled)} id(s) occur more than once, e.g. {doubled[0]!r} "
            f"({', '.join(map(str, example[:3]))}); ids are file names without extension: rename"
        )
    for label, word in ((0, "good"), (1, "bad")):
        if not (table.label == label).any():
            raise DataError(f"{source.name}: there is no image labelled {word} ({label})")


def _check_text(path: str) -> None:
    """Refuse what a CSV cannot hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!r}: the name is not in UTF-8; rename it") from None
    if set(path) & set("\r\n"):
        raise DataError(f"{path!r}: the name has a line break; rename it")
