"""Random augmentation in training: symmetries of the square, and small changes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from helpers.training.batches import MIRRORED, VIEWS, symmetry


def turned(images: Tensor, views: Tensor) -> Tensor:
    """Return each of the images (B, C, H, W) under its own `symmetry`, given by `views` (B,)."""
    out = torch.empty_like(images)
    for k in views.unique().tolist():
        rows = (views == k).nonzero().flatten().to(images.device)
        out[rows] = symmetry(images[rows], k)
    return out


class RandomSymmetry(nn.Module):
    """Apply one of the first `count` symmetries, drawn uniformly, to each image of a batch."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return turned(images, torch.randint(self.count, (len(images),)))


def augmentation(kind: str) -> nn.Module:
    """Return a module that augments each image of a batch (B, C, H, W) in [0, 1] independently.

    It draws from torch's global generators; the training loop sets their seed.

    `kind` is "none"; "flips" (the four mirror images); "symmetries" (all eight of the square); or
    "full" (also a small rotation, shift and scale of every second image, and of the gray values).
    """
    if kind == "none":
        return nn.Identity()
    symmetries = RandomSymmetry(MIRRORED if kind == "flips" else VIEWS)
    if kind != "full":
        return symmetries
    from kornia import augmentation as K  # takes a second to import: only if it is used

    # Small: parts are nearly straight. Resampling blurs fine lines, so half of the images skip it.
    shift, scale = (0.04, 0.04), (0.95, 1.05)
    return nn.Sequential(
        symmetries,
        K.RandomAffine(5.0, shift, scale, padding_mode="reflection", p=0.5),
        K.RandomBrightness((0.85, 1.15), p=1.0),
        K.RandomContrast((0.85, 1.15), p=1.0),
    )
