"""Read CSV files of the user that say something about images: SPLIT_CSV and LABELS_CSV."""

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.datasets import DROPPED, DataError, Source
from helpers.datasets.contest import header_of
from helpers.datasets.folder import CLASS_FOLDERS

LABEL_WORDS = {"0.0": 0, "1.0": 1} | {w: i for i, ws in enumerate(CLASS_FOLDERS) for w in ws}
# columns of the package
RESERVED = (
    *("split", "fold", "official_split", "official_fold", "digest", "together", "label_before"),
    *("defect_score", "probability", "mean", "width_px", "height_px", "hash", "several_frames"),
)
MOST_KINDS = 20  # a column with more different values is not evaluated by its values


def read_named(
    path: Path, source: Source, columns: Sequence[str], allowed: Mapping[str, Sequence[Any]]
) -> pd.DataFrame:
    """Return the lines of a CSV in the order of the source's images, without `id` and `path`.

    The CSV must have the `columns`, and a column `id` or `path`: paths are absolute, or relative to
    the CSV's folder or to a folder above the images. Lines about images that were dropped before
    (`source.dropped`) are ignored. So are lines of a review (`helpers.review`) about images that
    are gone. A value is missing where the CSV has none.

    A DataError names the line of an unknown image, of one that is named twice, or of a value that
    is not among the `allowed` ones of its column, in any case.
    """
    header = header_of(path)
    if doubled := [name for name in header if header.count(name) > 1]:
        raise DataError(f"{path} has two columns {doubled[0]!r}: remove one")
    frame = files.load_csv(path, columns, text=[*allowed, "group"])
    by = next((name for name in ("id", "path") if name in frame.columns), "")
    wanted = {"label", "group", *({} if by else {"id", "path"})} - {*frame}
    for name in frame.columns:
        plain = str(name).strip().lower()
        close = difflib.get_close_matches(plain, wanted, 1, 0.8)
        if close := ["label"] if plain in ("class", "target") else close:
            raise DataError(f"{path}: rename the column {name!r} to {close[0]!r}, or remove it")
    if not by:
        there = ", ".join(map(str, frame.columns))
        raise DataError(f"{path} needs a column id or path; it has {there} (with commas between)")
    if frame.columns.isin(["id", "path"]).all():
        raise DataError(f"{path} says nothing about its images: add a column label, or another")
    for name in {*allowed} & {*frame}:
        frame[name] = frame[name].str.strip().str.lower().replace("", np.nan)
    images = pd.concat([source.table, source.dropped]).reset_index(drop=True)
    known, named, other = images[by], frame[by], pd.Series(False, frame.index)
    hint = "ids have no ending such as .png"
    if by == "path":
        known = known.map(os.path.realpath)
        named = resolved(named, known, path.parent)
        folders = ", ".join(map(str, _folders(known, path.parent)))
        hint = f"write / instead of \\; a path is whole, or starts in one of {folders}"
    elif "path" in frame:  # an id may be a running number that is also the name of another file
        meant = named.map(images.drop_duplicates("id").set_index("id").path)
        other = meant.notna() & frame.path.notna() & (meant.map(_stem) != frame.path.map(_stem))
    unknown, gone = ~named.isin(known), pd.Series(False, frame.index)
    if "review" in frame and not unknown.all():
        gone = unknown & frame.review.notna() & frame.filter(["label"]).isna().all(axis="columns")
    problems = [
        (~frame[name].isin(values), name, f"must be one of {[*filter(pd.notna, values)]}")
        for name, values in allowed.items()
        if name in frame
    ]
    problems += [
        (frame[by].isna(), by, "is missing"),
        (named.duplicated(), by, "is named more than once"),
        (unknown & ~gone, by, f"is not an image's {by} ({unknown.sum()} such line(s); {hint})"),
        (other, "path", "is another image than the id says: remove the column id or path"),
    ]
    for wrong, name, problem in problems:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(f"{path}, line {row + 2}: {name} {frame[name].iloc[row]!r} {problem}")
    lines = frame.drop(columns=["id", "path"], errors="ignore").set_axis(named, axis=0)
    lines = lines.reindex(known[: len(source.table)]).set_axis(source.table.index)
    lines.attrs["gone"] = int(gone.sum())
    return lines


def with_labels(source: Source, path: Path) -> Source:
    """Return a source with the labels, groups and further columns of a LABELS_CSV.

    Columns: `path` or `id`; optionally `label` (a name of a class folder, such as nok; empty:
    unchanged), `review` (the same, by `helpers.review`; these labels are for training only),
    `group`, `reason` (for people), which is ignored, and others, which are added to the table.
    Columns with 2 to 20 different values are kinds of parts, evaluated separately in notebook 06.
    `label_before` keeps changed labels. Images without a label are left out.
    """
    words = [*LABEL_WORDS, np.nan]
    lines = read_named(path, source, (), {"label": words, "review": words})
    if reserved := [name for name in RESERVED if name in lines]:
        raise DataError(f"{path}: rename the column {reserved[0]}; the package uses this name")
    table, changed = source.table.copy(), 0
    for name in {"label", "review"} & {*lines}:
        lines[name] = lines[name].map(LABEL_WORDS).astype("Int64")
    if "label" in lines:
        differs = (lines.label != table.label).fillna(False)
        if changed := int(differs.sum()):
            table["label_before"] = table.label.where(differs)
    if "group" in lines:
        lines["group"] = lines.group.astype("string").astype(object)
    for name in lines.columns.difference(["reason"], sort=False):  # empty: as it was
        table[name] = lines[name].fillna(table[name]) if name in table else lines[name]
    own = lines.columns.difference(["label", "review", "group", "reason"], sort=False)
    kinds = [name for name in own if 2 <= lines[name].nunique() <= MOST_KINDS]
    unlabelled = table.filter(["label", "review"]).isna().all(axis="columns")
    hidden = unlabelled & (table.official_split != "test")
    counts = {"images without a label": int(hidden.sum())}
    counts["reviewed images that are no longer there"] = lines.attrs["gone"]
    changes = f"; {changed} label(s) changed by LABELS_CSV" if changed else ""
    notes = [f"{what}: {count:,}" for what, count in counts.items() if count]
    return dataclasses.replace(
        source,
        table=table[~hidden].reset_index(drop=True),
        dropped=pd.concat([source.dropped, table.loc[hidden, DROPPED]]),
        label_mapping=source.label_mapping + changes,
        kinds=(*source.kinds, *(name for name in kinds if name not in source.kinds)),
        left_out=(*source.left_out, *notes),
    )


def _stem(path: Any) -> str:
    """Return a file's name without folders, of any system, and without its ending."""
    return PureWindowsPath(str(path)).stem


def resolved(named: pd.Series, known: pd.Series, folder: Path) -> pd.Series:
    """Return the absolute paths of the images that a CSV in `folder` names; see `read_named`."""
    whole, folders = set(known), _folders(known, folder)

    def resolve(name: str) -> str:
        given = str(name).replace("\0", "?")  # no path has a zero byte
        places = (os.path.realpath(os.path.join(place, given)) for place in folders)
        return next((place for place in places if place in whole), given)

    return named.map(resolve)


def _folders(known: pd.Series, folder: Path) -> tuple[Path, ...]:
    """Return the folders in which a CSV in `folder` may start the paths of images."""
    of_images = Path(os.path.commonpath([*known.map(os.path.dirname)]))
    return (folder, of_images, *of_images.parents)
