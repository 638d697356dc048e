"""Draw pictures of an image table: classes, examples, brightness and size."""

from __future__ import annotations

from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from helpers.core.evenly import evenly
from helpers.core.style import LABEL_NAMES, PALETTE, SIDES, draw_images
from helpers.datasets.cache import ImageCache

COLUMNS = 8  # of sample images, and of pairs of near duplicates
MOST_AVERAGED = 2000  # images of each class, spread evenly over the files


def class_counts(split: pd.DataFrame, title: str = "") -> Figure:
    """Draw the number of images of each class on each side of the split."""
    frame = split[split.split != "excluded"].assign(label=_label_names)
    frame["split"] = frame.split.map(SIDES)
    figure, axes = plt.subplots(figsize=(7, 3.2))
    order = [side for side in SIDES.values() if (frame.split == side).any()]
    hues = [name for name in (*PALETTE, "hidden") if (frame.label == name).any()]
    palette = PALETTE | {"hidden": "0.6"}
    sns.countplot(
        frame, x="split", hue="label", order=order, hue_order=hues, palette=palette, ax=axes
    )
    for bars in axes.containers:
        axes.bar_label(cast(BarContainer, bars), fontsize=9)
    axes.margins(y=0.1)
    axes.set(xlabel="", ylabel="images", title=title)
    axes.grid(axis="x", visible=False)
    axes.legend(title="", loc="upper left", bbox_to_anchor=(1.01, 1))
    return figure


def sample_parts(split: pd.DataFrame, cache: ImageCache, seed: int) -> Figure:
    """Draw random training images: good ones in the first row, bad ones in the second."""
    figure, axes = plt.subplots(2, COLUMNS, figsize=(1.5 * COLUMNS, 3.5))
    rng = np.random.default_rng(seed)
    for row, (label, word) in enumerate(LABEL_NAMES.items()):
        pool = split[(split.split == "train") & (split.label == label)]
        drawn = pool.iloc[rng.permutation(len(pool))[:COLUMNS]]
        images = cache.take(cache.rows(drawn.id))
        draw_images(axes[row], images, [str(name)[-16:] for name in drawn.id], 8)
        first = axes[row][0]
        place = {"transform": first.transAxes, "ha": "center", "va": "center"}
        first.text(-0.12, 0.5, word, rotation=90, **place)
    figure.suptitle("Training images, drawn at random")
    return figure


def brightness_and_size(split: pd.DataFrame, cache: ImageCache, title: str = "") -> Figure:
    """Draw mean gray value and contrast by class, and the sizes if they differ."""
    frame = split.merge(cache.table.drop(columns="digest"), on="id").assign(label=_label_names)
    sizes = frame.groupby(["width_px", "height_px"]).size().reset_index(name="images")
    panels = 2 if len(sizes) == 1 else 3
    figure, axes = plt.subplots(1, panels, figsize=(4.5 * panels, 3.4))
    shown: dict[str, Any] = {"hue": "label", "hue_order": list(PALETTE), "palette": PALETTE}
    shown |= {"common_norm": False, "fill": True, "alpha": 0.25, "warn_singular": False}
    labelled = frame[frame.label != "hidden"]
    names = {"mean": "mean gray value (0 to 255)", "std": "standard deviation of gray values"}
    for ax, (column, words) in zip(axes, names.items(), strict=False):
        sns.kdeplot(labelled, x=column, ax=ax, legend=ax is axes[0], **shown)
        ax.set(xlabel=words, ylabel="share of images" if ax is axes[0] else "", yticks=[])
    axes[0].get_legend().set_title("")
    if panels == 3:
        sizes["size"] = sizes.width_px.astype(str) + "x" + sizes.height_px.astype(str)
        sizes = sizes.nlargest(8, "images")
        sns.barplot(sizes, y="size", x="images", color="0.6", width=0.1 * len(sizes), ax=axes[2])
        axes[2].bar_label(axes[2].containers[0], fontsize=9, padding=2)
        axes[2].margins(x=0.18)
        axes[2].set(ylabel="width x height in px")
    figure.suptitle(title)
    return figure


