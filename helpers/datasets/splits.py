"""Split a source: seeded, stratified, with no image, near duplicate or group in two sets.

The column `together` of the table numbers what stays in one set: images with equal pixels, and all
images of one group (a module, a lot, a tool) or, if groups are not held out, near duplicates.
"""

import contextlib
import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from helpers.core import seeding
from helpers.core.members import stratified_folds
from helpers.core.style import LABEL_NAMES
from helpers.datasets import DROPPED, DataError, Source, named, near_duplicates
from helpers.datasets.settings import SplitSettings
from helpers.datasets.split_file import FEWEST_BAD

# If copies of one image are in two sets, the copy in the less protected set is left out.
PROTECTION = {"test": 0, "val": 1, "train": 2, "review": 2}
MOST_PARTS = 10  # a test set of groups is one or more of so many equal parts at most
GOOD_PARTS = 3  # validation is one of so many parts of the good images if there are few bad ones
NEAR = "(near duplicates count as one, but not with NEAR_DUPLICATE_BITS=0)"
VALIDATION_FOLDS = 5  # validation is one of so many parts where VAL_PER_CLASS does not apply
LEAST_TRAINED = FEWEST_BAD // 2  # images of each class to train on if whole groups are held out
MANY_NEAR = 0.2  # a larger share of near duplicates is probably of different parts


@dataclass(frozen=True)
class Split:
    """The table with its column `split` ("train", "val", "test", "review" or "excluded").

    Images that only a review has labelled are "review": for training only, see `members.sides`.
    With CROSS_FIT a column `fold` has 0 in val and 1, 2, ... in train; it is missing elsewhere.
    """

    table: pd.DataFrame
    duplicates: pd.DataFrame  # (nearly) equal images: id, label, cluster, two_labels
    report: str  # lines that say how many images the split leaves out ("excluded"), and why


