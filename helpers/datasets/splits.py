"""Split a source: seeded and stratified, and no image, near duplicate or group on two sides.

The column `together` of the table numbers what stays on one side: images with equal pixels, near
duplicates, and with `SPLIT="groups"` all images of one group (a module, a lot, a tool).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from helpers.core import seeding
from helpers.core.folds import stratified_folds
from helpers.core.style import LABEL_NAMES, SIDES
from helpers.datasets import DROPPED, DataError, Source, named, near_duplicates
from helpers.datasets.settings import SplitSettings

# If copies of one image are on two sides, the copy on the less protected side is left out.
PROTECTION = {"test": 0, "val": 1, "train": 2}
MOST_PARTS = 10  # a test set of groups is one or more of so many equal parts at most
VALIDATION_FOLDS = 5  # validation is one of so many parts where VAL_PER_CLASS does not apply


@dataclass(frozen=True)
class Split:
    """The table with its column `split` ("train", "val", "test" or "excluded").

    With CROSS_FIT it also has a column `fold`: 0, 1, ... in train and val, missing elsewhere. Val
    is fold 0.
    """

    table: pd.DataFrame
    # images with equal pixels (bits 0) or nearly equal ones: id, label, cluster, bits, two_labels
    duplicates: pd.DataFrame
    unnamed: int = 0  # images that an external CSV does not name or excludes, "excluded" too
    ungrouped: int = 0  # images without a group in a split by groups, "excluded" too

    @property
    def copies_left_out(self) -> int:
        return int((self.table.split == "excluded").sum()) - self.unnamed - self.ungrouped

    @property
    def report(self) -> str:
        """Lines that say how many duplicates there are, and what the split leaves out."""
        equal = self.duplicates.bits == 0
        counts = {
            "images that share their pixels with another image": equal.sum(),
            "other images with a near duplicate": (~equal).sum(),
            "left out, since a copy, a near duplicate or their group is in validation or test": (
                self.copies_left_out
            ),
            "left out, since SPLIT_CSV names no set for them": self.unnamed,
            "left out, since they have no group": self.ungrouped,
        }
        return "\n".join(f"{what}: {count}" for what, count in counts.items() if count)


def make_split(
    source: Source,
    digests: pd.Series,
    settings: SplitSettings,
    pairs: pd.DataFrame = near_duplicates.NO_PAIRS,
) -> Split:
    """Divide the images of a source.

        pairs, _ = near_duplicates.find(cache, settings.near_duplicate_bits)
        split = make_split(source, cache.table.digest, settings, pairs)
        train = split.table[split.table.split == "train"]

    Args:
        source: its table's `official_split` is respected; without one, `test_fraction` of the
            images is split off: stratified on the label and the source's `stratify` columns, or
            whole groups, stratified on the label.
        digests: digest of each image's pixels, in the table's order.
        settings: the kind of split, seed, sizes, number of folds, or an external `split_csv`.
        pairs: near duplicates, `first, second, bits` (row numbers of the table).

    Raises:
        DataError: too few images or groups for the split, no column `group`, or an external CSV
            that does not fit.
    """
    table = source.table.reset_index(drop=True).assign(digest=digests.to_numpy())
    by_groups = settings.split == "groups"
    if by_groups and "group" not in table:
        raise DataError(
            f"SPLIT='groups' needs the group of each image, and {source.name} has none: name them "
            "in a LABELS_CSV (columns path and group), or use SPLIT='random'"
        )
    columns = (table.digest, table.group) if by_groups else (table.digest,)
    table["together"] = near_duplicates.clusters(len(table), pairs, *columns)
    unnamed = ungrouped = 0
    by_source, given = table.assign(label=_source_labels(table)), None
    if settings.split_csv:
        path, allowed = Path(settings.split_csv).expanduser(), {"split": [*SIDES, "excluded"]}
        lines = named.read_named(path, source, ("split",), allowed)
        table["split"] = lines.split.fillna("excluded").to_numpy(dtype=object)
        unnamed = int((table.split == "excluded").sum())
        given = lines.get("fold")
    else:
        draw = _group_split if by_groups else _random_split
        table["split"] = draw(by_source, source.stratify, settings)
    if by_groups:
        # a test set of the source's own may hide the groups
        without = table.group.isna() & table.split.isin(["train", "val"])
        table["split"], ungrouped = table.split.mask(without, "excluded"), int(without.sum())
    rank = table.split.map(PROTECTION)
    leaking = rank.notna() & (rank > rank.groupby(table.together).transform("min"))
    table["split"] = table.split.mask(leaking, "excluded")
    if settings.cross_fit:
        pool = table.index[table.split.isin(["train", "val"]) & table.label.notna()]
        if given is None:
            fold = _folds(by_source.loc[pool], source.stratify, settings, settings.cross_fit)
        else:
            fold = _given_folds(given[pool], table.loc[pool], settings)
        table["fold"] = fold.reindex(table.index).astype("Int64")
        table.loc[fold.index, "split"] = np.where(fold == 0, "val", "train")
    _check_sides(table, settings)
    names = ["id", "path", "label", "split", *(["fold"] if settings.cross_fit else [])]
    more = table.columns.drop([*names, "official_split", "together"])
    return Split(table[[*names, *more]], _duplicates(table, pairs), unnamed, ungrouped)


def _duplicates(table: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return `id, label, cluster, bits, two_labels` of all images that have a (near) duplicate.

    `bits` is the distance of the nearest one's hash, 0 if the pixels are equal.
    """
    table = table.assign(cluster=near_duplicates.clusters(len(table), pairs, table.digest))
    table = table[table.cluster.duplicated(keep=False)]
    ends = pd.concat([pairs.set_index(end).bits for end in ("first", "second")])
    bits = ends.groupby(level=0).min().reindex(table.index)
    labels = table.groupby("cluster").label.transform("nunique")
    table = table.assign(
        bits=bits.mask(table.digest.duplicated(keep=False), 0).astype(int),
        cluster=table.groupby("cluster").ngroup(),
        two_labels=(labels > 1).astype(bool),  # also without any row
    )
    return table.sort_values(["cluster", "id"])[["id", "label", "cluster", "bits", "two_labels"]]


