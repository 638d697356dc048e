"""Split a source: seeded, stratified, balanced validation, and no image on two sides."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from helpers.core import files, seeding
from helpers.datasets import DataError, Source
from helpers.datasets.settings import SplitSettings

SIDES = ("train", "val", "test")
# If copies of one image are on two sides, the copy on the less protected side is left out.
PROTECTION = {"test": 0, "val": 1, "train": 2}


@dataclass(frozen=True)
class Split:
    """The table with its `split` column ("train", "val", "test" or "excluded")."""

    table: pd.DataFrame
    duplicates: pd.DataFrame  # images that share their pixels: id, label, group, two_labels
    excluded: pd.DataFrame  # copies that were left out, and why
    unnamed: int = 0  # images that an external CSV does not name, "excluded" too
    idle_lines: int = 0  # of an external CSV, about images that were dropped before

    @property
    def copies_left_out(self) -> int:
        return int((self.table.split == "excluded").sum()) - self.unnamed

    @property
    def report(self) -> str:
        """Lines that say how many copies there are, and what the split leaves out."""
        lines = [
            f"{len(self.duplicates)} images share their pixels with another image",
            f"{self.duplicates.two_labels.sum()} of these have a copy with the other label",
            f"{self.copies_left_out} copies were left out of the split",
        ]
        if self.unnamed:
            lines.append(
                f"{self.unnamed} images were left out because SPLIT_CSV does not name them"
            )
        if self.idle_lines:
            lines.append(
                f"{self.idle_lines} lines of SPLIT_CSV were passed over: MAX_IMAGES or "
                "SKIP_UNREADABLE took their images out before"
            )
        return "\n".join(lines)


def make_split(source: Source, digests: pd.Series, settings: SplitSettings) -> Split:
    """Divide the images of a source.

        split = make_split(source, cache.table.digest, settings)
        train = split.table[split.table.split == "train"]

    Args:
        source: its table's `official_split` is respected; without one, `test_fraction` of the
            images is split off, stratified on the label and the source's `stratify` columns.
        digests: digest of each image's pixels, in the table's order.
        settings: seed, sizes, or an external `split_csv`.

    Raises:
        DataError: too few images for the split, or an external CSV that does not fit.
    """
    table = source.table.reset_index(drop=True).assign(digest=digests.to_numpy())
    copies = table[table.digest.duplicated(keep=False)].copy()
    copies["group"] = copies.groupby("digest").ngroup()
    labels = copies.groupby("group").label.nunique()
    copies["two_labels"] = copies.group.map(labels > 1).astype(bool)  # also without any row
    duplicates = copies.sort_values(["group", "id"])[["id", "label", "group", "two_labels"]]
    unnamed = idle_lines = 0
    if settings.split_csv:
        path = Path(settings.split_csv).expanduser()
        table["split"], idle_lines = _external_split(table, source.dropped, path)
        unnamed = int((table.split == "excluded").sum())
    else:
        table["split"] = _random_split(table, source.stratify, settings)
    # copies of images that are on a better protected side are left out
    rank = table.split.map(PROTECTION)
    best = rank.groupby(table.digest).transform("min")
    leaking = rank.notna() & (rank > best)
    excluded = table.loc[leaking, ["id", "label", "split", "digest"]].copy()
    keepers = table[rank == best].drop_duplicates("digest").set_index("digest")
    excluded["copy_of"] = excluded.digest.map(keepers.id)
    excluded["kept_on"] = excluded.digest.map(keepers.split)
    table["split"] = table.split.mask(leaking, "excluded")
    _check_sides(table)
    columns = ["id", "path", "label", "split"]
    own = [c for c in table.columns if c not in (*columns, "official_split")]
    excluded = excluded.drop(columns="digest")
    return Split(table[columns + own], duplicates, excluded, unnamed, idle_lines)


def subsample_source(source: Source, n: int | None, seed: int) -> Source:
    """Keep at most n images, each class in proportion; None keeps all."""
    table = source.table
    if n is None or len(table) <= n:
        return source
    side = table.official_split + _label_words(table)
    shuffled = side.sample(frac=1, random_state=seeding.stream_seed(seed, "subsample") % 2**32)
    # Spread each class evenly over [0, 1) and take the first n: every class in proportion.
    place = shuffled.groupby(shuffled).cumcount() / side.map(side.value_counts())[shuffled.index]
    return _keep(source, table.index.isin(place.sort_values(kind="stable").index[:n]))


def keep_readable(source: Source, ids: pd.Series) -> Source:
    """Drop the images that the cache had to leave out; `ids` are those that it holds."""
    return _keep(source, source.table.id.isin(ids).to_numpy())


def _keep(source: Source, kept: np.ndarray) -> Source:
    """Return the source with some rows of its table alone; it remembers the others."""
    out = source.table.loc[~kept, ["id", "path"]]
    dropped = out if source.dropped is None else pd.concat([source.dropped, out])
    table = source.table[kept].reset_index(drop=True)
    return dataclasses.replace(source, table=table, dropped=dropped)


def describe(source: Source, split: Split, unreadable: list[tuple[str, str]]) -> dict[str, Any]:
    """Return what run.json and later notebooks must know about the data."""
    counts = split.table.groupby(["split", _label_words(split.table)]).size()
    return {
        "label_mapping": source.label_mapping,
        "groups": list(source.groups),
        "attribution": source.attribution,
        "caveats": source.caveats,
        "images": {f"{side} {label}": int(n) for (side, label), n in counts.items()},
        "duplicates": len(split.duplicates),
        "left_out": list(source.left_out),
        "excluded_copies": split.copies_left_out,
        "not_in_split_csv": split.unnamed,
        "unreadable": [Path(path).name for path, _ in unreadable],
    }


def _label_words(table: pd.DataFrame) -> pd.Series:
    """Return the labels as text, "hidden" for missing ones: NaN would drop out of every count."""
    return table.label.map({0: "0", 1: "1"}).fillna("hidden")


def _random_split(
    table: pd.DataFrame, stratify: tuple[str, ...], settings: SplitSettings
) -> pd.Series:
    side = pd.Series("train", index=table.index)
    first = ~table.digest.duplicated()  # the first of several copies is drawn, the others follow
    is_official = (table.official_split == "test").any()
    if is_official:
        side[table.official_split == "test"] = "test"
    else:
        pool = table[first & table.label.notna()]
        side[_draw(pool, stratify, settings.test_fraction, settings.seed, "test")] = "test"
    test_digests = table.loc[side == "test", "digest"]
    pool = table[first & (side == "train") & table.label.notna() & ~table.digest.isin(test_digests)]
    for label, word in ((0, "good"), (1, "bad")):
        of_class = pool[pool.label == label]
        if len(of_class) < 2 * settings.val_per_class:
            fewer = len(of_class) // 2
            advice = f"Set -p VAL_PER_CLASS={fewer} or less" if fewer else "Add images"
            limit = f" among the {settings.max_images} that MAX_IMAGES keeps"
            raise DataError(
                f"VAL_PER_CLASS={settings.val_per_class} needs at least "
                f"{2 * settings.val_per_class} {word} images for training and validation; there "
                f"are {len(of_class)}{limit if settings.max_images else ''}. {advice}"
            )
        drawn = _draw(of_class, stratify, settings.val_per_class, settings.seed, f"val {word}")
        side[drawn] = "val"
    if not is_official:
        side = table.digest.map(side[first].set_axis(table.digest[first]))
        # Copies would unbalance validation; one of each image is enough there.
        side[~first & (side == "val")] = "excluded"
    return side


def _draw(
    table: pd.DataFrame, stratify: tuple[str, ...], size: float | int, seed: int, purpose: str
) -> pd.Index:
    """Draw a stratified part: a fraction or a number of the rows."""
    strata = table[["label", *stratify]].astype(str).agg("/".join, axis=1)
    # A stratum of one image cannot be divided; such images go by their label alone.
    strata = strata.where(strata.map(strata.value_counts()) > 1, table.label.astype(str))
    counts = strata.value_counts()
    strata = strata.where(strata.map(counts) > 1, counts.index[0])
    n = size if isinstance(size, int) else int(np.ceil(size * len(table)))
    if min(n, len(table) - n) < strata.nunique():
        strata = table.label.astype(str)
    if n < 1 or min(n, len(table) - n) < strata.nunique():
        raise DataError(f"{len(table)} images are too few to draw {n} of them for {purpose}")
    random_state = seeding.stream_seed(seed, f"split {purpose}") % 2**32
    _, drawn = train_test_split(
        table.index, test_size=n, stratify=strata, random_state=random_state
    )
    return pd.Index(drawn)


def _external_split(
    table: pd.DataFrame, dropped: pd.DataFrame | None, path: Path
) -> tuple[pd.Series, int]:
    """Return the side of each image by a CSV with id or path, and split.

    Paths are absolute, below the CSV's folder, or the unique end of one. Lines about images that
    were `dropped` are known but say nothing; their number is returned too.
    """
    frame = files.load_csv(path, ("split",))
    by = next((name for name in ("id", "path") if name in frame.columns), None)
    if by is None:
        raise DataError(f"{path} needs a column id or path beside split")
    known, named = pd.concat([table, dropped])[by].reset_index(drop=True), frame[by]
    if by == "path":
        known = known.map(os.path.realpath)
        named = _resolved(named, known, path.parent)
    own = known[: len(table)]
    unknown = ~named.isin(known)
    for wrong, value, problem in (
        (~frame.split.isin(SIDES), frame.split, "split must be train, val or test, not {}"),
        (frame[by].isna(), frame[by], f"the {by} is missing"),
        (named.duplicated(), frame[by], "{!r} is named more than once"),
        (unknown, frame[by], f"no image has the {by} {{!r}}; {unknown.sum()} such line(s)"),
    ):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            culprit = "empty" if pd.isna(value.iloc[row]) else value.iloc[row]
            line = files.line_of(path, row)
            raise DataError(f"{path}, line {line}: {problem.format(culprit)}")
    side = own.map(frame.split.set_axis(named)).astype(object).fillna("excluded")
    return side, int((~named.isin(own)).sum())


def _resolved(named: pd.Series, known: pd.Series, folder: Path) -> pd.Series:
    """Return the whole paths that a CSV in `folder` names; see `_external_split`."""
    whole, ends = set(known), dict[int, dict[str, str]]()

    def resolve(name: str) -> str:
        given = Path(str(name).replace("\0", "?"))  # no path has a zero byte
        beside = os.path.realpath(folder / given)  # `given` if it is absolute
        if beside in whole:
            return beside
        n = len(given.parts)
        if n not in ends:  # the last n parts of all paths, looked up and not searched for
            last = known.map(lambda file: "/".join(file.split("/")[-n:]))
            ends[n] = dict(zip(last, known, strict=True))
            for several in last[last.duplicated()]:
                ends[n].pop(several, None)
        return ends[n].get(given.as_posix(), beside)

    return named.map(resolve)


def _check_sides(table: pd.DataFrame) -> None:
    for side in ("train", "val"):
        for label, word in ((0, "good"), (1, "bad")):
            if not ((table.split == side) & (table.label == label).fillna(False)).any():
                raise DataError(f"the split leaves no {word} image in {side}")
    hidden = table.id[table.label.isna() & table.split.isin(["train", "val"])]
    if len(hidden):
        raise DataError(
            f"{len(hidden)} images in train or val have no label, e.g. {hidden.iloc[0]!r}"
        )
    if not (table.split == "test").any():
        raise DataError("the split leaves no image in test")