def file_order(split: pd.DataFrame, cache: ImageCache, title: str = "") -> Figure:
    """Draw brightness and the share of bad images along the order of the files.

    Neighbouring files that are alike come from one module, lot or camera. If the split has a column
    `group`, its borders are drawn where they follow the order of the files.
    """
    frame = split.merge(cache.table[["id", "mean"]], on="id").reset_index(drop=True)
    labels = frame.label.astype(float)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(12, 5), sharex=True)
    step = max(1, len(frame) // 6000)
    for label, word in LABEL_NAMES.items():
        own = frame[labels == label].iloc[::step]
        top.scatter(own.index, own["mean"], s=5, color=PALETTE[word], label=word, linewidths=0)
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


def near_duplicates(split: pd.DataFrame, pairs: pd.DataFrame, cache: ImageCache) -> Figure:
    """Draw pairs of near duplicates, one above the other, from the nearest to the farthest.

    Half of them have different labels if there are enough.

    Args:
        split: the table of the split, in the cache's order.
        pairs: `first, second, bits`.
        cache: the images.
    """
    order = pairs.sort_values(["bits", "first"], kind="stable").reset_index(drop=True)
    first, second = (split.label.iloc[order[end]].to_numpy() for end in ("first", "second"))
    known = ~pd.isna(first) & ~pd.isna(second)
    unlike = order[known & (first != second)]
    half = unlike.iloc[evenly(len(unlike), COLUMNS // 2)]
    alike = order.drop(unlike.index)
    alike = alike.iloc[evenly(len(alike), COLUMNS - len(half))]
    drawn = pd.concat([half, alike]).sort_index()
    figure, axes = plt.subplots(
        2, len(drawn), figsize=(1.5 * max(4, len(drawn)), 3.8), squeeze=False
    )
    names = _label_names(split)
    for column, pair in zip(axes.T, drawn.itertuples(), strict=True):
        rows = np.array([pair.first, pair.second])
        images = cache.take(cache.rows(split.id.iloc[rows]))
        titles = [f"{str(split.id.iloc[row])[-16:]}, {names.iloc[row]}" for row in rows]
        draw_images(column, images, titles)
        below: dict[str, Any] = {"transform": column[1].transAxes, "ha": "center", "va": "top"}
        column[1].text(0.5, -0.04, f"{pair.bits} bits", fontsize=10, **below)
    title = (
        f"{len(unlike)} of {known.sum():,} pairs of near duplicates have different labels; here "
        f"{len(half)} of these and {len(alike)} others, the nearest first"
    )
    figure.suptitle(title, fontsize=13)
    return figure


def class_means(split: pd.DataFrame, cache: ImageCache) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean training images (2, H, W), good and bad, and bad minus good (H, W).

    The difference is in standard errors, and each image in it is divided by its own median:
    a darker image has less contrast too, and a dark place must not brighten the others. `split` is
    the table of the split.
    """
    means, places, variances = [], [], []
    for label in LABEL_NAMES:
        ids = split.id[(split.split == "train") & (split.label == label)]
        ids = ids.iloc[evenly(len(ids), MOST_AVERAGED)]
        total = np.zeros(cache.pixels.shape[1:3])
        relative = squares = np.zeros_like(total)
        for start in range(0, len(ids), 256):
            images = cache.take(cache.rows(ids.iloc[start : start + 256])).mean(axis=3)
            total += images.sum(axis=0)
            images /= np.maximum(np.median(images, axis=(1, 2), keepdims=True), 1)
            relative, squares = relative + images.sum(axis=0), squares + (images**2).sum(axis=0)
        means.append(total / len(ids))
        places.append(relative / len(ids))
        variances.append(np.maximum(squares / len(ids) - places[-1] ** 2, 1e-9) / len(ids))
    return np.stack(means), (places[1] - places[0]) / np.sqrt(sum(variances))


def mean_images(means: np.ndarray, z: np.ndarray, title: str = "") -> Figure:
    """Draw `class_means`: the mean image of each class, and their difference."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 3.6))
    draw_images(axes, means, [f"mean of {word} images" for word in PALETTE], 11)
    limit = float(np.abs(z).max()) or 1.0
    shown = axes[2].imshow(z, cmap="coolwarm", vmin=-limit, vmax=limit)
    axes[2].set_title("relative: bad minus good, standard errors", fontsize=11)
    figure.colorbar(shown, ax=axes[2])
    figure.suptitle(title)
    return figure


def counts_by_kind(split: pd.DataFrame, columns: list[str], title: str = "") -> Figure:
    """Draw how many images have each value of a column, or of two columns together."""
    first, *others = columns[:2]
    values = split[others[0]] if others else pd.Series("images", index=split.index, name="")
    counts = pd.crosstab(values, split[first])
    figure, ax = plt.subplots(figsize=(1.4 * counts.shape[1] + 2, 0.7 * counts.shape[0] + 1.2))
    # up to a middle blue, so that black numbers can be read on all of it
    shades: dict[str, Any] = {"cmap": "Blues", "vmin": 0, "vmax": 2 * counts.to_numpy().max()}
    shades["annot_kws"] = {"color": "0.1"}
    sns.heatmap(counts, annot=True, fmt=",d", cbar=False, linewidths=1, ax=ax, **shades)
    across, down = (str(name).replace("_", " ") for name in (first, values.name))
    ax.set(xlabel=across, ylabel=down, title=title or "Number of images")
    ax.tick_params(axis="y", rotation=0)
    return figure


def _label_names(frame: pd.DataFrame) -> pd.Series:
    return frame.label.map(LABEL_NAMES).fillna("hidden")
