"""Pictures of Grad-CAM maps: for both labels, in galleries, and the checks behind them.

Colour is not alone: the maps' lightness rises with their values, and a line goes round what lies
above half of the maximum, so that a grey print shows the same.
"""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from torch import Tensor

from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.explain.gradcam import feature_layer, grad_cam
from helpers.explain.measures import InsertionDeletion, randomised_copy, rank_correlation
from helpers.explain.numbers import MapNumbers
from helpers.explain.shown import GROUPS, Shown, gallery_parts, part_title, surest_of_each_class

COLOURS = "viridis"
OVERLAY_ALPHA = 0.6  # at the map's maximum; 0 where the map is 0, so that the part stays visible
MAP_SCALE = "Grad-CAM, share of each map's maximum\n(white line: half of it)"
TITLE_SIZE = 9
RANDOM_COLOUR = "0.35"
DEFECT_COLOUR = "#ffb000"  # dashed: in grey the line tells it from the map's


def class_maps(shown: Shown, parts: pd.DataFrame | None = None) -> Figure:
    """Figures 6 to 11 of the report: each part with its map for its own and for the other label.

    `parts` are rows of `shown.parts`; by default those of `surest_of_each_class`.
    """
    parts = surest_of_each_class(shown) if parts is None else parts
    labels = parts.label.to_numpy(dtype=np.int64)
    maps = {c: shown.maps(parts.id, c) for c in LABEL_NAMES}
    pixels = shown.pixels(parts.id)
    figure, axes = plt.subplots(
        len(parts), 5, figsize=(12.5, 2.9 * len(parts) + 0.3), squeeze=False, layout="compressed"
    )
    for row, part in enumerate(parts.itertuples()):
        draw_image(axes[row, 0], pixels[row], part_title(part))
        own = int(labels[row])
        for column, label in ((1, own), (3, 1 - own)):
            heat = maps[label][row]
            kind = "own label" if label == own else "wrong label"
            title = f'map for "{LABEL_NAMES[label]}" ({kind})\n{_peak(heat)}'
            draw_map(axes[row, column], heat, title)
            draw_overlay(axes[row, column + 1], pixels[row], heat, "laid over the part")
    colour_bar(figure, axes)
    figure.suptitle(class_maps_title(shown, parts), fontsize=11)
    return figure


def class_maps_title(shown: Shown, parts: pd.DataFrame) -> str:
    """The model, and the rule by which `surest_of_each_class` chose where it did."""
    title = f"Grad-CAM of {shown.title}"
    if "rank" not in parts:
        return title
    words = [
        f"{LABEL_NAMES[p.label]}: "
        + (f"number {p.rank} of {p.n_right}" if p.n_right else "none is right, the least wrong")
        for p in parts.itertuples()
    ]
    rule = "The most surely right part of each class whose two maps are not empty"
    return f"{title}\n{rule} ({'; '.join(words)})"


def gallery(shown: Shown, columns: int = 6) -> Figure:
    """The parts of `gallery_parts`, each above its map for the class that it was called."""
    parts = gallery_parts(shown.parts, shown.threshold, columns)
    maps = shown.maps(parts.id, torch.tensor(parts.called.to_numpy(dtype=np.int64)))
    pixels = shown.pixels(parts.id)
    layout = ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02)
    figure = plt.figure(figsize=(1.6 * columns, 11.8), layout=layout)
    heights = [1] * len(GROUPS) + [0.16]
    panels = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    for panel, group in zip(panels, GROUPS, strict=False):
        rows = np.flatnonzero(parts.group == group)
        panel.suptitle(group if len(rows) else f"{group}: none", fontsize=12, x=0.01, ha="left")
        axes = panel.subplots(2, columns, squeeze=False)
        for ax in axes.ravel():
            ax.set_axis_off()
        for column, row in enumerate(rows):
            part = parts.iloc[row]
            draw_image(axes[0, column], pixels[row], part_title(part))
            draw_overlay(axes[1, column], pixels[row], maps[row], map_title(part.called, maps[row]))
    colour_bar(panels[-1])
    figure.suptitle(
        f"{shown.title}; called bad from a score of {shown.threshold:.3f} on", fontsize=11
    )
    return figure


