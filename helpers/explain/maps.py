"""Figures of Grad-CAM maps: for both labels, and in a gallery; `map_quality` draws with it too.

The pictures can be read without colour: the maps' lightness rises with their values, and a line
surrounds what is above half of the maximum.
"""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from torch import Tensor

from helpers.core.style import LABEL_NAMES, draw_image
from helpers.explain.selection import gallery_parts, surest_of_each_class
from helpers.explain.subject import Subject

COLOURS = "viridis"
OVERLAY_ALPHA = 0.6  # at the map's maximum; 0 where the map is 0, so that the part stays visible
MAP_SCALE = "share of each map's maximum\n(white line: half of it)"
TITLE_SIZE = 9


def class_maps(subject: Subject) -> Figure:
    """Draw a good and a bad part with their maps for both labels (report, figures 6 to 11)."""
    parts = surest_of_each_class(subject)
    title = f"Grad-CAM of {subject.title}, on the parts that are most surely called right"
    maps = {c: subject.maps(parts.id, c) for c in LABEL_NAMES}
    pixels = subject.pixels(parts.id)
    figure, axes = grid(len(parts), 5, (12.5, 2.9 * len(parts) + 0.3), title)
    for row, part in enumerate(parts.itertuples()):
        draw_image(axes[row, 0], pixels[row], part_title(part))
        for column, label in ((1, part.label), (3, 1 - part.label)):
            heat = maps[label][row]
            kind = "own label" if label == part.label else "wrong label"
            peak = f"peak {heat.max():.2g}" if heat.max() > 0 else "empty: nothing supports it"
            draw_map(axes[row, column], heat, f'map for "{LABEL_NAMES[label]}" ({kind})\n{peak}')
            draw_overlay(axes[row, column + 1], pixels[row], heat, "laid over the part")
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


def draw_map(ax: Axes, heat: Tensor, title: str = "") -> None:
    """Draw a map (H, W) in shares of its maximum."""
    ax.imshow(share_of_maximum(heat), cmap=COLOURS, vmin=0, vmax=1)
    ax.set_title(title, fontsize=TITLE_SIZE)


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
