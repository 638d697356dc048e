"""Figures of Grad-CAM maps, for both labels and in a gallery, and the choice of their parts.

The pictures can be read without colour: the maps' lightness rises with their values, and a line
surrounds what is above half of the maximum.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from torch import Tensor

from helpers.core.style import LABEL_NAMES, draw_image
from helpers.datasets import DataError
from helpers.explain.subject import Subject

COLOURS = "viridis"
OVERLAY_ALPHA = 0.6  # at the map's maximum; 0 where the map is 0, so that the part stays visible
MAP_SCALE = "share of each map's maximum\n(white line: half of it)"
TITLE_SIZE = 9
MOST_TRIED = 32  # parts whose maps are computed to find a filled one
GROUPS = ("surest hits", "worst misses", "least certain")  # of a gallery


def class_maps(subject: Subject) -> Figure:
    """Draw a good and a bad part with their maps for both labels (report, figures 6 to 11)."""
    parts = surest_of_each_class(subject)
    title = f"Grad-CAM of {subject.title}, on the parts that are most surely called right"
    maps = {c: subject.maps(parts.id, c) for c in LABEL_NAMES}
    pixels = subject.pixels(parts.id)
    figure, axes = grid(len(parts), 3, (8, 2.9 * len(parts) + 0.3), title)
    for row, part in enumerate(parts.itertuples()):
        draw_image(axes[row, 0], pixels[row], part_title(part))
        labels = ((part.label, "right label"), (1 - part.label, "wrong label"))
        for ax, (label, kind) in zip(axes[row, 1:], labels, strict=True):
            heat = maps[label][row]
            peak = f"peak {heat.max():.2g}" if heat.max() > 0 else "empty: nothing supports it"
            map_of = f'map for "{LABEL_NAMES[label]}" ({kind})\n{peak}'
            draw_overlay(ax, pixels[row], heat, map_of)
    return figure


def gallery(subject: Subject) -> Figure:
    """Draw the parts of `gallery_parts`, each above its map for the class that it was called."""
    columns = 6
    parts = gallery_parts(subject.parts, columns)
    maps = subject.maps(parts.id, torch.tensor(parts.called.to_numpy(dtype=np.int64)))
    pixels = subject.pixels(parts.id)
    groups = list(parts.group.unique())
    title = f"{subject.title}; called bad from a score of {subject.threshold:.3f} on"
    size = (1.75 * columns + 0.9, 4.0 * len(groups) + 0.5)
    figure, axes = grid(2 * len(groups), columns, size, title, MAP_SCALE if maps.any() else "")
    for i, group in enumerate(groups):
        rows = np.flatnonzero(parts.group == group)
        axes[2 * i, 0].set_title(group, loc="left", y=1.3, fontsize=12)
        for column, row in enumerate(rows):
            part = parts.iloc[row]
            draw_image(axes[2 * i, column], pixels[row], part_title(part))
            label = map_title(part.called, maps[row])
            draw_overlay(axes[2 * i + 1, column], pixels[row], maps[row], label)
    return figure


def grid(
    rows: int, columns: int, size: tuple[float, float], title: str = "", scale: str = MAP_SCALE
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `size` (inches) and its empty axes, with the scale of all maps beside.

    `scale` says what the colours from 0 to 1 mean; without it no scale is drawn.
    """
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="compressed")
    for ax in axes.ravel():
        ax.set_axis_off()
    if scale:
        colours = ScalarMappable(plt.Normalize(0, 1), COLOURS)
        bar = figure.colorbar(colours, ax=axes, shrink=min(0.6, 3 / rows), aspect=40, pad=0.015)
        bar.set_label(scale, fontsize=TITLE_SIZE)
        bar.ax.tick_params(labelsize=TITLE_SIZE)
    if title:
        figure.suptitle(title, fontsize=11)
    return figure, axes


def draw_overlay(ax: Axes, pixels: np.ndarray, heat: Tensor, title: str = "") -> None:
    """Draw the map over the part, more opaque where it is higher, a line at half its peak."""
    draw_image(ax, pixels, title)
    share = share_of_maximum(heat)
    ax.imshow(share, cmap=COLOURS, vmin=0, vmax=1, alpha=OVERLAY_ALPHA * share)
    if share.max() > 0.5 > share.min():
        # black under white: one of them is visible on any part
        for colour, width in (("black", 2.2), ("white", 1.0)):
            ax.contour(share, levels=[0.5], colors=colour, linewidths=width)


def part_title(part: Any) -> str:
    """Return id (its last 16 characters), label and score of a row of a table of parts."""
    return f"{str(part.id)[-16:]}\n{LABEL_NAMES[part.label]}, score {part.defect_score:.3f}"


def map_title(label: int, heat: Tensor) -> str:
    """Return the class that a map (H, W) supports, and "empty" if it is."""
    empty = "" if heat.max() > 0 else ", empty"
    return f'map for "{LABEL_NAMES[int(label)]}"{empty}'


def share_of_maximum(heat: Tensor) -> np.ndarray:
    """Return a map (H, W) divided by its maximum; an empty one stays 0."""
    values = heat.detach().cpu().float().numpy()
    return values / values.max() if values.max() > 0 else values


def surest_of_each_class(subject: Subject) -> pd.DataFrame:
    """Return the good and the bad part that the model calls right with the most certainty.

    Parts with an empty map for one of the labels are passed over: a very sure network often finds
    nothing that supports the other label. If the `MOST_TRIED` surest parts all have an empty map,
    the surest is returned; if no part of a class is right, the least wrong ones are tried.

    Raises:
        DataError: a class has no part.
    """
    chosen = []
    for label, word in LABEL_NAMES.items():
        parts = subject.parts[subject.parts.label == label]
        if parts.empty:
            raise DataError(f"there is no {word} part among the {len(subject.parts)} labelled ones")
        right = parts[parts.right]
        pool = (parts if right.empty else right).sort_values("mistake", kind="stable")[:MOST_TRIED]
        peaks = [subject.maps(pool.id, c).amax((1, 2)).numpy() for c in LABEL_NAMES]
        filled = pool[np.min(peaks, axis=0) > 0]
        chosen.append(pool[:1] if filled.empty else filled[:1])
    return pd.concat(chosen, ignore_index=True)


def gallery_parts(parts: pd.DataFrame, n: int) -> pd.DataFrame:
    """Return up to `n` parts of each of `GROUPS`, named in column `group`: hits nearest to their
    label and misses farthest from it, both half good and half bad if there are enough, and those
    nearest to the threshold among the others."""
    right = parts[parts.right].sort_values("mistake", kind="stable")
    wrong = parts[~parts.right].sort_values("mistake", ascending=False, kind="stable")
    hits, misses = half_of_each(right, "label", n), half_of_each(wrong, "label", n)
    others = parts.drop(hits.index.union(misses.index))
    groups = (hits, misses, others.sort_values("margin", kind="stable")[:n])
    named = [rows.assign(group=name) for name, rows in zip(GROUPS, groups, strict=True)]
    return pd.concat(named, ignore_index=True)


def half_of_each(parts: pd.DataFrame, column: str, n: int) -> pd.DataFrame:
    """Return the first `n` parts, half with 0 and half with 1 in `column`, sorted by it; more of
    one if the other lacks parts. The index has to be unique."""
    place = parts.groupby(column).cumcount().sort_values(kind="stable")
    return parts.loc[place.index[:n]].sort_values(column, kind="stable")
