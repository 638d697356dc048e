"""Sentences about the images of a run, computed from its tables: what notebook 01 finds.

Each is "headline: the numbers", so that `style.headline` makes it the title of a picture. A
function returns "" if there is nothing to say.
"""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
import pandas as pd
from scipy import stats

from helpers.core import metrics
from helpers.core.style import SIDES, SIGNIFICANT, p_value, with_interval

CLEAR = 3  # standard errors between two mean images, since there are many pixels
FEW = 10  # images; the share of bad ones among fewer says little


def images(split: pd.DataFrame, label_mapping: str) -> str:
    """Say how many images there are, and how many of them are bad."""
    labels = split.label.dropna()
    text = f"{len(split):,} images, {_per_cent(labels.mean())} of them bad"
    if hidden := len(split) - len(labels):
        text = f"{len(split):,} images, {_per_cent(labels.mean())} of the labelled ones bad"
        label_mapping = f"{hidden:,} labels are hidden; {label_mapping}"
    return f"{text}; {label_mapping}."


def sizes(measured: pd.DataFrame, shown_px: int) -> str:
    """Say how large the images are (`width_px`, `height_px`), and how large models see them."""
    width, height = measured.width_px, measured.height_px
    text = f"All images have {width.iloc[0]} x {height.iloc[0]} pixels"
    if len(set(zip(width, height, strict=True))) > 1:
        text = f"The images are {width.min()} to {width.max()} pixels wide"
        text += f" and {height.min()} to {height.max()} high"
    return f"{text}; they are kept at {shown_px} x {shown_px}."


def sides(split: pd.DataFrame) -> str:
    """Say how many images each set of the split has, and how many of these are bad."""
    parts = []
    for side, word in SIDES.items():
        own = split[split.split == side]
        if own.empty:
            continue
        known = own.label.dropna()
        share = f"{_per_cent(known.mean())} bad" if len(known) else "labels hidden"
        parts.append(f"{word} {len(own):,} ({share})")
    text = f"Images of each set: {', '.join(parts)}"
    if "fold" in split:
        text += f"; training and validation are {split.fold.nunique()} folds"
    if left_out := int((split.split == "excluded").sum()):
        text += f"; {left_out:,} are left out"
    return f"{text}."


def duplicates(split: pd.DataFrame, found: pd.DataFrame) -> str:
    """Say how many images have a copy or a near duplicate (`Split.duplicates`)."""
    if found.empty:
        return ""
    used = found.merge(split.loc[split.split != "excluded", ["id", "split"]], on="id")
    apart = int((used.groupby("cluster").split.nunique() > 1).sum())
    sizes = found.cluster.value_counts()
    text = f"{len(found):,} of {len(split):,} images have a copy or a near duplicate: "
    text += f"they form {len(sizes):,} clusters of up to {sizes.max()} images, "
    text += f"and {apart or 'none'} of these {'are' if apart > 1 else 'is'} in two sets."
    if two := int(found.two_labels.sum()):
        text += f" {two} of the images are in a cluster with both labels."
    return text


def file_order(split: pd.DataFrame) -> str:
    """Say whether neighbouring files share their label more often than in a random order.

    It is the runs test of Wald and Wolfowitz (1940), summed over the folders: a folder with images
    of one class says nothing.
    """
    known = split[split.label.notna()]
    changes = expected = variance = neighbours = 0.0
    for _, labels in known.groupby(known.path.map(lambda path: str(PurePath(path).parent))).label:
        values = labels.to_numpy(dtype=np.int64)
        n, n_bad = len(values), int(values.sum())
        if n_bad in (0, n):
            continue
        pairs = 2 * n_bad * (n - n_bad)
        changes += np.count_nonzero(np.diff(values))
        expected += pairs / n
        variance += pairs * (pairs - n) / (n**2 * (n - 1))
        neighbours += n - 1
    if variance <= 0:
        return ""
    p = 2 * stats.norm.sf(abs(changes - expected) / np.sqrt(variance))
    numbers = (
        f"{_per_cent(1 - changes / neighbours)} of the pairs share their label; in a random order "
    )
    numbers += f"{_per_cent(1 - expected / neighbours)} would (runs test, {p_value(p)})"
    if p >= SIGNIFICANT:
        return f"Neighbouring files are not shown to be alike: {numbers}."
    if changes > expected:
        return f"Neighbouring files differ in their label: {numbers}."
    groups = "So the files come in groups, and a random split divides them."
    return f"Neighbouring files are alike: {numbers}. {groups}"