def insertion_deletion(numbers: MapNumbers) -> Figure:
    """Insertion and deletion curves (Petsiuk et al. 2018), mean and 95 % band, of the parts called
    good and of those called bad, with those of random maps."""
    panels = [(c, kind) for c in numbers.curves for kind in ("insertion", "deletion")]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.1 * len(panels) + 1.6, 3.8), squeeze=False, sharey=True
    )
    for ax, (label, kind) in zip(axes[0], panels, strict=True):
        found, word = numbers.curves[label], LABEL_NAMES[label]
        own = _curve(ax, found.maps, kind, PALETTE[word], "o-")
        other = _curve(ax, found.random, kind, RANDOM_COLOUR, "s--")
        verb, wish = ("put in", "high") if kind == "insertion" else ("taken out", "low")
        n = len(found.maps.insertion_area)
        ax.set_title(f"{kind}, {n} parts called {word}", fontsize=10)
        ax.set_xlabel(
            f"share of pixels {verb}\narea {own:.3f}, random {other:.3f}\n({wish} is good)"
        )
        ax.xaxis.label.set_size(10)
        ax.set_ylim(0, 1.02)
    axes[0, 0].set_ylabel("probability of the class called")
    lines = [Line2D([], [], color="black", marker="o"), Line2D([], [], color=RANDOM_COLOUR)]
    lines[1].set(marker="s", linestyle="--")
    names = ["Grad-CAM", "random maps"]
    axes[0, -1].legend(lines, names, fontsize=9, loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def sanity(shown: Shown, numbers: MapNumbers, columns: int = 6, seed: int = 0) -> Figure:
    """Maps of the trained network above those of the same network with random weights (Adebayo et
    al. 2018), with their rank correlation: maps that stay the same show the image alone."""
    halves = [numbers.sample[numbers.sample.called == c] for c in LABEL_NAMES]
    first = min(len(halves[0]), max(columns // 2, columns - len(halves[1])))
    parts = pd.concat([halves[0][:first], halves[1][: columns - first]])
    classes = torch.tensor(parts.called.to_numpy())
    trained = shown.maps(parts.id, classes)
    random_model = randomised_copy(shown.model, seed)
    random_layer = feature_layer(random_model)
    images = shown.images(parts.id)
    random = grad_cam(random_model, images, classes.to(images.device), random_layer).cpu()
    pixels = shown.pixels(parts.id)
    figure, axes = plt.subplots(
        2, columns, figsize=(2 * columns + 0.7, 5.3), squeeze=False, layout="compressed"
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    for i, part in enumerate(parts.itertuples()):
        title = f'{part_title(part)}\nmap for "{LABEL_NAMES[part.called]}", trained'
        draw_overlay(axes[0, i], pixels[i], trained[i], title)
        rho = rank_correlation(trained[i : i + 1], random[i : i + 1]).item()
        draw_overlay(
            axes[1, i], pixels[i], random[i], f"random weights\nrank correlation {rho:.2f}"
        )
    colour_bar(figure, axes)
    mean = numbers.correlation.mean()
    figure.suptitle(
        f"{shown.title}: rank correlation with random weights, mean of "
        f"{len(numbers.correlation)} parts {mean:.2f}",
        fontsize=11,
    )
    return figure


def on_masks(shown: Shown, numbers: MapNumbers, columns: int = 6) -> Figure:
    """Maps for "bad" over bad parts with the outline of the defect, from the part whose map lies on
    the defect most to the one where it does least, in equal steps of rank.

    Raises:
        ValueError: the source has no masks.
    """
    if numbers.masks is None:
        raise ValueError("the source has no masks of the defects, there is nothing to show")
    found = numbers.masks
    order = found.energy.values.argsort(descending=True).numpy()
    chosen = order[np.linspace(0, len(order) - 1, min(columns, len(order))).round().astype(int)]
    ids = found.ids.iloc[chosen]
    parts = shown.parts.set_index("id", drop=False).loc[ids]
    maps, pixels = shown.maps(ids, 1), shown.pixels(ids)
    figure, axes = plt.subplots(
        2, columns, figsize=(2 * columns + 0.7, 5.2), squeeze=False, layout="compressed"
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    for i, part in enumerate(parts.itertuples()):
        row, mask = chosen[i], found.masks[chosen[i]].numpy()
        draw_image(axes[0, i], pixels[i], part_title(part))
        share, covered = found.energy.values[row], mask.mean()
        kind = "energy in mask" if maps[i].max() > 0 else "empty map, counts as"
        title = f"{kind} {share:.3f}\nmask covers {covered:.3f}"
        draw_overlay(axes[1, i], pixels[i], maps[i], title)
        for ax in axes[:, i]:
            ax.contour(
                mask, levels=[0.5], colors=DEFECT_COLOUR, linewidths=1.4, linestyles="dashed"
            )
    colour_bar(figure, axes)
    figure.suptitle(
        f'{shown.title}: maps for "bad" of {len(found.ids)} parts, from the most to the least on '
        "the defect (dashed)",
        fontsize=11,
    )
    return figure


def draw_image(ax: Axes, pixels: np.ndarray, title: str = "") -> None:
    """A part as it looks, (H, W, C) uint8."""
    ax.imshow(pixels.squeeze(), cmap="gray", vmin=0, vmax=255)
    ax.set_title(title, fontsize=TITLE_SIZE)
    ax.set_axis_off()


def draw_map(ax: Axes, heat: Tensor, title: str = "") -> None:
    """A map (H, W) in shares of its maximum."""
    ax.imshow(share_of_maximum(heat), cmap=COLOURS, vmin=0, vmax=1)
    ax.set_title(title, fontsize=TITLE_SIZE)
    ax.set_axis_off()


def draw_overlay(ax: Axes, pixels: np.ndarray, heat: Tensor, title: str = "") -> None:
    """The map over the part, more opaque where it is higher; the line is at half its maximum."""
    draw_image(ax, pixels, title)
    share = share_of_maximum(heat)
    ax.imshow(share, cmap=COLOURS, vmin=0, vmax=1, alpha=OVERLAY_ALPHA * share)
    if share.max() > 0.5 > share.min():
        # black under white: one of them stands out against any part
        for colour, width in (("black", 2.2), ("white", 1.0)):
            ax.contour(share, levels=[0.5], colors=colour, linewidths=width)


def map_title(label: int, heat: Tensor) -> str:
    """Which class a map (H, W) speaks for, and whether it is empty."""
    empty = "" if heat.max() > 0 else ", empty"
    return f'map for "{LABEL_NAMES[int(label)]}"{empty}'


def share_of_maximum(heat: Tensor) -> np.ndarray:
    """A map (H, W) divided by its maximum; an empty one stays 0."""
    values = heat.detach().cpu().float().numpy()
    return values / values.max() if values.max() > 0 else values


def colour_bar(figure: Figure | SubFigure, axes: np.ndarray | None = None) -> None:
    """The scale of all maps: at the right of `axes`, or lying alone in a part of a figure."""
    scale = ScalarMappable(plt.Normalize(0, 1), COLOURS)
    if axes is None:
        bar = figure.colorbar(
            scale, cax=figure.add_axes((0.2, 0.6, 0.6, 0.2)), orientation="horizontal"
        )
    else:
        bar = figure.colorbar(scale, ax=axes, shrink=0.6, aspect=40, pad=0.015)
    label = MAP_SCALE if axes is not None else MAP_SCALE.replace("\n", " ")
    bar.set_label(label, fontsize=TITLE_SIZE)
    bar.ax.tick_params(labelsize=TITLE_SIZE)


def _curve(ax: Axes, found: InsertionDeletion, kind: str, colour: str, style: str) -> float:
    """Draw the mean curve with its 95 % band; return the mean area under it."""
    curves = getattr(found, kind)  # (B, steps + 1)
    mean, half = curves.mean(dim=0), 1.96 * curves.std(dim=0) / len(curves) ** 0.5
    ax.plot(found.shares, mean, style, color=colour, markersize=4)
    ax.fill_between(found.shares, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
    return float(getattr(found, f"{kind}_area").mean())


def _peak(heat: Tensor) -> str:
    return f"peak {heat.max():.2g}" if heat.max() > 0 else "empty: nothing speaks for it"