def subsample_source(source: Source, n: int | None, seed: int) -> Source:
    """Keep at most n images, each class in proportion; None keeps all."""
    table = source.table
    if n is None or len(table) <= n:
        return source
    side = table.official_split + _label_words(table.assign(label=_source_labels(table)))
    shuffled = side.sample(frac=1, random_state=seeding.stream_seed(seed, "subsample") % 2**32)
    # Spread each class evenly over [0, 1) and take the first n: every class in proportion.
    place = shuffled.groupby(shuffled).cumcount() / side.map(side.value_counts())[shuffled.index]
    return _keep(source, table.index.isin(place.sort_values(kind="stable").index[:n]))


def keep_readable(source: Source, ids: pd.Series) -> Source:
    """Drop the images that the cache had to leave out; `ids` are those that it holds."""
    return _keep(source, source.table.id.isin(ids).to_numpy())


def _keep(source: Source, kept: np.ndarray) -> Source:
    """Return the source with some rows of its table alone; it remembers the others."""
    dropped = pd.concat([source.dropped, source.table.loc[~kept, DROPPED]])
    table = source.table[kept].reset_index(drop=True)
    return dataclasses.replace(source, table=table, dropped=dropped)


def describe(source: Source, split: Split, unreadable: tuple[tuple[str, str], ...]) -> dict:
    """Return what run.json and later notebooks must know about the data."""
    counts = split.table.groupby(["split", _label_words(split.table)]).size()
    official = pd.concat([source.table, source.dropped]).official_split == "test"
    in_test = int((split.table.split == "test").sum())
    return {
        "label_mapping": source.label_mapping,
        "kinds": list(source.kinds),
        "attribution": source.attribution,
        "caveats": source.caveats,
        "images": {f"{side} {label}": int(n) for (side, label), n in counts.items()},
        "left_out": list(source.left_out),
        "test_left_out": max(0, int(official.sum()) - in_test),  # of the source's test set
        "unreadable": [Path(path).name for path, _ in unreadable],
    }


