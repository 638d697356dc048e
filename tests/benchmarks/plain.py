"""The plain way, as tutorials show it: files by Pillow, torchvision's transforms, a DataLoader.

Float32, contiguous tensors, two worker processes started torch's default way.
"""

from __future__ import annotations

import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

WORKERS = 2


class Files(Dataset):
    """Image files of a table (`path`, `label`), decoded each time that they are read."""

    def __init__(self, table: pd.DataFrame, transform) -> None:
        self.paths, self.labels = table.path.tolist(), table.label.tolist()
        self.transform = transform

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        with Image.open(self.paths[index]) as image:
            return self.transform(image.convert("RGB")), self.labels[index]


def loader(table: pd.DataFrame, transform, batch_size: int, shuffle: bool = False) -> DataLoader:
    """Return batches of (images (B, C, H, W), labels (B,))."""
    files = Files(table, transform)
    return DataLoader(files, batch_size, shuffle=shuffle, num_workers=WORKERS)


def transform_of(size_px: int, mean, std, flips: bool = False):
    """Resize, mirror at random with `flips`, to tensor, normalise."""
    random = [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()] if flips else []
    steps = [transforms.Resize((size_px, size_px)), *random, transforms.ToTensor()]
    return transforms.Compose([*steps, transforms.Normalize(mean, std)])


def train(
    model: nn.Module,
    batches: DataLoader,
    device: torch.device,
    epochs: int,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Train with cross-entropy."""
    model.to(device).train()
    for _ in range(epochs):
        for images, labels in batches:
            optimizer.zero_grad()
            F.cross_entropy(model(images.to(device)), labels.to(device)).backward()
            optimizer.step()
