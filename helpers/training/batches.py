"""Batches of images or of stored embeddings: order, augmentation, normalisation, read-ahead."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from helpers.core import devices, seeding
from helpers.datasets.cache import ImageCache
from helpers.models.spec import ModelSpec

RESIDENT_SHARE = 0.3  # of a GPU's free memory; the rest is for the training
AUGMENTATIONS = ("none", "flips", "full")
Share = tuple[int, int]  # (rank, processes): each process takes its part
Shuffled = Iterator[tuple[np.ndarray, Tensor, Tensor]]  # rows, inputs, targets
VIEWS = 8  # symmetries of the square


class Batches(Protocol):
    """Labelled rows for the training loop, in another order each epoch or as they are."""

    labels: np.ndarray  # (N,) int64; -1 if hidden
    ids: np.ndarray  # (N,) text
    batch_size: int

    @property
    def epoch_size(self) -> int:
        """Rows that an epoch of training draws."""

    def shuffled(self, seed: int, epoch: int, share: Share = (0, 1)) -> Shuffled:
        """Yield each training batch: rows, augmented inputs, and what the loss compares them with.

        `share` is a part of each batch.
        """

    def ordered(self, share: Share = (0, 1)) -> Iterator[Tensor]:
        """Yield the inputs in the rows' own order, not augmented; of `share` each P-th batch."""


