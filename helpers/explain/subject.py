"""The subject of the pictures: a network, and labelled parts with their scores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from helpers.core import environment
from helpers.datasets.cache import ImageCache
from helpers.explain.gradcam import grad_cam
from helpers.models.spec import Network
from helpers.training.batches import ImageBatches
from helpers.training.inference import placed


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
        """Return Grad-CAM maps for one class: (B, H, W) on the CPU; 0 outside of a mask."""
        spec, images = self.model.spec, self.images(ids)
        maps = grad_cam(self.model, images, target_class, spec.feature_layer, spec.feature_maps)
        return maps.cpu() * torch.from_numpy(self.cache.inside)

    def pixels(self, ids: pd.Series) -> np.ndarray:
        """Return the parts as they look, at the model's size: (B, H, W, C) uint8."""
        return self.cache.take(self.cache.rows(ids))


def make_subject(
    model: Network, cache: ImageCache, parts: pd.DataFrame, threshold: float
) -> Subject:
    """Return a network, moved to the fastest device, with parts (`id, label, defect_score`).

    make_subject(network, images, parts, threshold=0.5).maps(parts.id[:5], 1)
    """
    model = placed(model.eval(), environment.default_device())
    return Subject(model, cache, judged(parts, threshold))


def judged(parts: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Add columns: `called` is 1 (bad) from the threshold on, `right` is True if that is the label,
    and `mistake` is the score's distance from the label."""
    called = (parts.defect_score >= threshold).astype(int)
    mistake = (parts.label - parts.defect_score).abs()
    return parts.assign(called=called, right=called == parts.label, mistake=mistake)
