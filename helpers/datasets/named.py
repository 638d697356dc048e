"""Read CSV files of the user that say something about images: SPLIT_CSV and LABELS_CSV."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd

from helpers.core import files
from helpers.datasets import DROPPED, DataError, Source

LABEL_WORDS = {"0": 0, "good": 0, "1": 1, "bad": 1}
# columns of the package
RESERVED = (
    *("split", "fold", "official_split", "digest", "unit", "block", "label_before"),
    *("defect_score", "probability", "mean", "std", "width_px", "height_px", "hash"),
    "several_frames",
)
MOST_KINDS = 20  # a column with more different values is not evaluated by its values


def read_named(
    path: Path,
    source: Source,
    columns: Sequence[str],
    allowed: Mapping[str, Sequence[Any]],
) -> tuple[pd.DataFrame, int]:
    """Return the lines of a CSV in the order of the source's images, and the lines without one.

    The CSV names images by a column `id` or `path`: paths are absolute, relative to the CSV's
    folder, or to a folder above the images. Lines about images that were dropped before
    (`source.dropped`) are known, but say nothing; their number is returned.

    Args:
        path: the CSV.
        source: its table has `id` and `path`.
        columns: that the CSV must have.
        allowed: the values that a column may have, as text.

    Returns:
        The other columns as text, a row per image; missing where the CSV says nothing.

    Raises:
        DataError: an unknown image, one that is named twice, or a value that is not allowed; the
            line is named.
    """
    frame = files.load_csv(path, columns, text=[*allowed, "group"])
    by = next((name for name in ("id", "path") if name in frame.columns), None)
    known_names = ("id", "path", "label", "group", *columns, *allowed)
    for name in frame.columns:
        meant = str(name).strip().lower().removesuffix("s")
        is_free = by is not None and meant in ("id", "path")  # numbers of one's own beside it
        if name not in known_names and meant in known_names and meant not in frame and not is_free:
            raise DataError(f"{path}: rename the column {name!r} to {meant!r}, or remove it")
    if by is None:
        found = ", ".join(map(str, frame.columns))
        raise DataError(f"{path} needs a column id or path; it has {found} (with commas between)")
    known = pd.concat([source.table, source.dropped])[by].reset_index(drop=True)
    named = frame[by]
    if by == "path":
        known = known.map(os.path.realpath)
        named = _resolved(named, known, path.parent)
    own, unknown = known[: len(source.table)], ~named.isin(known)
    other = pd.Series(False, frame.index)
    if by == "id" and "path" in frame:  # of another machine, or numbers of the user's own as ids
        paths = pd.concat([source.table, source.dropped]).set_index("id").path
        meant = named.map(paths[~paths.index.duplicated()].map(_stem))
        other = meant.notna() & frame.path.notna() & (frame.path.map(_stem) != meant)
    hint = ""
    if by == "id" and named[unknown].astype(str).map(_stem).isin(known).any():
        hint = "; ids have no ending such as .png"
    elif by == "path" and named.str.contains("\\", regex=False).any():
        hint = "; write / instead of \\"
    checks = [
        (~frame[column].isin(values), frame[column], f"{column} must be {_or(values)}, not {{}}")
        for column, values in allowed.items()
        if column in frame
    ]
    for wrong, value, problem in (
        *checks,
        (frame[by].isna(), frame[by], f"the {by} is missing"),
        (named.duplicated(), frame[by], "{!r} is named more than once"),
        (unknown, frame[by], f"no image has the {by} '{{}}'; {unknown.sum()} such line(s){hint}"),
        (
            other,
            frame.get("path"),
            "the image with this id is not '{}'; remove the column id or path",
        ),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            culprit = "empty" if pd.isna(value.iloc[row]) else value.iloc[row]
            line = files.line_of(path, row)
            raise DataError(f"{path}, line {line}: {problem.format(culprit)}")
    lines = frame.drop(columns=["id", "path"], errors="ignore").set_axis(named, axis=0)
    return lines.reindex(own).set_axis(source.table.index), int((~named.isin(own)).sum())


def with_labels(source: Source, path: Path) -> Source:
    """Return a source with the labels, groups and further columns of a LABELS_CSV.

    Columns: `path` or `id`; optionally `label` (0, 1, good or bad; empty: as it was), `group`,
    `reason` (for people, not read), and others, which are added to the table. One with at most 20
    different values is a kind of part, evaluated on its own in notebook 06. Where a label changes,
    the column `label_before` keeps the source's. Images that have no label then are left out.

    Raises:
        DataError: see `read_named`; or a column has the name of one of the package's own.
    """
    allowed = {"label": [*LABEL_WORDS, np.nan]}
    lines, _ = read_named(path, source, (), allowed)
    lines = lines.drop(columns="reason", errors="ignore")
    if reserved := [name for name in RESERVED if name in lines]:
        raise DataError(f"{path}: rename the column {reserved[0]}; the package uses this name")
    table, changed = source.table.copy(), 0
    if "label" in lines:
        labels = lines.pop("label").map(LABEL_WORDS).astype("Int64")
        differs = (labels.notna() & table.label.notna() & (labels != table.label)).fillna(False)
        if changed := int(differs.sum()):
            table["label_before"] = table.label.where(differs)
        table["label"] = labels.fillna(table.label)
    if "group" in lines:
        groups = lines.pop("group").astype("string").astype(object)
        table["group"] = groups.fillna(table["group"]) if "group" in table else groups
    for name in lines.columns.intersection(table.columns):  # empty: as it was
        lines[name] = lines[name].fillna(table[name])
    table = table.drop(columns=lines.columns, errors="ignore").join(lines)
    kinds = [name for name in lines if 2 <= lines[name].nunique() <= MOST_KINDS]
    hidden = table.label.isna() & (table.official_split != "test")
    notes = [f"LABELS_CSV changed {changed} label(s)"] if changed else []
    if hidden.any():
        notes.append(f"{hidden.sum():,} image(s) without a label")
    return dataclasses.replace(
        source,
        table=table[~hidden].reset_index(drop=True),
        dropped=pd.concat([source.dropped, table.loc[hidden, DROPPED]]),
        label_mapping=source.label_mapping + (f"; {changed} by LABELS_CSV" if changed else ""),
        kinds=(*source.kinds, *(name for name in kinds if name not in source.kinds)),
        left_out=(*source.left_out, *notes),
    )


def _or(values: Sequence[Any]) -> str:
    *others, last = [value if isinstance(value, str) else "empty" for value in values]
    return f"{', '.join(others)} or {last}"


def _stem(path: Any) -> str:
    """Return a file's name without folders, of any system, and without its ending."""
    return PureWindowsPath(str(path)).stem


def _resolved(named: pd.Series, known: pd.Series, folder: Path) -> pd.Series:
    """Return the whole paths that a CSV in `folder` names; see `read_named`."""
    whole, of_images = set(known), Path(os.path.commonpath([*known.map(os.path.dirname)]))
    folders = (folder, of_images, *of_images.parents)

    def resolve(name: str) -> str:
        given = str(name).replace("\0", "?")  # no path has a zero byte
        places = (os.path.realpath(os.path.join(place, given)) for place in folders)
        return next((place for place in places if place in whole), given)

    return named.map(resolve)
