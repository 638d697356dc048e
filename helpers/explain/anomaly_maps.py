"""Compute PatchCore's anomaly maps: where an image is unlike all good parts in its memory."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from helpers.datasets.cache import ImageCache
from helpers.models.spec import at_once
from helpers.training.batches import ImageBatches
from helpers.training.inference import placed
from helpers.training.patchcore import PatchCoreNetwork

SIGMA_PX = 4  # of the Gaussian that smooths a map, as in the paper


def anomaly_maps(model: PatchCoreNetwork, cache: ImageCache, ids: pd.Series) -> Tensor:
    """Return the `anomaly_map` of some images, (B, H, W); 0 outside of their mask."""
    table = pd.DataFrame({"id": np.asarray(ids), "label": 0})
    batches = ImageBatches(cache, table, model, at_once(cache.size_px))
    maps = torch.cat([anomaly_map(model, images) for images in batches.ordered()])
    return maps * torch.from_numpy(cache.inside)


@torch.no_grad()
def anomaly_map(model: PatchCoreNetwork, images: Tensor) -> Tensor:
    """Return anomaly maps of normalised images (B, C, H, W): (B, H, W) on the CPU.

    They are patch distances, upsampled bilinearly and smoothed (Roth et al. 2022, section 3.3), in
    units of the usual score of a good part, so that maps of different parts can be compared.
    """
    model = placed(model, images.device)
    coarse = model.bank.distances(model.features(images))[0] / model.usual
    size = tuple(images.shape[2:])
    fine = functional.interpolate(coarse[:, None], size, mode="bilinear", align_corners=False)
    smooth = ndimage.gaussian_filter(fine[:, 0].cpu().numpy(), (0, SIGMA_PX, SIGMA_PX))
    return torch.from_numpy(smooth)