def _source_labels(table: pd.DataFrame) -> pd.Series:
    """Return the labels before LABELS_CSV changed any: a corrected one moves no image."""
    return table.get("label_before", table.label).fillna(table.label)


def _label_words(table: pd.DataFrame) -> pd.Series:
    """Return the labels as text, "hidden" for missing ones: NaN would drop out of every count."""
    return table.label.map({0: "0", 1: "1"}).fillna("hidden")


def _random_split(
    table: pd.DataFrame, stratify: tuple[str, ...], settings: SplitSettings
) -> pd.Series:
    side = pd.Series("train", index=table.index)
    first = ~table.together.duplicated()  # the first of several copies is drawn, the others follow
    is_official = (table.official_split == "test").any()
    if is_official:
        side[table.official_split == "test"] = "test"
    else:
        pool = table[first & table.label.notna()]
        side[_draw(pool, stratify, settings.test_fraction, settings.seed, "test")] = "test"
    if not settings.cross_fit:  # otherwise validation is a fold
        tested = table.loc[side == "test", "together"]
        free = first & (side == "train") & table.label.notna() & ~table.together.isin(tested)
        side[_balanced(table[free], stratify, settings)] = "val"
    if not is_official:
        side = table.together.map(side[first].set_axis(table.together[first]))
        # Copies would unbalance validation; one of each image is enough there.
        side[~first & (side == "val")] = "excluded"
    return side


def _balanced(pool: pd.DataFrame, stratify: tuple[str, ...], settings: SplitSettings) -> pd.Index:
    """Draw the same number of good and bad images, `val_per_class`, as in the report."""
    drawn, n = [], settings.val_per_class
    for label, word in LABEL_NAMES.items():
        of_class = pool[pool.label == label]
        if len(of_class) < 2 * n:
            raise DataError(
                f"VAL_PER_CLASS={n} needs at least {2 * n} different {word} images for training "
                f"and validation, and there are {len(of_class)}{_joined(settings)}: add images "
                f"(MAX_IMAGES={settings.max_images}), or pass -p VAL_PER_CLASS={len(of_class) // 2}"
            )
        drawn += [*_draw(of_class, stratify, n, settings.seed, f"val {word}")]
    return pd.Index(drawn)


def _group_split(
    table: pd.DataFrame, stratify: tuple[str, ...], settings: SplitSettings
) -> pd.Series:
    """Put whole groups on each side: about `test_fraction`, and one of five parts of the rest."""
    side = pd.Series("train", index=table.index)
    known = table.label.notna() & table.group.notna()
    if (table.official_split == "test").any():
        side[table.official_split == "test"] = "test"
    else:
        if not known.any():
            raise DataError("SPLIT='groups': no image has a group; use SPLIT='random'")
        if not 1 / MOST_PARTS <= settings.test_fraction <= 0.5:
            raise DataError("TEST_FRACTION must be 0.1 to 0.5 with SPLIT='groups'")
        share = Fraction(settings.test_fraction).limit_denominator(MOST_PARTS)
        drawn = _folds(table[known], stratify, settings, share.denominator, "test")
        tested = table.together[drawn.index[drawn < share.numerator]]
        side[table.together.isin(tested) & (side == "train")] = "test"  # also with a hidden label
    tested = table.together[side == "test"]
    pool = table[known & (side == "train") & ~table.together.isin(tested)]
    if pool.empty:
        raise DataError(
            "every group has images in the source's own test set, so none is left for training; "
            "use SPLIT='random'"
        )
    if not settings.cross_fit:
        drawn = _folds(pool, stratify, settings, VALIDATION_FOLDS, "val")
        side[drawn.index[drawn == 0]] = "val"
    return side