def make_split(
    source: Source,
    digests: pd.Series,
    settings: SplitSettings,
    pairs: pd.DataFrame = near_duplicates.NO_PAIRS,
) -> Split:
    """Split the images of a source into training, validation and test.

    The source's `official_split` is respected. Without one, `test_fraction` of the images is split
    off: whole groups, stratified on the label, or else images, stratified on the label and the
    source's `stratify` columns. With fewer than `FEWEST_BAD` different bad images, training has
    only good ones.

    `digests` are those of each image's pixels, `pairs` the near duplicates (row numbers).
    """
    if settings.split == "auto":
        return _with_known_groups(source, digests, settings, pairs)
    table = source.table.reset_index(drop=True).assign(digest=digests.to_numpy())
    by_groups = settings.split == "groups"
    if by_groups and ("group" not in table or table.group.isna().all()):
        raise DataError(
            f"SPLIT='groups' needs the group of each image, and {source.name} has none: name them "
            "in a LABELS_CSV (columns path and group) or by subfolders (GROUP_LEVEL=1), or use "
            "SPLIT='random'"
        )
    why, report = "SPLIT_CSV names no set for them", list[str]()
    linked, beside, alike = pairs, pairs[:0], [table.digest]
    if by_groups:
        # a test set of the source's own cannot be changed: it may hold groups of the training
        groups = table.group.mask(table.official_split == "test")
        shared = set(table.group[groups.isna()].dropna()) & set(groups.dropna())
        words = "groups of training and validation that the source's own test set has too"
        report += [f"{words}: {len(shared)}"] * bool(shared)
        # a camera that stands still makes all parts look alike: nothing is joined by looks
        ends = [groups.iloc[pairs[end]].reset_index(drop=True) for end in ("first", "second")]
        alone = ends[0].isna() | ends[1].isna()
        apart = (ends[0] != ends[1]) & ~alone
        linked, beside, alike = pairs[:0], pairs[alone.to_numpy(dtype=bool)], [table.digest, groups]
        if apart.any():
            way = "if they show one part, give it one group in a LABELS_CSV"
            report.append(f"pairs of near duplicates in two groups: {apart.sum()} ({way})")
    elif (near := np.unique(pairs[["first", "second"]]).size) > MANY_NEAR * len(table):
        way = "if these are different parts before a fixed camera, set NEAR_DUPLICATE_BITS=0"
        report.append(f"near duplicates of others: {near} of {len(table)} images; {way}")
    table["together"] = near_duplicates.clusters(len(table), linked, *alike)
    table["cluster"] = near_duplicates.clusters(len(table), pairs, table.digest)
    by_source = table.assign(label=_source_labels(table))
    strata = by_source[["label", *source.stratify]].astype(str).fillna("hidden")
    by_source["stratum"] = strata.agg("/".join, axis="columns")
    is_bad = ((table.label == 1) & (table.official_split != "test")).fillna(False)
    different = table.digest if by_groups else table.together
    has_few_bad = not settings.split_csv and different[is_bad].nunique() < FEWEST_BAD

    def leave_out(rows: pd.Series, why: str) -> None:
        table["split"] = table.split.mask(rows, "excluded")
        if rows.any():
            report.append(f"left out, since {why}: {rows.sum()}")

    if settings.split_csv:
        table["split"] = _sides_of_csv(Path(settings.split_csv).expanduser(), source)
    elif has_few_bad:
        table["split"] = _hold_out_good(table, settings)
        why = "they are bad, and good ones of their group are in training"
    else:
        asked = settings
        table["split"], settings = _draw_sides(by_source, asked)
        if settings != asked:
            way = "each image is judged out of fold, as with CROSS_FIT=5 and TEST_FRACTION=0"
            report.append(f"VAL_PER_CLASS={asked.val_per_class} is too large: {way}")
    if "review" in table:
        of_review = table.label.isna() & table.review.notna() & (table.official_split != "test")
        table["split"] = table.split.mask(of_review, "review")
        table["label"] = table.label.mask(of_review, table.review)
    leave_out(table.split == "excluded", why)
    if by_groups:  # a test set of the source's own may hide the groups
        alone = table.group.isna() & table.split.isin(["train", "val", "review"])
        leave_out(alone, "they have no group")
    rank = table.split.map(PROTECTION)
    leaking = rank > rank.groupby(table.together).transform("min")
    for one, other in (("first", "second"), ("second", "first")):  # a group cannot follow it
        less = rank.iloc[beside[one]].to_numpy() > rank.iloc[beside[other]].to_numpy()
        leaking.iloc[beside[one][less]] = True
    leave_out(leaking, "a copy, a near duplicate or their group is in validation or test")
    if settings.cross_fit and not has_few_bad:
        pool = table.split.isin(["train", "val"]) & table.label.notna()
        fold = _folds(by_source[pool], settings, settings.cross_fit, "folds")
        table["fold"] = fold.reindex(table.index).astype("Int64")
        table.loc[pool, "split"] = np.where(fold == 0, "val", "train")
        if by_groups and (most := table.group[pool].value_counts(normalize=True)).iloc[0] > 0.5:
            line = f"{most.index[0]} holds {most.iloc[0]:.0%} of the images; models judged on it"
            report.append(f"{line} learn from few (smaller groups: GROUP_LEVEL=2 or LABELS_CSV)")
        beside = (table.split == "review") & table.together.isin(table.together[pool])
        leave_out(beside, "a review labelled them and a near duplicate or their group has a fold")
    _check_sides(table, settings, has_few_bad)
    if settings.split == "random" and "group" in table:
        sides = table[table.split.isin(["train", "val", "test"])].groupby("group").split.nunique()
        if (mixed := sides > 1).any():
            report.append(f"groups that are on several sides of the split: {mixed.sum()}")
    first = ["id", "path", "label", "split", "fold"]
    inner = ["together", "cluster", "official_split", "official_fold"]
    more = table.columns.difference([*first, *inner], sort=False)
    return Split(table.filter([*first, *more]), _duplicates(table), "\n".join(report))


