"""The sources of images: one module each, and the table that all of them return.

A source's table has one row per image: `id` (text, unique), `path`, `label` (0 good, 1 bad,
missing if hidden), `official_split` ("train", "test", or "" if the source has no test set of its
own), and columns of the source's own. One of these may be `group` (text, or missing): the lot,
wafer, module or tool of the part, which `SPLIT="groups"` keeps on one side.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from helpers.core.errors import UserError

if TYPE_CHECKING:
    from helpers.datasets.settings import SplitSettings


class DataError(UserError):
    """The images or their table cannot be used; the message names the culprit and the way out."""


DROPPED = ["id", "path", "official_split"]


@dataclass(frozen=True)
class Source:
    """A data set: its table, and the attribution and caveats to show with its numbers."""

    name: str
    table: pd.DataFrame
    label_mapping: str
    stratify: tuple[str, ...] = ()  # columns that a random split keeps in proportion
    kinds: tuple[str, ...] = ()  # columns whose values are evaluated separately
    attribution: str = ""
    caveats: str = ""
    left_out: tuple[str, ...] = ()  # lines about files that are not in the table
    dropped: pd.DataFrame | None = None  # columns DROPPED of images taken out of the table
    region: str = ""  # of each image, see `datasets.region`


# the function that loads each kind; imported only when asked for
REGISTRY = {
    "elpv": "helpers.datasets.elpv.load",
    "folder": "helpers.datasets.folder.load",
    "chips": "helpers.datasets.chips.load",
    "nexperia": "helpers.datasets.nexperia.load",
}


def load(settings: SplitSettings) -> Source:
    """Load the source that `settings.dataset` names: "elpv", "folder:PATH", ...

    Raises:
        DataError: unknown source, a table that breaks the rules above, or an unusable MASK.
    """
    check_name(settings.dataset)
    kind, _, place = settings.dataset.partition(":")
    module, function = REGISTRY[kind].rsplit(".", 1)
    open_source: Callable[..., Source] = getattr(importlib.import_module(module), function)
    source = open_source(Path(place).expanduser() if place else None, settings)
    if settings.labels_csv:
        from helpers.datasets.named import with_labels  # it imports this module

        source = with_labels(source, Path(settings.labels_csv).expanduser())
        if "review" in source.table and "." in settings.good:
            raise DataError(
                f"with GOOD=. the parts that are bad in the column review of {settings.labels_csv} "
                "are good ones: move the good parts into a subfolder good, and leave out GOOD=."
            )
    _check_table(source)
    if not (settings.region or settings.mask):
        return source
    from helpers.datasets.region import region_of  # it imports this module

    return replace(source, region=region_of(settings))


def check_name(dataset: str) -> None:
    """Raise DataError unless `dataset` is `kind` or `kind:place`, with a known kind."""
    kind, colon, place = dataset.partition(":")
    needs_place = bool(colon) or kind == "folder"
    if (
        kind not in REGISTRY
        or bool(place.strip()) != needs_place  # an unset variable leaves a colon alone
        or (kind == "elpv" and place)
    ):
        known = "elpv, folder:PATH, nexperia, nexperia:PATH, chips, chips:PATH"
        raise DataError(f"DATASET={dataset!r} is not one of {known}")


def check_place(dataset: str) -> None:
    """Raise DataError if `dataset` has an unknown kind or a place that does not exist."""
    check_name(dataset)
    place = dataset.partition(":")[2]
    if place and not os.path.exists(Path(place).expanduser()):  # False for a name too long
        raise DataError(f"DATASET={dataset!r}: {place} does not exist")


def check_utf8(path: str) -> None:
    """Raise DataError if a file's name is not in UTF-8, as every text that is written must be."""
    if not path.isascii() and path != path.encode(errors="ignore").decode():
        raise DataError(f"{path!r}: the name is not in UTF-8; rename it")


def _check_table(source: Source) -> None:
    table = source.table
    for path in table.path:  # names that a CSV cannot hold
        check_utf8(path)
        if "\r" in path or "\n" in path:
            raise DataError(f"{path!r}: the name has a line break; rename it")
    doubled = sorted(table.loc[table.id.duplicated(keep=False), "id"].unique())
    if doubled:
        example = table.loc[table.id == doubled[0], "path"].tolist()
        raise DataError(
            f"{source.name}: ids that occur more than once: {len(doubled)}, e.g. {doubled[0]!r} "
            f"({', '.join(map(str, example[:3]))}); ids are file names without extension: rename"
        )
    if not (table.label == 0).any():  # bad ones may come later
        raise DataError(f"{source.name}: there is no image labelled good (0)")
