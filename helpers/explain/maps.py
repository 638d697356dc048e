"""A network and the parts whose maps are shown, parts with clear maps, and how maps are drawn.

The pictures can be read without colour: the maps' lightness rises with their values, a line
surrounds what is above half of the maximum (with a model's scale: all that is marked), and a cross
marks the maximum.
"""

from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from torch import Tensor

from helpers.core import environment
from helpers.core.style import LABEL_NAMES, draw_image
from helpers.datasets.cache import ImageCache
from helpers.explain.attribution import anomaly_maps, grad_cam
from helpers.models.backbones import Network
from helpers.training.batches import ImageBatches
from helpers.training.inference import placed
from helpers.training.patchcore import PatchCoreNetwork

COLOURS = "viridis"
OVERLAY_ALPHA = 0.6  # at the scale's end; 0 where the map is 0, so that the part stays visible
MAP_SCALE = "share of each map's maximum\n(white line: half of it)"
MOST_TRIED = 100  # parts whose maps are computed to find a clear one
Scale = tuple[float, str]  # `attribution.ODDS` or DISTANCES; None: the map's own maximum


@dataclass(frozen=True)
class Subject:
    """A network whose maps are shown, and parts with the columns that `judged` adds."""

    model: Network
    cache: ImageCache  # at the network's size
    parts: pd.DataFrame  # labelled ones, which the network has not seen

    def images(self, ids: pd.Series) -> Tensor:
        """Return images as the model wants them, on its device: (B, C, H, W), in the ids' order."""
        table = pd.DataFrame({"id": np.asarray(ids), "label": 0})
        return torch.cat([*ImageBatches(self.cache, table, self.model, len(table)).ordered()])

    def maps(self, ids: pd.Series, target_class: int) -> Tensor:
        """Return Grad-CAM's maps for one class, PatchCore's anomaly maps; 0 outside of a mask."""
        spec, images = self.model.spec, self.images(ids)
        if isinstance(self.model, PatchCoreNetwork):
            maps = anomaly_maps(self.model, images)
        else:
            maps = grad_cam(self.model, images, target_class, spec.feature_layer, spec.feature_maps)
        return maps.cpu() * torch.from_numpy(self.cache.inside)

    def pixels(self, ids: pd.Series) -> np.ndarray:
        """Return the parts as they look, at the model's size: (B, H, W, C) uint8."""
        return self.cache.take(self.cache.rows(ids))


def make_subject(
    model: Network, cache: ImageCache, parts: pd.DataFrame, threshold: float
) -> Subject:
    """Return a network, moved to the fastest device, with parts (`id, label, defect_score`)."""
    model = placed(model.eval(), environment.default_device())
    return Subject(model, cache, judged(parts, threshold))


def judged(parts: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Add columns: `called` is 1 (bad) from the threshold on, `right` is True if that is the label,
    and `mistake` is the score's distance from the label."""
    called = (parts.defect_score >= threshold).astype(int)
    mistake = (parts.label - parts.defect_score).abs()
    return parts.assign(called=called, right=called == parts.label, mistake=mistake)


def grid(
    rows: int, columns: int, size: tuple[float, float], title: str, scale: Scale | None = None
) -> tuple[Figure, np.ndarray]:
    """Return a figure of `size` (inches) and its empty axes, with the scale of all maps beside."""
    figure, axes = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="compressed")
    for ax in axes.flat:
        ax.set_axis_off()
    colours = ScalarMappable(plt.Normalize(0, 1), COLOURS)
    bar = figure.colorbar(colours, ax=axes, shrink=min(0.6, 3 / rows), aspect=40, pad=0.015)
    bar.set_label(scale[1] if scale else MAP_SCALE, fontsize=9)
    if scale:
        bar.set_ticks([0, 0.5, 1], labels=[f"{scale[0] ** share:.3g}" for share in (0, 0.5, 1)])
    figure.suptitle(title, fontsize=11)
    return figure, axes


def draw_overlay(
    ax: Axes,
    pixels: np.ndarray,
    heat: Tensor,
    title: str = "",
    lines: bool = True,
    scale: Scale | None = None,
) -> None:
    """Draw the map over the part, more opaque where it is higher; `lines` mark area and peak."""
    draw_image(ax, pixels, title)
    share, level = share_of(heat, scale), 0.01 if scale else 0.5
    alpha = OVERLAY_ALPHA * (np.sqrt(share) if scale else share)  # a scale's start is to be seen
    ax.imshow(share, cmap=COLOURS, vmin=0, vmax=1, alpha=alpha)
    if lines and share.max() > level > share.min():
        row, column = np.unravel_index(share.argmax(), share.shape)
        # black under white: one of them is visible on any part
        for colour, width in (("black", 2.2), ("white", 1.0)):
            ax.contour(share, levels=[level], colors=colour, linewidths=width)
            ax.plot(column, row, "+", ms=10, mew=width, color=colour, clip_on=False)


def part_title(part: Any) -> str:
    """Return id (its last 16 characters), label and score of a row of a table of parts."""
    return f"{str(part.id)[-16:]}\n{LABEL_NAMES[part.label]}, score {part.defect_score:.3f}"


def map_title(label: int, heat: Tensor) -> str:
    """Return the class that a map (H, W) supports, and "empty" if it is."""
    empty = "" if heat.max() > 0 else ", empty"
    return f'map for "{LABEL_NAMES[int(label)]}"{empty}'


def stops(heat: Tensor) -> str:
    """Return what a `stopping_map` shows; "clean" if it is empty."""
    return "what stops it" if heat.any() else "clean"


def share_of(heat: Tensor, scale: Scale | None = None) -> np.ndarray:
    """Return a map (H, W) divided by the end of a model's scale, or by its own maximum, if any."""
    values = heat.detach().cpu().double().numpy()
    end = np.log(scale[0]) if scale else values.max()
    return (values / end).clip(0, 1) if end > 0 else values


def clearest_of_each_class(subject: Subject) -> pd.DataFrame:
    """Return a good and a bad part whose map for their label is high on the fewest pixels.

    The `MOST_TRIED` least mistaken parts of a class are tried, those that are called right if there
    are any. An empty map counts as high everywhere.
    """
    chosen = []
    for label in LABEL_NAMES:
        parts = subject.parts[subject.parts.label == label]
        pool = (parts[parts.right] if parts.right.any() else parts).nsmallest(MOST_TRIED, "mistake")
        shares = map(share_of, subject.maps(pool.id, label))
        high = [(share > 0.5).mean() or 1.0 for share in shares]
        chosen.append(pool.iloc[[int(np.argmin(high))]])
    return pd.concat(chosen, ignore_index=True)