def _with_known_groups(
    source: Source, digests: pd.Series, settings: SplitSettings, pairs: pd.DataFrame
) -> Split:
    """Split by whole groups if they are known, else by images; the report says how, and why.

    If there are too few groups for the settings, judge out of fold, in as many folds as possible.
    """
    groups = source.table.get("group", pd.Series(dtype=object))

    def drawn(line: str, **changes: Any) -> Split:
        split = make_split(source, digests, dataclasses.replace(settings, **changes), pairs)
        return dataclasses.replace(split, report="\n".join(filter(None, [line, split.report])))

    if settings.split_csv or groups.nunique() < 2:
        return drawn("", split="random")
    with contextlib.suppress(DataError):
        line = f"none is in training and in validation; groups: {groups.nunique()}"
        return drawn(f"SPLIT=groups: {line}", split="groups")
    good, bad = (groups[source.table.label.eq(k).fillna(False)].nunique() for k in (0, 1))
    few = f"since there are few: {good} with good parts, {bad} with bad ones"
    for n in range(settings.cross_fit or VALIDATION_FOLDS, 1, -1):
        with contextlib.suppress(DataError):
            line = f"SPLIT=groups, each judged out of fold (CROSS_FIT={n}, TEST_FRACTION=0), {few}"
            return drawn(line, split="groups", cross_fit=n, test_fraction=0.0)
    line = "SPLIT=random: scores are too good for a new group. To hold out whole ones, add good and"
    return drawn(f"{line} bad parts of further groups, {few}", split="random")


def _sides_of_csv(path: Path, source: Source) -> np.ndarray:
    """Return the side of each image in a SPLIT_CSV; refuse labels that contradict the images."""
    words = [*named.LABEL_WORDS, np.nan]
    sides = [*PROTECTION, "excluded"]
    lines = named.read_named(path, source, ("split",), {"split": sides, "label": words})
    if "label" in lines:
        said, label = lines.label.map(named.LABEL_WORDS).astype("Int64"), source.table.label
        before = source.table.get("label_before", label).fillna(label)  # by LABELS_CSV
        if (wrong := (said.ne(label) & said.ne(before)).fillna(False)).any():
            name, other = source.table.id[wrong].iloc[0], LABEL_NAMES[int(said[wrong].iloc[0])]
            raise DataError(
                f"{path} labels {name!r} as {other}, the images do not ({wrong.sum()} such "
                "line(s)): correct its column label or remove it, or give the same LABELS_CSV again"
            )
    return lines.split.fillna("excluded").to_numpy(dtype=object)


def _duplicates(table: pd.DataFrame) -> pd.DataFrame:
    """Return `id, label, cluster, two_labels` of all images that have a (near) duplicate."""
    table = table.loc[table.cluster.duplicated(keep=False), ["id", "label", "cluster"]]
    clusters = table.groupby("cluster")
    two_labels = (clusters.label.transform("nunique") > 1).astype(bool)  # also without any row
    table = table.assign(cluster=clusters.ngroup(), two_labels=two_labels)
    return table.sort_values(["cluster", "id"])


def subsample_source(source: Source, n: int | None, seed: int) -> Source:
    """Keep at most n images, each class in proportion; None keeps all."""
    table = source.table
    if n is None or len(table) <= n:
        return source
    side = table.official_split + _source_labels(table).astype("string").fillna("hidden")
    shuffled = side.sample(frac=1, random_state=seeding.stream_seed(seed, "subsample") % 2**32)
    # Spread each class evenly over [0, 1) and take the first n: every class in proportion.
    place = shuffled.groupby(shuffled).cumcount() / side.map(side.value_counts())[shuffled.index]
    return keep_readable(source, table.id[place.sort_values(kind="stable").index[:n]])


def keep_readable(source: Source, ids: pd.Series) -> Source:
    """Keep the images with these ids, as those that the cache holds; `dropped` has the others."""
    kept = source.table.id.isin(ids)
    dropped = pd.concat([source.dropped, source.table.loc[~kept, DROPPED]])
    table = source.table[kept].reset_index(drop=True)
    return dataclasses.replace(source, table=table, dropped=dropped)


def describe(source: Source, split: Split, unreadable: Iterable[str]) -> dict:
    """Return the facts about the data that run.json and later notebooks need."""
    labels = split.table.label.astype("string").fillna("hidden")
    counts = split.table.groupby(["split", labels]).size()
    official = pd.concat([source.table, source.dropped]).official_split == "test"
    in_test = int((split.table.split == "test").sum())
    return {
        "label_mapping": source.label_mapping,
        "kinds": list(source.kinds),
        "attribution": source.attribution,
        "caveats": source.caveats,
        "report": split.report,
        "images": {f"{side} {label}": int(n) for (side, label), n in counts.items()},
        "left_out": list(source.left_out),
        "test_left_out": max(0, int(official.sum()) - in_test),  # of the source's test set
        "unreadable": list(unreadable),
        "submission": dict(source.submission),
    }


