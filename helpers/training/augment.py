"""Random augmentation in training: symmetries of the square, and small changes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from helpers.core import seeding
from helpers.datasets.cache import ImageCache
from helpers.training.batches import MIRRORED, VIEWS, symmetry, to_float


def turned(images: Tensor, views: Tensor) -> Tensor:
    """Return each of the images (B, C, H, W) under its own `symmetry`, given by `views` (B,)."""
    found = torch.empty_like(images)
    for k in views.unique().tolist():
        rows = (views == k).nonzero().flatten().to(images.device)
        found[rows] = symmetry(images[rows], k)
    return found


class RandomSymmetry(nn.Module):
    """Bring each image of a batch into one of its first `count` symmetries, drawn uniformly."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return turned(images, torch.randint(self.count, (len(images),)))


def augmentation(kind: str) -> nn.Module:
    """Return random views of a batch (B, C, H, W) in [0, 1], drawn for each image on its own.

    They are drawn from torch's global generators; the training loop sets their stream.

    `kind` is "none"; "flips" (the four mirror images); "symmetries" (all eight of the square); or
    "full" (also a small rotation, shift and scale of every second image, and of the gray values).
    """
    if kind == "none":
        return nn.Identity()
    symmetries = RandomSymmetry(MIRRORED if kind == "flips" else VIEWS)
    if kind != "full":
        return symmetries
    from kornia import augmentation as K  # takes a second to import: only if it is used

    # Small: a part is nearly straight in its frame. Resampling softens hairlines: half stay sharp.
    shift, scale = (0.04, 0.04), (0.95, 1.05)
    return nn.Sequential(
        symmetries,
        K.RandomAffine(5.0, shift, scale, padding_mode="reflection", p=0.5),
        K.RandomBrightness((0.85, 1.15), p=1.0),
        K.RandomContrast((0.85, 1.15), p=1.0),
    )


def shown_views(
    images: ImageCache, ids: pd.Series, kind: str, seed: int, views: int = 3
) -> np.ndarray:
    """Return images as they are, and as a training may see them: (1 + views, N, H, W, C) in [0, 1].

    `kind` is that of `augmentation`.
    """
    pixels = torch.from_numpy(images.take(images.rows(ids)))
    batch = to_float(pixels, torch.device("cpu"))  # (N, C, H, W)
    augment = augmentation(kind)
    with seeding.torch_stream(seed, "shown views"):
        seen = [batch, *(augment(batch) for _ in range(views))]
    return torch.stack(seen).permute(0, 1, 3, 4, 2).numpy()
