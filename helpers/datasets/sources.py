"""The registry of sources, the function that loads one, and the mask of its images.

A source is a function `(place, settings) -> Source`. A notebook's cell may add one before it opens
the run, such as a `contest.Contest` under the name "castings". Then DATASET="castings" looks for it
where contests are downloaded to, and "castings:PATH" at PATH.

A mask is a line of text, so that a model can keep it: the data URI of a PNG, or "" if all pixels
count. Its pixels are those of the upright image. Whatever reads an image cuts it with
`decoding.cut`, so that every later step sees nothing else.
"""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from helpers.core.rules import Registry
from helpers.core.style import data_uri
from helpers.datasets import DataError, Source, bsdata, chips, elpv, folder
from helpers.datasets.contest import NEXPERIA
from helpers.datasets.named import with_labels
from helpers.datasets.settings import SplitSettings

BLACK = 127  # the largest gray value, of 255, that does not count in a mask
SOURCES = Registry(
    "source",
    {
        "elpv": elpv.load,
        "folder": folder.load,
        "nexperia": NEXPERIA,
        "chips": chips.load,
        "bsdata": bsdata.load,
    },
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
    needs_place = bool(colon) or kind in ("folder", "bsdata")
    fits = bool(place.strip()) == needs_place  # an unset variable leaves a colon alone
    if kind not in SOURCES or not fits or (kind == "elpv" and place):
        ways = {"elpv": "elpv", "folder": "folder:PATH", "bsdata": "bsdata:PATH"}
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


def mask_of(settings: SplitSettings) -> str:
    """Return the mask that MASK of notebook 01 names."""
    if not settings.mask:
        return ""
    path = Path(settings.mask).expanduser()
    try:
        with Image.open(path) as image:
            marked = np.asarray(image.convert("L")) > BLACK
            if image.has_transparency_data:  # what lies below a transparent pixel is not seen
                marked &= np.asarray(image.convert("RGBA"))[..., 3] > BLACK
    except Exception as error:  # a damaged file raises one of many kinds
        raise DataError(f"MASK={path} cannot be read ({error}): give an image file") from None
    if marked.all() or not marked.any():
        which, size = "all" if marked.any() else "none", f"{marked.shape[1]} x {marked.shape[0]}"
        way = "paint those that count white (255, at least 128), the others black or transparent"
        raise DataError(f"MASK={path} marks {which} of {size} pixels: {way}")
    one_bit = Image.fromarray(marked)
    return data_uri(lambda file: one_bit.save(file, "PNG", optimize=True), "png")