def _source_labels(table: pd.DataFrame) -> pd.Series:
    """Return the labels before LABELS_CSV changed any, so that no correction moves an image.

    If fewer than `FEWEST_BAD` images were bad before, return the current labels.
    """
    before = table.get("label_before", table.label).fillna(table.label)
    return before if (before == 1).sum() >= FEWEST_BAD else table.label


def _hold_out_good(table: pd.DataFrame, settings: SplitSettings) -> pd.Series:
    """Put a third of the good images and all bad ones into validation, the others into training.

    A bad image is left out if good ones of its group are in training. There is no choice between
    models, so the only test set is the source's own.
    """
    by_groups = settings.split == "groups"
    side = table.official_split.where(table.official_split == "test", "train")
    drawable = ~table.together.isin(table.together[side == "test"])  # others are left out
    drawable &= table.group.notna() if by_groups else True
    bad = drawable & (table.label == 1).fillna(False)
    good = table.together[drawable & (table.label == 0)]
    if good.nunique() < 2:
        raise DataError("all good images are of one group, or copies of one: add others")
    random_state = seeding.stream_seed(settings.seed, "split good") % 2**32
    fold = stratified_folds(np.zeros(len(good)), GOOD_PARTS, random_state, good)
    shown = set(table.together[bad]) - (set(good) if by_groups else set())
    side[drawable & table.together.isin({*good[fold == 0], *shown})] = "val"
    return side.mask(bad & (side == "train"), "excluded")


def _draw_sides(table: pd.DataFrame, settings: SplitSettings) -> tuple[pd.Series, SplitSettings]:
    """Draw the test set, unless the source has one, and the validation set, unless it is a fold.

    A random split draws the first of several copies: the others follow it into the test set, and
    are left out of the training if it is in validation. If a class is too small for
    `val_per_class`, the returned settings ask for folds and no test set.
    """
    by_groups, labelled = settings.split == "groups", table.label.notna()
    first = ~table.together.where(labelled).duplicated()  # of those that can be drawn
    drawable = labelled & (table.group.notna() if by_groups else first)
    tested = table.official_split == "test"
    if by_groups and "official_fold" in table and settings.test_fraction and not tested.any():
        # whole published folds, chosen beforehand: the first ones for test, the last for validation
        n = 1 + int(table.official_fold.max())
        tested = table.official_fold < max(1, round(settings.test_fraction * n))
        if not settings.cross_fit:
            side = pd.Series("train", index=table.index).mask(table.official_fold == n - 1, "val")
            return side.mask(tested, "test"), settings
    elif settings.test_fraction and not tested.any():
        drawn = _draw(table[drawable], settings.test_fraction, settings, "test")
        if by_groups and (table.loc[drawn].groupby("label").together.nunique() > 1).sum() < 2:
            why = "one group in test says nothing about others"
            raise DataError(f"{why}: add groups, or set TEST_FRACTION=0 and CROSS_FIT=5")
        tested = table.together.isin(table.together[drawn])
    side = pd.Series("train", index=table.index).mask(tested, "test")
    pool = table[drawable & ~table.together.isin(table.together[tested])]
    if by_groups and not settings.cross_fit:
        side[_draw(pool, 1 / VALIDATION_FOLDS, settings, "val")] = "val"
    if by_groups or settings.cross_fit:  # validation is a fold
        return side, settings
    classes = {word: pool[pool.label == label] for label, word in LABEL_NAMES.items()}
    n = settings.val_per_class  # as many good as bad ones, as in the report
    if min(map(len, classes.values())) < 2 * n:
        folds = dataclasses.replace(settings, cross_fit=VALIDATION_FOLDS, test_fraction=0.0)
        return _draw_sides(table, folds)
    for word, images in classes.items():
        side[_draw(images, n, settings, f"val {word}")] = "val"
    return side, settings


