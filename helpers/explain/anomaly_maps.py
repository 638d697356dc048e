"""PatchCore's anomaly maps beside Grad-CAM, on the same parts.

Grad-CAM shows what a network's score depends on; an anomaly map shows which places look unlike all
good parts that PatchCore remembers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from helpers.core import seeding
from helpers.core.style import draw_image
from helpers.datasets.cache import ImageCache
from helpers.explain.maps import MAP_SCALE, draw_overlay, grid, map_title, part_title
from helpers.explain.subject import Subject
from helpers.models.spec import at_once
from helpers.training.batches import image_batches
from helpers.training.inference import placed
from helpers.training.patchcore import PatchCoreNetwork

SIGMA_PX = 4  # of the Gaussian that smooths a map, as in the paper
DRAWN = {0: 2, 1: 4}  # good and bad parts beside Grad-CAM
SCALE = f"{MAP_SCALE}\nPatchCore: from 1 (usual for a good part) to the map's peak"


@dataclass(frozen=True)
class AnomalyMaps:
    """PatchCore with its first memory, and the images at its size."""

    model: PatchCoreNetwork
    cache: ImageCache

    def maps(self, ids: pd.Series) -> Tensor:
        """Return the `anomaly_map` of some images, (B, H, W); 0 outside of their mask."""
        table = pd.DataFrame({"id": np.asarray(ids), "label": 0})
        batches = image_batches(self.cache, table, self.model, at_once(self.cache.size_px))
        maps = torch.cat([anomaly_map(self.model, images) for images in batches.ordered()])
        return maps * torch.from_numpy(self.cache.inside)


@torch.no_grad()
def anomaly_map(model: PatchCoreNetwork, images: Tensor) -> Tensor:
    """Return how unlike good parts each pixel of normalised images is: (B, H, W) on the CPU.

    Patch distances, upsampled bilinearly and smoothed (section 3.3 of the paper), in units of the
    usual score of a good part: the maps of different parts can be compared.
    """
    model = placed(model, images.device)
    coarse = model.bank.distances(model.features(images))[0] / model.usual
    size = tuple(images.shape[2:])
    fine = functional.interpolate(coarse[:, None], size, mode="bilinear", align_corners=False)
    smooth = ndimage.gaussian_filter(fine[:, 0].cpu().numpy(), (0, SIGMA_PX, SIGMA_PX))
    return torch.from_numpy(smooth)


def beside_gradcam(subject: Subject, anomalies: AnomalyMaps, seed: int = 0) -> Figure:
    """Draw parts above the subject's Grad-CAM maps for "bad" and PatchCore's anomaly maps.

    The parts are drawn at random, see `DRAWN`. An anomaly map starts at the usual score of a good
    part, 1.0.
    """
    order = seeding.numpy_stream(seed, "parts of anomaly maps").permutation(len(subject.parts))
    table = subject.parts.iloc[order]
    parts = pd.concat([table[table.label == label].head(n) for label, n in DRAWN.items()])
    cams, heats = subject.maps(parts.id, 1), anomalies.maps(parts.id)
    seen, pixels = subject.pixels(parts.id), anomalies.cache.take(anomalies.cache.rows(parts.id))
    title = f"{len(parts)} parts drawn at random: Grad-CAM of {subject.title}, and PatchCore"
    columns = len(parts)
    figure, axes = grid(3, columns, (1.75 * columns + 0.6, 6.8), title, SCALE)
    for i, part in enumerate(parts.itertuples()):
        draw_image(axes[0, i], pixels[i], part_title(part))
        draw_overlay(axes[1, i], seen[i], cams[i], map_title(1, cams[i]))
        above = (heats[i] - 1).clamp(min=0)
        draw_overlay(axes[2, i], pixels[i], above, f"PatchCore, peak {heats[i].max():.2f}")
    return figure
