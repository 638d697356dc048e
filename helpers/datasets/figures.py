"""Draw pictures of an image table: classes, examples, brightness and size."""

from __future__ import annotations

from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.datasets.cache import ImageCache


def class_counts(split: pd.DataFrame) -> Figure:
    """Draw the number of images of each class on each side of the split."""
    frame = split[split.split != "excluded"].assign(label=_label_names)
    figure, axes = plt.subplots(figsize=(7, 3.2))
    order = [side for side in ("train", "val", "test") if (frame.split == side).any()]
    hues = [name for name in (*PALETTE, "hidden") if (frame.label == name).any()]
    palette = PALETTE | {"hidden": "0.6"}
    sns.countplot(
        frame, x="split", hue="label", order=order, hue_order=hues, palette=palette, ax=axes
    )
    for bars in axes.containers:
        axes.bar_label(cast(BarContainer, bars), fontsize=9)
    axes.set(xlabel="", ylabel="images", title="Images per side and class")
    axes.legend(title="", loc="upper right")
    return figure


def sample_parts(split: pd.DataFrame, cache: ImageCache, seed: int, columns: int = 8) -> Figure:
    """Draw random training images: good ones in the first row, bad ones in the second."""
    figure, axes = plt.subplots(2, columns, figsize=(1.5 * columns, 3.5))
    rng = np.random.default_rng(seed)
    for row, (label, word) in enumerate(LABEL_NAMES.items()):
        pool = split[(split.split == "train") & (split.label == label)]
        drawn = pool.iloc[rng.permutation(len(pool))[:columns]]
        images = cache.take(cache.rows(drawn.id))
        for ax in axes[row]:
            ax.set_axis_off()
        for ax, pixels, name in zip(axes[row], images, drawn.id, strict=False):
            ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
            ax.set_title(str(name)[-16:], fontsize=8)
        first = axes[row][0]
        place = {"transform": first.transAxes, "ha": "center", "va": "center"}
        first.text(-0.12, 0.5, word, rotation=90, **place)
    figure.suptitle("Training images, drawn at random")
    return figure


def brightness_and_size(split: pd.DataFrame, cache: ImageCache) -> Figure:
    """Draw the distributions of mean gray value and contrast by class, and the image sizes."""
    frame = split.merge(cache.table.drop(columns="digest"), on="id").assign(label=_label_names)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    shown: dict[str, Any] = {"hue": "label", "hue_order": list(PALETTE), "palette": PALETTE}
    shown |= {"common_norm": False, "fill": True, "alpha": 0.25, "warn_singular": False}
    labelled = frame[frame.label != "hidden"]
    sns.kdeplot(labelled, x="mean", ax=axes[0], **shown)
    axes[0].set(xlabel="mean gray value (0 to 255)")
    axes[0].get_legend().set_title("")
    sns.kdeplot(labelled, x="std", ax=axes[1], legend=False, **shown)
    axes[1].set(xlabel="standard deviation of gray values")
    sizes = frame.groupby(["width_px", "height_px"]).size().reset_index(name="images")
    sizes["size"] = sizes.width_px.astype(str) + "x" + sizes.height_px.astype(str)
    sizes = sizes.nlargest(8, "images")
    sns.barplot(sizes, y="size", x="images", color="0.6", width=0.1 * len(sizes), ax=axes[2])
    axes[2].bar_label(axes[2].containers[0], fontsize=9, padding=2)
    axes[2].margins(x=0.18)
    axes[2].set(ylabel="width x height in px")
    return figure


def _label_names(frame: pd.DataFrame) -> pd.Series:
    return frame.label.map(LABEL_NAMES).fillna("hidden")