def _folds(pool: pd.DataFrame, settings: SplitSettings, n: int, purpose: str) -> pd.Series:
    """Return the fold 0..n-1 of each image of a pool: stratified; equal `together` share one.

    They are the source's own folds of groups, if these are as many and none is the test set.
    """
    if settings.split == "groups" and not settings.test_fraction and "official_fold" in pool:
        # copies may join groups of two folds: their images go where the first is
        fold = pool.official_fold.groupby(pool.together).transform("first").astype(int)
        if set(fold) == set(range(n)):
            return fold
    random_state = seeding.stream_seed(settings.seed, f"split {purpose}") % 2**32
    if settings.split == "groups":
        drawn, strata, groups, what = pool, pool.label.astype(int), pool.together, "groups"
    else:
        drawn = pool.drop_duplicates("together")
        strata, groups, what = _strata(drawn, n), None, f"different images {NEAR}"
    counts = drawn.groupby("label").together.nunique().reindex([0, 1], fill_value=0)
    if (least := counts.min()) < n:
        way = f", or set TEST_FRACTION=0 and CROSS_FIT={least}" if least > 1 else ""
        raise DataError(
            f"{n} parts for {purpose} need {n} {what} with good and {n} with bad images; there are "
            f"{counts[0]} and {counts[1]}. Add images{way}"
        )
    fold = pd.Series(stratified_folds(strata, n, random_state, groups), drawn.together)
    return pool.together.map(fold.groupby(level=0).first())


def _strata(pool: pd.DataFrame, least: int) -> pd.Series:
    """Return the stratum of each row.

    Strata of fewer than `least` rows are joined by label; if the result is still too small, it
    joins the label's largest stratum.
    """
    strata = pool.stratum.mask(pool.stratum.map(pool.stratum.value_counts()) < least, pool.label)
    strata = strata.astype(str)
    largest = strata.groupby(pool.label).agg(lambda same: same.value_counts().idxmax())
    return strata.mask(strata.map(strata.value_counts()) < least, pool.label.map(largest))


def _draw(pool: pd.DataFrame, size: float, settings: SplitSettings, purpose: str) -> pd.Index:
    """Draw images, stratified: a fraction or a number, or whole groups with about a fraction."""
    if settings.split == "groups":
        share = Fraction(size).limit_denominator(MOST_PARTS)
        fold = _folds(pool, settings, share.denominator, purpose)
        return fold.index[fold < share.numerator]
    n = size if isinstance(size, int) else int(np.ceil(size * len(pool)))
    random_state = seeding.stream_seed(settings.seed, f"split {purpose}") % 2**32
    for strata in (_strata(pool, least=2), pool.label.astype(str)):
        with contextlib.suppress(ValueError):  # a stratum is too small to be divided
            options = {"test_size": n, "stratify": strata, "random_state": random_state}
            return pd.Index(train_test_split(pool.index, **options)[1])
    raise DataError(f"{len(pool)} images are too few to draw {n} of them for {purpose}")


def _check_sides(table: pd.DataFrame, settings: SplitSettings, has_few_bad: bool) -> None:
    """Raise DataError if test is empty, or another set lacks a class or has hidden labels.

    With few bad images there are no folds, and test is the source's own.
    """
    if settings.test_fraction and not has_few_bad and not (table.split == "test").any():
        raise DataError("the split leaves no image in test")
    sets = {side: table[table.split == side] for side in ("train", "val")}
    for fold in range(settings.cross_fit if "fold" in table else 0):
        sets[f"fold {fold}"] = table[(table.fold == fold).fillna(False)]
        sets[f"training without fold {fold}"] = table[(table.fold != fold).fillna(False)]
    for name, images in sets.items():
        least = 1 if settings.split_csv or not name.startswith("train") else LEAST_TRAINED
        for label in [0] if has_few_bad else LABEL_NAMES:
            if (count := int((images.label == label).sum())) < least:
                left = f"{count or 'no'} {LABEL_NAMES[label]} image in {name} (at least {least})"
                way = "SPLIT_CSV" if settings.split_csv else f"SEED, CROSS_FIT or SPLIT {NEAR}"
                raise DataError(f"the split leaves {left}: add images, or change {way}")
        if (hidden := images.id[images.label.isna()]).size:
            raise DataError(f"{len(hidden)} image(s) in {name} have no label: {hidden.iloc[0]!r}")
