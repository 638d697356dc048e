"""Batches of images or of stored embeddings: order, normalisation, augmentation, read-ahead.

    TrainSettings(augment=v2.RandomRotation(10))  # torchvision.transforms.v2, or any nn.Module
    AUGMENTATIONS["turned"] = v2.RandomRotation(10)  # from now on a name, also for FBP_AUGMENT

A module of your own, or one that your class or function makes, gets one image at a time.
"""

import copy
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from helpers.core import environment, seeding
from helpers.core.rules import Registry, SettingsError
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import ModelSpec, Network

VIEWS = 8  # symmetries of the square
MIRRORED = 4  # the first ones: mirror images, which do not swap height and width


class Batches:
    """Labelled rows of a table (`id`, `label`), in another order each epoch or as they are."""

    def __init__(self, table: pd.DataFrame, batch_size: int) -> None:
        """Take the labels, -1 if hidden or if the table has none."""
        labels = table.get("label", pd.Series(-1, table.index))
        self.labels = np.array(labels.fillna(-1), dtype=np.int64)  # (N,)
        self.ids = table.id.to_numpy(dtype=str)
        self.batch_size, self.device = batch_size, environment.default_device()

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def epoch_size(self) -> int:
        """Return the number of rows that an epoch of training draws."""
        return len(self)

    def inputs(self, parts: list[np.ndarray], training: bool) -> Iterator[Tensor]:
        """Yield the inputs of each part of the rows, augmented in training."""
        raise NotImplementedError

    def shuffled(self, seed: int, epoch: int) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """Yield training batches: rows, inputs, and targets of the loss."""
        order = epoch_order(len(self), seed, epoch)[: self.epoch_size]
        parts = self._parts(order)
        for part, inputs in zip(parts, self.inputs(parts, training=True), strict=True):
            yield part, inputs, torch.from_numpy(self.labels[part]).to(self.device)

    def ordered(self) -> Iterator[Tensor]:
        """Yield the inputs in the rows' own order."""
        yield from self.inputs(self._parts(np.arange(len(self))), training=False)

    def _parts(self, rows: np.ndarray) -> list[np.ndarray]:
        starts = range(0, len(rows), self.batch_size)
        return [rows[start : start + self.batch_size] for start in starts]


class ImageBatches(Batches):
    """Images of a table from a cache (B, C, H, W) float32, prepared as a model expects.

    Gray images keep one channel during augmentation, which then takes a third of the time. An epoch
    draws at most `epoch_images`, each epoch others; 0: all.
    """

    def __init__(
        self,
        cache: ImageCache,
        table: pd.DataFrame,
        model: Network,
        batch_size: int,
        augment: nn.Module | None = None,
        epoch_images: int = 0,
    ) -> None:
        super().__init__(table, batch_size)
        self.cache, self.rows, self.spec = cache, cache.rows(table.id), model.spec
        self.augment, self.epoch_images = augment or nn.Identity(), epoch_images

    @property
    def epoch_size(self) -> int:
        """Count the images of an epoch, without a small last batch.

        Such a batch would count as a whole step, and as a tenth of the batch-norm statistics. Each
        epoch leaves out other images.
        """
        n = min(len(self), self.epoch_images) if self.epoch_images else len(self)
        rest, least = n % self.batch_size, max(2, self.batch_size / 2)
        return n - rest if rest < least and rest < n else n

    def inputs(self, parts: list[np.ndarray], training: bool) -> Iterator[Tensor]:
        """Yield the images of each part as the network takes them, augmented in training."""
        read = (torch.from_numpy(self.cache.take(self.rows[part])) for part in parts)
        for pixels in _read_ahead(read):
            images = to_float(pixels, self.device)
            yield normalise(self.augment(images) if training else images, self.spec)


class EmbeddingBatches(Batches):
    """Stored embeddings (N, D) as batches, for training a last layer alone."""

    def __init__(self, embeddings: np.ndarray, table: pd.DataFrame, batch_size: int) -> None:
        super().__init__(table, batch_size)
        self.embeddings = embeddings

    def inputs(self, parts: list[np.ndarray], training: bool) -> Iterator[Tensor]:
        """Yield the embeddings of each part, (B, D)."""
        for part in parts:
            yield torch.from_numpy(self.embeddings[part]).to(self.device)


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of n rows, its own for every epoch."""
    return seeding.numpy_stream(seed, "order", epoch).permutation(n)


def symmetry(images: Tensor, k: int) -> Tensor:
    """Return images (B, C, H, W) under one of the eight symmetries of the square (D4), exactly.

    `k` is 0 to 7: 0 changes nothing; 1, 2 and 3 mirror along the width, the height, and both; 4 to
    7 are the same, then height and width swapped.
    """
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if k & bit]
    view = images.flip(axes) if axes else images
    if k < MIRRORED:
        return view
    return view.transpose(-2, -1).contiguous(memory_format=torch.channels_last)


def to_float(pixels: Tensor, device: torch.device) -> Tensor:
    """Turn (B, H, W, C) uint8 into (B, C, H, W) float32 in [0, 1] on the device, channels_last."""
    tensor = pixels.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div_(255)


def normalise(images: Tensor, spec: ModelSpec) -> Tensor:
    """Convert (B, C, H, W) in [0, 1] to the model's channels, mean and standard deviation."""
    if images.shape[1] != spec.in_channels:
        if spec.in_channels == 1:  # ITU-R BT.601 luma, as Pillow's conversion to gray
            weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            images = (images * weights).sum(dim=1, keepdim=True)
        else:
            images = images.expand(-1, spec.in_channels, -1, -1)
    mean = images.new_tensor(spec.mean).view(1, -1, 1, 1)
    std = images.new_tensor(spec.std).view(1, -1, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def _read_ahead(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    with ThreadPoolExecutor(1) as pool:  # fetches two batches while the current one is used
        waiting = [pool.submit(next, batches, None) for _ in range(2)]
        while (batch := waiting.pop(0).result()) is not None:
            waiting.append(pool.submit(next, batches, None))
            yield batch


class RandomSymmetry(nn.Module):
    """Apply one of the first `count` symmetries, drawn uniformly, to each image of a batch."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, images: Tensor) -> Tensor:
        """Return augmented images (B, C, H, W)."""
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
        """Return augmented images (B, C, H, W)."""
        module = self.module.to(images.device)
        changed = torch.cat([module(image) for image in images.split(1)])
        if changed.shape != images.shape:
            name, before, after = type(self.module).__name__, [*images.shape], [*changed.shape]
            raise SettingsError(f"the augmentation {name} turns images {before} into {after}")
        return changed


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
        "none": lambda: nn.Identity(),  # noqa: PLW0108 - a class of torch's gets single images
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
