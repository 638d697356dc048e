"""The registry of sources, and the function that loads one.

A source is a function `(place, settings) -> Source`. A notebook's cell may add one before it opens
the run, such as a `contest.Contest` under the name "castings". Then DATASET="castings" looks for it
where contests are downloaded to, and "castings:PATH" at PATH.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from helpers.core.rules import Registry
from helpers.datasets import DataError, Source, chips, elpv, folder
from helpers.datasets.contest import NEXPERIA
from helpers.datasets.mask import mask_of
from helpers.datasets.named import with_labels
from helpers.datasets.settings import SplitSettings

SOURCES = Registry(
    "source",
    {"elpv": elpv.load, "folder": folder.load, "nexperia": NEXPERIA, "chips": chips.load},
)


def load(settings: SplitSettings) -> Source:
    """Load the source that `settings.dataset` names: "elpv", "folder:PATH", ..."""
    check_name(settings.dataset)
    kind, _, place = settings.dataset.partition(":")
    source: Source = SOURCES[kind](Path(place).expanduser() if place else None, settings)
    if settings.labels_csv:
        source = with_labels(source, Path(settings.labels_csv).expanduser())
        if "review" in source.table and "." in settings.good:
            raise DataError(
                f"with GOOD=. the parts that are bad in the column review of {settings.labels_csv} "
                "are good ones: move the good parts into a subfolder good, and leave out GOOD=."
            )
    if "group" in source.table:
        source = replace(source, table=source.table.assign(group=_groups(source.table.group)))
    _check_table(source)
    return replace(source, mask=mask_of(settings))


def check_name(dataset: str) -> None:
    """Raise DataError unless `dataset` is `kind` or `kind:place`, with a known kind."""
    kind, colon, place = dataset.partition(":")
    needs_place = bool(colon) or kind == "folder"
    fits = bool(place.strip()) == needs_place  # an unset variable leaves a colon alone
    if kind not in SOURCES or not fits or (kind == "elpv" and place):
        ways = {"elpv": "elpv", "folder": "folder:PATH"}
        known = ", ".join(ways.get(name, f"{name}, {name}:PATH") for name in SOURCES)
        raise DataError(f"DATASET={dataset!r} is not one of {known}")


def check_place(dataset: str) -> None:
    """Raise DataError if `dataset` has an unknown kind or a place that does not exist."""
    check_name(dataset)
    place = dataset.partition(":")[2]
    if place and not os.path.exists(Path(place).expanduser()):  # False for a name too long
        raise DataError(f"DATASET={dataset!r}: {place} does not exist")


def _groups(groups: pd.Series) -> pd.Series:
    """Return the names of groups without spaces around them; refuse two spellings of one name.

    A group that is spelled in two ways would be on two sides of a split.
    """
    groups = groups.str.strip().replace("", None)
    names = groups.dropna().drop_duplicates()
    plain = names.str.lower().str.replace(r"\s|\.0$", "", regex=True)
    if (doubled := plain.duplicated(keep=False)).any():
        same = names[plain == plain[doubled].iloc[0]].tolist()
        raise DataError(
            f"the groups {', '.join(map(repr, same))} differ by case, spaces or .0 alone: "
            "write one name for one group"
        )
    return groups


def _check_table(source: Source) -> None:
    table = source.table
    if (doubled := table[table.id.duplicated(keep=False)]).size:
        name, paths = next(iter(doubled.groupby("id").path))
        raise DataError(
            f"{source.name}: ids that occur more than once: {doubled.id.nunique()}, e.g. {name!r} "
            f"({', '.join(paths[:3])}); ids are file names without extension: rename"
        )
    if not (table.label == 0).any():  # bad ones may come later
        raise DataError(f"{source.name}: there is no image labelled good (0)")
