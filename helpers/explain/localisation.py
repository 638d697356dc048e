"""Measure how well maps find defects: two measures of maps against masks of the defects.

Maps are (B, H, W), masks (B, H, W) bool, true on the defect.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageOps
from torch import Tensor

from helpers.core import seeding
from helpers.core.metrics import mean_interval, roc_auc
from helpers.datasets import DataError
from helpers.datasets.cache import Fit, ImageCache
from helpers.datasets.region import window
from helpers.explain.anomaly_maps import AnomalyMaps
from helpers.explain.subject import Subject

MOST_MASKS = 300  # parts that are looked at
TABLE = {  # templates of `tables.shown`
    "Measure": "{measure}",
    "Bad parts": "{images}",
    "Grad-CAM": "{gradcam:%[]}",
    "PatchCore": "{patchcore:%[]}",
    "Chance": "{chance:%}",
    "PatchCore less Grad-CAM": "{difference:+%[]}",
}


def localisation(
    subject: Subject, anomalies: AnomalyMaps | None = None, seed: int = 0
) -> pd.DataFrame:
    """Return how well maps for "bad" find the defects of bad parts with masks.

    Returns:
        One row for each measure: `measure, images`, the mean over the parts `gradcam`, and with
        anomaly maps `patchcore` and `difference` (PatchCore less Grad-CAM), each with its 95 %
        interval in `<name>_low` and `<name>_high`, and `chance`, the mean of uninformed
        maps. There is no row if fewer than two bad parts have masks.
    """
    parts = masked_parts(subject, seed)
    if len(parts) < 2:
        return pd.DataFrame()
    pairs = {"gradcam": (subject.maps(parts.id, 1), masks_of(parts, subject.cache))}
    if anomalies:
        pairs["patchcore"] = (anomalies.maps(parts.id), masks_of(parts, anomalies.cache))
    rows = []
    for name, function, chance in (
        ("pointing game", pointing_game, pairs["gradcam"][1].double().mean().item()),
        ("pixel AUROC", pixel_auroc, 0.5),
    ):
        values = {kind: function(*pair).double().numpy() for kind, pair in pairs.items()}
        if anomalies:
            values["difference"] = values["patchcore"] - values["gradcam"]
        row: dict[str, object] = {"measure": name, "images": len(parts), "chance": chance}
        for kind, each in values.items():
            least = -1.0 if kind == "difference" else 0.0
            interval = mean_interval(each, parts.get("group"), least)
            row |= zip((kind, f"{kind}_low", f"{kind}_high"), interval, strict=True)
        rows.append(row)
    return pd.DataFrame(rows)


def pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """Return 1 for each map whose highest pixel is on the defect, else 0; of tied pixels the share
    on it: (B,) (Zhang et al. 2018, tolerance 0). Chance is the share of the masks in the images."""
    highest = maps == maps.amax((1, 2), keepdim=True)
    return (highest & masks).sum((1, 2)) / highest.sum((1, 2))


def pixel_auroc(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the AUROC of each map's pixels on the defect against its other pixels: (B,).

    Chance is 0.5, which is also the value if a mask covers nothing or all.
    """
    aurocs = [
        roc_auc(mask, heat) if 0 < mask.mean() < 1 else 0.5
        for mask, heat in zip(masks.flatten(1).numpy(), maps.flatten(1).numpy(), strict=True)
    ]
    return torch.tensor(aurocs, dtype=torch.float64)


def masked_parts(subject: Subject, seed: int = 0) -> pd.DataFrame:
    """Return up to `MOST_MASKS` bad parts, drawn with `seed`, with the `file` of their mask.

    Parts whose mask marks nothing at the network's size are left out.
    """
    bad = subject.parts[subject.parts.label == 1]
    bad = bad.assign(file=[find_mask(Path(path)) for path in bad.path])
    bad = bad[bad.file.notna()]
    order = seeding.numpy_stream(seed, "parts with masks").permutation(len(bad))[:MOST_MASKS]
    bad = bad.iloc[order]
    return bad[masks_of(bad, subject.cache).any((1, 2)).numpy()] if len(bad) else bad


def masks_of(parts: pd.DataFrame, cache: ImageCache) -> Tensor:
    """Return the masks of `masked_parts` at the size and shape of a cache's images."""
    how = cache.size_px, cache.fit, cache.region
    return torch.from_numpy(np.stack([read_mask(file, *how) for file in parts.file]))


def find_mask(image: Path) -> Path | None:
    """Return the PNG that marks an image's defect, or None: `masks/<folders>/<name>.png` beside one
    of the image's folders, as `helpers.datasets.chips` writes it."""
    for parent in list(image.parents)[:3]:
        folders = image.relative_to(parent).parts[:-1]
        for depth in range(len(folders) + 1):
            mask = parent.joinpath("masks", *folders[:depth], f"{image.stem}.png")
            if mask.is_file():
                return mask
    return None


def read_mask(path: Path, size_px: int, fit: Fit, region: str = "") -> np.ndarray:
    """Return a mask (H, W), bool, at the model's size: True if any of a pixel's area is marked, so
    that a hairline survives. It is cropped and made square like the images, its border not marked.
    Raise DataError if the region does not fit."""
    with Image.open(path) as image:
        defect = np.asarray(image.convert("L")) > 0
    if region:
        try:
            rows, columns, inside = window(region, defect.shape[1], defect.shape[0])
        except ValueError as error:
            raise DataError(f"{path}: {error}") from None
        defect = defect[rows, columns] & (True if inside is None else inside)
    marked = Image.fromarray(defect.astype(np.uint8) * 255)
    if fit == "pad":
        marked = ImageOps.pad(marked, (max(marked.size),) * 2)
    return np.asarray(marked.resize((size_px, size_px), Image.Resampling.BOX)) > 0
