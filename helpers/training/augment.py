"""Random augmentation in training, by name, or a module of your own.

    TrainSettings(augment=v2.RandomRotation(10))  # torchvision.transforms.v2, or any nn.Module
    AUGMENTATIONS["turned"] = v2.RandomRotation(10)  # from now on a name, also for FBP_AUGMENT

A module of your own, or one that your class or function makes, gets one image at a time.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from helpers.core.rules import Registry, SettingsError
from helpers.training.batches import MIRRORED, VIEWS, symmetry


class RandomSymmetry(nn.Module):
    """Apply one of the first `count` symmetries, drawn uniformly, to each image of a batch."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        views = torch.randint(self.count, (len(images),))
        out = torch.empty_like(images)
        for k in views.unique().tolist():
            rows = (views == k).nonzero().flatten().to(images.device)
            out[rows] = symmetry(images[rows], k)
        return out


class EachImage(nn.Module):
    """Apply a module to one image after the other, on the images' device.

    Transforms of torchvision draw once for a whole batch.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        module = self.module.to(images.device)
        changed = torch.cat([module(image) for image in images.split(1)])
        if changed.shape != images.shape:
            name, before, after = type(self.module).__name__, [*images.shape], [*changed.shape]
            raise SettingsError(f"the augmentation {name} turns images {before} into {after}")
        return changed


def unchanged() -> nn.Module:
    """Return a module that leaves the images as they are."""
    return nn.Identity()


def full() -> nn.Module:
    """Return all symmetries, and a small change of each image's gray values.

    Resampling blurs fine lines: only every second image is turned, shifted and scaled a little.
    """
    from kornia import augmentation as K  # takes a second to import: only if it is used

    shift, scale = (0.04, 0.04), (0.95, 1.05)
    return nn.Sequential(
        RandomSymmetry(VIEWS),
        K.RandomAffine(5.0, shift, scale, padding_mode="reflection", p=0.5),
        K.RandomBrightness((0.85, 1.15), p=1.0),
        K.RandomContrast((0.85, 1.15), p=1.0),
    )


# a function of this package that returns a module for batches; or, for single images, a module of
# your own, its class, or a function that returns it
AUGMENTATIONS = Registry(
    "augmentation",
    {
        "none": unchanged,
        "flips": lambda: RandomSymmetry(MIRRORED),  # the four mirror images
        "symmetries": lambda: RandomSymmetry(VIEWS),  # all eight of the square
        "full": full,
    },
)


def augmentation(given: str | nn.Module) -> nn.Module:
    """Return a module that augments each image of a batch (B, C, H, W) in [0, 1] independently.

    `given` is a name of AUGMENTATIONS, or a module that gets one image (1, C, H, W) at a time; a
    copy of it is used. Random numbers must come from torch's global generators, whose seed the
    training loop sets.
    """
    made = AUGMENTATIONS[given] if isinstance(given, str) else given
    if isinstance(made, nn.Module):
        return EachImage(copy.deepcopy(made))
    is_ours = getattr(made, "__module__", "").startswith("helpers.")
    return made() if is_ours else EachImage(made())
