"""Describe what a model expects and offers, as data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class ModelSpec:
    """What images a model expects, and what it offers."""

    name: str
    kind: str  # how `build` makes it again: "resnet18", "efficientnet_lite0", "cnn", ...
    num_classes: int
    image_size_px: int
    in_channels: int  # 3: gray images are repeated; 1: taken as they are
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding_size: int
    feature_layer: str  # dotted name of the last convolutional layer, for Grad-CAM
    options: dict[str, Any] = field(default_factory=dict)  # what else `build` needs, JSON-able
    standardise: bool = False  # by each image's own mean and deviation, not by `mean` and `std`


class Model(nn.Module):
    """A network of this series: `model(images)` gives raw class scores (B, K)."""

    spec: ModelSpec

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (B, D) of normalised images (B, C, H, W)."""
        raise NotImplementedError
