"""Write the sentences of notebook 01 about the images of a run, computed from its tables.

Each is "headline: the numbers", so that `style.headline` makes it the title of a picture. A
function returns "" if there is nothing to say.
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pandas as pd
from scipy import stats

from helpers.core.style import SIDES, SIGNIFICANT, p_value, percent

UNITS = ("module", "lot", "wafer")  # what groups may be called, as "module07" is
FEWEST = 10  # images that a group needs for its bad rate to be quoted


def images(split: pd.DataFrame, label_mapping: str) -> str:
    """Say how many images there are, and how many of them are bad."""
    labels = split.label.dropna()
    hidden = len(split) - len(labels)
    whose = f"the {len(labels):,} labelled ones" if hidden else "them"
    return f"{len(split):,} images, {_per_cent(labels.mean())} of {whose} bad; {label_mapping}."


def sides(split: pd.DataFrame) -> str:
    """Say how many images each set of the split has, and how many of these are bad."""
    parts = []
    for side, word in SIDES.items():
        labels = split.label[split.split == side]
        if len(labels):
            share = "labels hidden" if labels.isna().all() else f"{_per_cent(labels.mean())} bad"
            parts.append(f"{word} {len(labels):,} ({share})")
    text = f"Images of each set: {', '.join(parts)}"
    if "fold" in split:
        text += f"; training and validation are {split.fold.nunique()} folds"
    more = {"labelled in a review, for training alone": "review", "left out": "excluded"}
    for words, side in more.items():
        if count := int((split.split == side).sum()):
            text += f"; {words}: {count:,}"
    return f"{text}."


def duplicates(split: pd.DataFrame, duplicates: pd.DataFrame) -> str:
    """Say how many images have a copy or a near duplicate (`Split.duplicates`)."""
    if duplicates.empty:
        return ""
    used = duplicates.merge(split.loc[split.split != "excluded", ["id", "split"]], on="id")
    apart = int((used.groupby("cluster").split.nunique() > 1).sum())
    sizes = duplicates.cluster.value_counts()
    return (
        f"{len(duplicates):,} of {len(split):,} images have a copy or a near duplicate; clusters: "
        f"{len(sizes):,}, the largest of {sizes.max()} images; clusters in two sets: {apart}; "
        f"images in a cluster with both labels: {duplicates.two_labels.sum()}."
    )


def unit(split: pd.DataFrame) -> str:
    """Return what the groups are called: a word of `UNITS` or "group"; "" if there are none."""
    if "group" not in split or split.group.isna().all():
        return ""
    names = split.group.dropna().astype(str)
    return next((word for word in UNITS if names.str.startswith(word).all()), "group")


def in_order(split: pd.DataFrame) -> bool:
    """Return True if the files follow the groups: few groups are in more than one place."""
    groups = split.group.fillna("")
    return bool(groups.ne(groups.shift()).sum() <= 2 * groups.nunique())


def file_order(split: pd.DataFrame) -> str:
    """Say if neighbouring files share their label more often than in a random order.

    It is the runs test of Wald and Wolfowitz (1940), summed over the folders: a folder with images
    of one class says nothing.
    """
    known = split[split.label.notna() & (split.split != "review")]  # those judge nothing
    changes = expected = variance = neighbours = 0.0
    for _, labels in known.groupby(known.path.map(lambda path: str(PurePath(path).parent))).label:
        n, n_bad = len(labels), int(labels.sum())
        if n_bad in (0, n):
            continue
        pairs = 2 * n_bad * (n - n_bad)
        changes += np.count_nonzero(np.diff(labels.to_numpy(dtype=np.int64)))
        expected += pairs / n
        variance += pairs * (pairs - n) / (n**2 * (n - 1))
        neighbours += n - 1
    if variance <= 0 or changes >= expected:
        return ""
    p = 2 * stats.norm.sf((expected - changes) / np.sqrt(variance))
    if p >= SIGNIFICANT:
        return ""
    share, by_chance = (_per_cent(1 - n / neighbours) for n in (changes, expected))
    what = "Neighbouring files are alike, and a random split divides them"
    if (word := unit(known)) and in_order(known):
        large = known[known.group.map(known.group.value_counts()) >= FEWEST]
        rates = large.groupby("group").label.mean()
        if len(rates) > 1 and _rates_p(large) < SIGNIFICANT:
            what = f"The bad rate jumps from {word} to {word}, from {100 * rates.min():.0f} to "
            what += f"{_per_cent(rates.max())}, so the {word} predicts the label"
    return (
        f"{what}: {share} of the neighbouring files share their label, in a random order "
        f"{by_chance} would (runs test, {p_value(p)})."
    )


def groups(split: pd.DataFrame, random_auc: float, apart_auc: float) -> str:
    """Say how well the group alone predicts the label: its AUC on a random and on a group split."""
    known, word = split[split.label.notna() & split.group.notna()], unit(split)
    p = _rates_p(known)
    numbers = f"AUC {percent(random_auc)} with a random split, and {percent(apart_auc)} when whole "
    numbers += f"{word}s are held out"
    if p >= SIGNIFICANT or random_auc <= 0.5:
        return f"The {word} alone does not tell the classes apart: {numbers} ({p_value(p)})."
    return (
        f"Knowing only the {word}, without a pixel, gives {numbers}: a score on random splits is "
        f"too good for a new {word}."
    )


def _rates_p(known: pd.DataFrame) -> float:
    """Return the p-value of the chi-squared test that all groups have the same bad rate."""
    return float(stats.chi2_contingency(pd.crosstab(known.group, known.label)).pvalue)


def _per_cent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