def _folds(
    pool: pd.DataFrame,
    stratify: tuple[str, ...],
    settings: SplitSettings,
    n: int,
    purpose: str = "folds",
) -> pd.Series:
    """Return the fold 0..n-1 of each image of a pool: stratified, and none divides `together`."""
    random_state = seeding.stream_seed(settings.seed, f"split {purpose}") % 2**32
    if settings.split == "groups":
        drawn, strata, groups, what = pool, pool.label.astype(int), pool.together, "groups"
    else:
        drawn = pool.drop_duplicates("together")
        strata, groups, what = _strata(drawn, stratify, n), None, "different images"
    counts = drawn.groupby("label").together.nunique().reindex([0, 1]).fillna(0).astype(int)
    if counts.min() < n:
        setting = {"test": "another TEST_FRACTION", "folds": "a lower CROSS_FIT"}
        raise DataError(
            f"{n} {purpose} parts need {n} {what} with good and {n} with bad images; there are "
            f"{counts[0]} and {counts[1]}{_joined(settings)}. Add images, or set "
            f"{setting.get(purpose, 'CROSS_FIT=2 or 3')}"
        )
    fold = pd.Series(stratified_folds(strata, n, random_state, groups), drawn.together)
    return pool.together.map(fold.groupby(level=0).first())


def _joined(settings: SplitSettings) -> str:
    """Return why there may be fewer images or groups than were given."""
    hint = " (near duplicates count as one: a lower NEAR_DUPLICATE_BITS keeps more of them apart)"
    return hint if settings.near_duplicate_bits else ""


def _given_folds(given: pd.Series, known: pd.DataFrame, settings: SplitSettings) -> pd.Series:
    """Return the folds that SPLIT_CSV names for images with `split` and `together`."""
    fold = pd.to_numeric(given, errors="coerce")
    if set(fold) != set(range(settings.cross_fit)):
        problem = f"each image in train or val needs a fold from 0 to {settings.cross_fit - 1}"
    elif other := int(((fold == 0) != (known.split == "val")).sum()):
        problem = f"fold 0 is val and the others are train; images that are not so: {other}"
    elif divided := int((fold.groupby(known.together).transform("nunique") > 1).sum()):
        problem = f"images whose copy, near duplicate or group is in another fold: {divided}"
    else:
        return fold.astype(int)
    raise DataError(f"{settings.split_csv}: {problem}; remove the column fold to draw new ones")


def _strata(table: pd.DataFrame, stratify: tuple[str, ...], least: int) -> pd.Series:
    """Return the stratum of each row; rows of one with fewer than `least` go by their label."""
    labels = table.label.astype(str)
    strata = table[["label", *stratify]].astype(str).agg("/".join, axis=1)
    return strata.where(strata.map(strata.value_counts()) >= least, labels)


def _draw(
    table: pd.DataFrame, stratify: tuple[str, ...], size: float | int, seed: int, purpose: str
) -> pd.Index:
    """Draw a stratified part: a fraction or a number of the rows."""
    strata = _strata(table, stratify, least=2)  # a stratum of one image cannot be divided
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


def _check_sides(table: pd.DataFrame, settings: SplitSettings) -> None:
    sets = {side: table.split == side for side in SIDES}
    for fold in range(settings.cross_fit):
        sets[f"fold {fold}"] = (table.fold == fold).fillna(False)
    if not sets.pop("test").any():
        raise DataError("the split leaves no image in test")
    for name, rows in sets.items():
        labels = table.label[rows]
        for label, word in LABEL_NAMES.items():
            if not (labels == label).any():
                advice = "change SEED, or lower CROSS_FIT if it is set, or add images"
                advice = "change SPLIT_CSV" if settings.split_csv else advice
                raise DataError(f"the split leaves no {word} image in {name}: {advice}")
        if labels.isna().any():
            hidden = table.id[labels.index[labels.isna()][0]]
            raise DataError(
                f"images in {name} without a label: {labels.isna().sum()}, e.g. {hidden!r}"
            )
