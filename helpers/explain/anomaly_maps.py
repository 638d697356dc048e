"""PatchCore's anomaly maps beside Grad-CAM: pictures of the same parts, and where they point.

Grad-CAM shows what a network's score depends on; an anomaly map shows which places look unlike all
good parts that PatchCore remembers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import ndimage, stats
from torch import Tensor
from torch.nn import functional

from helpers.core import seeding
from helpers.core.paths import RunPaths
from helpers.core.style import LABEL_NAMES, draw_image
from helpers.datasets.cache import ImageCache
from helpers.datasets.split_file import read_split
from helpers.explain.map_measures import pixel_auroc, pointing_game
from helpers.explain.map_quality import MapQuality, find_mask, read_mask
from helpers.explain.maps import MAP_SCALE, draw_overlay, grid, map_title, part_title
from helpers.explain.subject import Subject
from helpers.models import backbones
from helpers.models.names import PATCHCORE
from helpers.runs.costs import checkpoints
from helpers.runs.record import naming_maker
from helpers.runs.stages import images_of
from helpers.training.features import EMBED_BATCH, image_batches
from helpers.training.inference import placed
from helpers.training.memory_bank import PatchCoreNetwork

SIGMA_PX = 4  # of the Gaussian that smooths a map, as in the paper
DEFECT_COLOUR = "#ffb000"  # dashed, so that it differs from the map's line in gray too
DRAWN = {0: 2, 1: 4}  # good and bad parts beside Grad-CAM
SCALE = f"{MAP_SCALE}\nPatchCore: from 1 (usual for a good part) to the map's peak"


@dataclass(frozen=True)
class AnomalyMaps:
    """PatchCore with its first memory, and the images at its size."""

    model: PatchCoreNetwork
    cache: ImageCache

    def maps(self, ids: pd.Series) -> Tensor:
        """Return the `anomaly_map` of some images, (B, H, W)."""
        table = pd.DataFrame({"id": np.asarray(ids), "label": 0})
        batches = image_batches(self.cache, table, self.model, EMBED_BATCH)
        return torch.cat([anomaly_map(self.model, images) for images in batches.ordered()])

    def pixels(self, ids: pd.Series) -> np.ndarray:
        """Return the parts as they look, at the size of the maps: (B, H, W, C) uint8."""
        return self.cache.take(self.cache.rows(ids))


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


def open_if_any(run_paths: RunPaths) -> AnomalyMaps | None:
    """Open the run's PatchCore; print a line and return None if it has none.

    The first memory is that of fold 0: it has seen neither validation nor test images.

    Raises:
        ArtifactError: the file of the memory is damaged.
    """
    found = checkpoints(run_paths.trainings(PATCHCORE))
    if not found or not run_paths.predictions(PATCHCORE).is_file():  # of another split
        print("there is no PatchCore in this run: notebook 02 makes its maps possible")
        return None
    with naming_maker(run_paths, found[0]):
        model = backbones.load_model(found[0])
    assert isinstance(model, PatchCoreNetwork)
    size_px = model.spec.image_size_px
    return AnomalyMaps(model, images_of(run_paths, read_split(run_paths.split_csv), size_px))


def beside_gradcam(subject: Subject, anomalies: AnomalyMaps, seed: int = 0) -> Figure:
    """Draw parts above the subject's Grad-CAM maps for "bad" and PatchCore's anomaly maps.

    The parts are drawn at random, see `DRAWN`. An anomaly map starts at the usual score of a good
    part, 1.0. A dashed line surrounds the defect if the source has masks.
    """
    order = seeding.numpy_stream(seed, "parts of anomaly maps").permutation(len(subject.parts))
    table = subject.parts.iloc[order]
    parts = pd.concat([table[table.label == label].head(n) for label, n in DRAWN.items()])
    cams, heats = subject.maps(parts.id, 1), anomalies.maps(parts.id)
    own, pixels = subject.pixels(parts.id), anomalies.pixels(parts.id)
    peaks = pd.Series(heats.amax((1, 2)).numpy()).groupby(parts.label.to_numpy())
    found = [f"{own.min():.2f} to {own.max():.2f} if {LABEL_NAMES[k]}" for k, own in peaks]
    title = (
        f"{len(parts)} parts drawn at random: PatchCore's peaks are {', '.join(found)} (1: usual "
        f"for a good part)\nGrad-CAM of {subject.title}"
    )
    columns = len(parts)
    figure, axes = grid(3, columns, (1.75 * columns + 0.6, 6.8), title, SCALE)
    for i, part in enumerate(parts.itertuples()):
        draw_image(axes[0, i], pixels[i], part_title(part))
        draw_overlay(axes[1, i], own[i], cams[i], map_title(1, cams[i]))
        above = (heats[i] - 1).clamp(min=0)
        draw_overlay(axes[2, i], pixels[i], above, f"PatchCore, peak {heats[i].max():.2f}")
        if file := find_mask(Path(part.path)):
            for ax, shown in zip(axes[:, i], (pixels, own, pixels), strict=True):
                mask = read_mask(file, shown.shape[1], subject.cache.fit)
                ax.contour(mask, [0.5], colors=DEFECT_COLOUR, linewidths=1.4, linestyles="dashed")
    return figure


def localisation(quality: MapQuality, anomalies: AnomalyMaps) -> pd.DataFrame:
    """Return how well both kinds of maps find the defects of `quality.masked`.

    Returns:
        One row per measure, the pointing game and the AUROC of the pixels inside each part, with
        the means over the parts `gradcam`, `patchcore` and `chance`, and `difference` (PatchCore
        less Grad-CAM) with its 95 % interval over the parts. No row if the source has no masks.
    """
    columns = ["measure", "images", "gradcam", "patchcore", "chance", "difference", "low", "high"]
    if not quality.masks:
        return pd.DataFrame(columns=columns)
    parts = quality.masked
    both = (
        (quality.subject.maps(parts.id, 1), quality.masks),
        (
            anomalies.maps(parts.id),
            [read_mask(f, anomalies.cache.size_px, anomalies.cache.fit) for f in parts.file],
        ),
    )
    stacked = [(maps, torch.from_numpy(np.stack(masks))) for maps, masks in both]
    covered = stacked[1][1].double().mean().item()
    rows: list[tuple] = []
    for name, measure, chance in (
        ("pointing game", pointing_game, covered),
        ("pixel AUROC", pixel_auroc, 0.5),
    ):
        gradcam, patchcore = (measure(maps, masks).double().numpy() for maps, masks in stacked)
        beyond = patchcore - gradcam
        half = stats.t.ppf(0.975, len(parts) - 1) * beyond.std(ddof=1) / len(parts) ** 0.5
        mean = beyond.mean()
        means = (gradcam.mean(), patchcore.mean(), chance, mean, mean - half, mean + half)
        rows.append((name, len(parts), *means))
    return pd.DataFrame(rows, columns=columns)


def localisation_shape(found: pd.DataFrame) -> pd.DataFrame:
    """Return `localisation` as text for a notebook."""
    text = found.map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value))
    return pd.DataFrame(
        {
            "Measure": found.measure,
            "Bad parts": text.images,
            "Grad-CAM": text.gradcam,
            "PatchCore": text.patchcore,
            "Chance": text.chance,
            "Difference": text.difference + " [" + text.low + ", " + text.high + "]",
        }
    )
