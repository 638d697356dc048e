"""Draw pictures of an image table: examples, near duplicates, the order of files."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from helpers.core.style import LABEL_NAMES, PALETTE, draw_images
from helpers.datasets.cache import ImageCache

COLUMNS = 8  # of sample images, and of pairs of near duplicates


def sample_parts(split: pd.DataFrame, cache: ImageCache, seed: int) -> Figure:
    """Draw random training images: good ones in the first row, bad ones, if any, in the second."""
    train = split[split.split == "train"]
    labels = sorted(train.label.dropna().unique())
    size = (1.5 * COLUMNS, 1.75 * len(labels))
    figure, axes = plt.subplots(len(labels), COLUMNS, figsize=size, squeeze=False)
    rng = np.random.default_rng(seed)
    for label, row in zip(labels, axes, strict=True):
        pool = train[train.label == label]
        drawn = pool.iloc[rng.permutation(len(pool))[:COLUMNS]]
        images = cache.take(cache.rows(drawn.id))
        draw_images(row, images, [str(name)[-16:] for name in drawn.id], 8)
        place = {"transform": row[0].transAxes, "ha": "center", "va": "center"}
        row[0].text(-0.12, 0.5, LABEL_NAMES[label], rotation=90, **place)
    figure.suptitle("Training images, drawn at random")
    return figure


def near_duplicates(split: pd.DataFrame, pairs: pd.DataFrame, cache: ImageCache) -> Figure:
    """Draw pairs of near duplicates (`first, second, bits`), one above the other.

    Those with different labels come first, then those that differ in the fewest bits. The table of
    the split is in the cache's order.
    """
    first, second = (split.label.iloc[pairs[end]].to_numpy() for end in ("first", "second"))
    differ = ~pd.isna(first) & ~pd.isna(second) & (first != second)
    order = np.lexsort((pairs["first"], pairs.bits, ~differ.astype(bool)))
    drawn = pairs.iloc[order[:COLUMNS]]
    figure, axes = plt.subplots(
        2, len(drawn), figsize=(1.5 * max(4, len(drawn)), 3.8), squeeze=False
    )
    names = split.label.map(LABEL_NAMES).fillna("hidden")
    for column, pair in zip(axes.T, drawn.itertuples(), strict=True):
        rows = [pair.first, pair.second]
        titles = [f"{str(split.id.iloc[row])[-16:]}, {names.iloc[row]}" for row in rows]
        draw_images(column, cache.take(cache.rows(split.id.iloc[rows])), titles)
        below: dict[str, Any] = {"transform": column[1].transAxes, "ha": "center", "va": "top"}
        column[1].text(0.5, -0.04, f"{pair.bits} bits", fontsize=10, **below)
    title = f"Pairs of near duplicates: {len(pairs):,}, with different labels: {differ.sum()}"
    figure.suptitle(title, fontsize=13)
    return figure


def file_order(split: pd.DataFrame, cache: ImageCache, title: str = "") -> Figure:
    """Draw brightness and the share of bad images along the order of the files.

    Neighbouring files that are alike come from one module, lot or camera. If the split has a column
    `group`, its borders are drawn where they follow the order of the files.
    """
    frame = split.merge(cache.table[["id", "mean"]], on="id").reset_index(drop=True)
    labels = frame.label.astype(float)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(10, 5), sharex=True)
    for label, word in LABEL_NAMES.items():
        values = frame["mean"][labels == label]
        top.scatter(values.index, values, s=5, color=PALETTE[word], label=word)
    top.set(ylabel="mean gray value", title=title)
    beside: dict[str, Any] = {"title": "", "loc": "center left", "bbox_to_anchor": (1.005, 0.5)}
    top.legend(markerscale=3, **beside)
    window = max(5, min(30, len(frame) // 20))
    share = labels.rolling(window, center=True, min_periods=1).mean()
    bottom.plot(frame.index, share, color="0.6", linewidth=1, label=f"mean of {window} files")
    if "group" in frame:
        groups = frame.group.fillna("")
        starts = np.flatnonzero(groups.ne(groups.shift()))
        if len(starts) <= 2 * groups.nunique():  # the order follows the groups
            for ax in (top, bottom):
                across = ax.get_xaxis_transform()  # from the bottom to the top of the axes
                look: dict[str, Any] = {"color": "0.6", "linewidth": 0.8, "linestyles": ":"}
                ax.vlines(starts, 0, 1, transform=across, label="border of a group", **look)
            means = labels.groupby(groups).transform("mean")
            bottom.plot(frame.index, means, color="0.1", label="mean of the group")
    bottom.set(xlabel="number of the file", ylabel="share of bad images", ylim=(-0.03, 1.03))
    bottom.legend(**beside)
    for ax in (top, bottom):
        ax.grid(False)
        ax.set_xlim(0, len(frame))
    return figure