def groups(split: pd.DataFrame) -> str:
    """Say how much the share of bad images differs between the groups (modules, lots), if any."""
    known = split[split.label.notna()]
    if "group" not in known:
        return ""
    known = known[known.groupby("group").label.transform("size") >= FEW]
    rates = known.groupby("group").label.mean()
    if len(rates) < 2 or (p := _chi_squared(known.group, known.label)) >= SIGNIFICANT:
        return ""
    return (
        f"The share of bad images depends on the group: it is {_per_cent(rates.min())} to "
        f"{_per_cent(rates.max())} in the {len(rates)} groups (chi-squared test, {p_value(p)})."
    )


def by_kind(split: pd.DataFrame, column: str) -> str:
    """Say whether the share of bad images depends on a kind of part, such as `cell_type`.

    Images of one group are alike, so with groups the test compares the shares of the groups.
    """
    known = split[split.label.notna() & split[column].notna()]
    rates = known.groupby(column).label.mean()
    if len(rates) < 2 or known.label.nunique() < 2:
        return ""
    test, p = "chi-squared test", _chi_squared(known[column], known.label)
    if "group" in known:
        each = known.groupby(["group", column]).label.mean().astype(float)
        samples = [own for _, own in each.groupby(level=1)]
        if len(samples) < 2:  # only one kind has groups
            return ""
        test, p = "Kruskal-Wallis test over the groups", 1.0
        if each.nunique() > 1:
            p = float(stats.kruskal(*samples).pvalue)
    verb, word = "depends on" if p < SIGNIFICANT else "is not shown to depend on", column
    listed = ", ".join(f"{kind} {_per_cent(rate)}" for kind, rate in rates.items())
    return (
        f"The share of bad images {verb} the {word.replace('_', ' ')}: {listed} ({test}, "
        f"{p_value(p)})."
    )


def doubtful_labels(split: pd.DataFrame) -> str:
    """Say how many labels the annotators doubted: a `probability` that is neither 0 nor 1."""
    if "probability" not in split or split.probability.isna().all():
        return ""
    known = split.probability.dropna()
    doubted = known.between(0, 1, inclusive="neither")
    return (
        f"{_per_cent(doubted.mean())} of the labels are doubtful: the annotators gave "
        f"{doubted.sum():,} of {len(known):,} images a defect probability between 0 and 1."
    )


def brightness(split: pd.DataFrame, measured: pd.DataFrame) -> str:
    """Say whether brightness alone (`id, mean`) tells the classes of training and validation."""
    frame = split[split.split.isin(["train", "val"]) & split.label.notna()]
    frame = frame.merge(measured[["id", "mean"]], on="id").reset_index(drop=True)
    if frame.label.nunique() < 2:
        return ""
    means = frame.groupby("label")["mean"].mean()
    darker = means[1] < means[0]
    labels, dark = frame.label.to_numpy(dtype=int), frame["mean"].to_numpy() * (-1) ** darker
    auc = metrics.auc_interval(labels, dark, frame.get("group"))
    numbers = f"an AUC of {with_interval(*auc)} for brightness alone, on training and "
    numbers += "validation"
    if "group" in frame:
        numbers += " (interval by groups)"
    if auc.low <= 0.5:
        return f"Brightness is not shown to tell the classes apart: {numbers}."
    return (
        f"Bad images are {'darker' if darker else 'brighter'} than good ones: a mean gray value "
        f"of {means[1]:.0f} against {means[0]:.0f}, and {numbers}."
    )


def mean_images(z: np.ndarray) -> str:
    """Say where the mean images differ; `z` (H, W) is that of `figures.class_means`."""
    darker, brighter = float((z < -CLEAR).mean()), float((z > CLEAR).mean())
    text = "Bad images differ from good ones in some places"
    if max(darker, brighter) < 0.01:
        text = "Bad images differ from good ones in hardly any place"
    return (
        f"{text}: divided by the image's median they are more than {CLEAR} standard errors darker "
        f"at {_per_cent(darker)} of the pixels, brighter at {_per_cent(brighter)} (each image "
        "counted as independent)."
    )


def _chi_squared(values: pd.Series, labels: pd.Series) -> float:
    return float(stats.chi2_contingency(pd.crosstab(values, labels)).pvalue)


def _per_cent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"