@dataclass
class ImageBatches:
    """Images of some rows of a cache, prepared for a model.

    Gray images stay one channel until they are augmented, which costs a third of the time.

        batches = ImageBatches(cache, cache.rows(ids), labels, ids, model.spec, batch_size=32)
        for rows, images, targets in batches.shuffled(seed=0, epoch=3):
            loss = F.cross_entropy(model(images), targets)
    """

    cache: ImageCache
    rows: np.ndarray  # rows of the cache
    labels: np.ndarray
    ids: np.ndarray
    spec: ModelSpec
    batch_size: int
    device: torch.device = field(default_factory=devices.default_device)
    augment: str = "none"
    epoch_images: int = 0  # an epoch draws at most so many, each epoch others; 0: all
    _resident: Tensor | None = field(default=None, init=False, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def epoch_size(self) -> int:
        return min(len(self), self.epoch_images) if self.epoch_images else len(self)

    def shuffled(self, seed: int, epoch: int, share: Share = (0, 1)) -> Shuffled:
        """Yield (rows of the batch, (B, C, H, W) float32 augmented, labels (B,)).

        Each process takes its part of every batch. A last batch of fewer than two images per
        process is dropped: batch normalisation cannot train on one.
        """
        rank, processes = share
        augment = augmentation(self.augment)
        order = epoch_order(len(self), seed, epoch)[: self.epoch_size]
        parts = [order[i : i + self.batch_size] for i in range(0, len(order), self.batch_size)]
        parts = [part[rank::processes] for part in parts if len(part) >= 2 * processes]
        for part, pixels in zip(parts, self._fetched(parts), strict=True):
            images = normalise(augment(to_float(pixels, self.device)), self.spec)
            yield part, images, torch.from_numpy(self.labels[part]).to(self.device)

    def ordered(self, share: Share = (0, 1)) -> Iterator[Tensor]:
        """Yield (B, C, H, W) float32 in the rows' order; each process takes every P-th batch."""
        starts = range(0, len(self), self.batch_size)[share[0] :: share[1]]
        parts = [np.arange(i, min(i + self.batch_size, len(self))) for i in starts]
        for pixels in self._fetched(parts):
            yield normalise(to_float(pixels, self.device), self.spec)

    def _fetched(self, parts: list[np.ndarray]) -> Iterator[Tensor]:
        """Yield the pixels (B, H, W, C) uint8 of each part; keep all on the device if they fit."""
        size = len(self) * int(np.prod(self.cache.pixels.shape[1:]))  # bytes
        if self._resident is None and size < room_for_images(self.device):
            self._resident = torch.from_numpy(self.cache.take(self.rows)).to(self.device)
        if self._resident is not None:
            return (self._resident[torch.from_numpy(part).to(self.device)] for part in parts)
        return _read_ahead(torch.from_numpy(self.cache.take(self.rows[part])) for part in parts)


@dataclass
class EmbeddingBatches:
    """Stored embeddings (N, D) as batches, for training a last layer alone."""

    embeddings: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    batch_size: int
    device: torch.device = field(default_factory=devices.default_device)

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def epoch_size(self) -> int:
        return len(self)

    def shuffled(self, seed: int, epoch: int, share: Share = (0, 1)) -> Shuffled:
        """Yield (rows of the batch, (B, D) float32, labels (B,)); a process's part may be empty."""
        order = epoch_order(len(self), seed, epoch)
        for start in range(0, len(order), self.batch_size):
            part = order[start : start + self.batch_size][share[0] :: share[1]]
            embeddings = torch.from_numpy(self.embeddings[part]).to(self.device)
            yield part, embeddings, torch.from_numpy(self.labels[part]).to(self.device)

    def ordered(self, share: Share = (0, 1)) -> Iterator[Tensor]:
        """Yield (B, D) float32 in the rows' order; each process takes every P-th batch."""
        for start in range(0, len(self), self.batch_size)[share[0] :: share[1]]:
            part = self.embeddings[start : start + self.batch_size]
            yield torch.from_numpy(part).to(self.device)


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """Return a permutation of n rows, its own for every epoch."""
    return seeding.numpy_stream(seed, "order", epoch).permutation(n)


def to_float(pixels: Tensor, device: torch.device) -> Tensor:
    """Turn (B, H, W, C) uint8 into (B, C, H, W) float32 in [0, 1] on the device, channels_last."""
    tensor = pixels.to(device, non_blocking=True)
    return tensor.permute(0, 3, 1, 2).float().div_(255)


def normalise(images: Tensor, spec: ModelSpec) -> Tensor:
    """Bring (B, C, H, W) in [0, 1] to the model's channels, mean and standard deviation."""
    if images.shape[1] != spec.in_channels:
        if spec.in_channels == 1:  # ITU-R BT.601 luma, as Pillow's conversion to gray
            weights = images.new_tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
            images = (images * weights).sum(dim=1, keepdim=True)
        else:
            images = images.expand(-1, spec.in_channels, -1, -1)
    mean = images.new_tensor(spec.mean).view(1, -1, 1, 1)
    std = images.new_tensor(spec.std).view(1, -1, 1, 1)
    return ((images - mean) / std).contiguous(memory_format=torch.channels_last)


def symmetry(images: Tensor, k: int) -> Tensor:
    """Return images (B, C, H, W) under one of the eight symmetries of the square, exactly.

    Pixels change places, none is resampled. `k` is 0 to 7: 0 changes nothing; 1, 2 and 3 mirror
    along the width, the height, and both; 4 to 7 are the same, then height and width swapped. These
    are the quarter turns and the mirror images along the diagonals.
    """
    axes = [axis for bit, axis in ((1, -1), (2, -2)) if k & bit]
    view = images.flip(axes) if axes else images
    return view if k < 4 else view.mT.contiguous(memory_format=torch.channels_last)


def augmentation(kind: str) -> nn.Module:
    """Return random views of a batch (B, C, H, W) in [0, 1], drawn for each image on its own.

    Kornia's transforms draw from torch's global generators; the training loop sets their stream.

    Args:
        kind: "none", "flips" (mirrored both ways) or "full" (and a small rotation, shift and
            scale, brightness and contrast).
    """
    if kind not in AUGMENTATIONS:
        raise ValueError(f"augment={kind!r} is not one of {', '.join(AUGMENTATIONS)}")
    if kind == "none":
        return nn.Identity()
    from kornia import augmentation as K  # takes a second to import: only if it is used

    steps: list[nn.Module] = [K.RandomHorizontalFlip(p=0.5), K.RandomVerticalFlip(p=0.5)]
    if kind == "full":
        # Small: a part is nearly straight in its frame, and a defect may be a hairline.
        shift, scale = (0.04, 0.04), (0.95, 1.05)
        steps += [
            K.RandomAffine(5.0, shift, scale, padding_mode="reflection", p=1.0),
            K.RandomBrightness((0.85, 1.15), p=1.0),
            K.RandomContrast((0.85, 1.15), p=1.0),
        ]
    return nn.Sequential(*steps)


def room_for_images(device: torch.device) -> int:
    """Return the bytes of a GPU's memory that images may occupy; on a CPU they stay on the disk."""
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return int(free * RESIDENT_SHARE)


def _read_ahead(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    with ThreadPoolExecutor(1) as pool:  # fetches two batches while the current one is used
        waiting = [pool.submit(next, batches, None) for _ in range(2)]
        while (batch := waiting.pop(0).result()) is not None:
            waiting.append(pool.submit(next, batches, None))
            yield batch
