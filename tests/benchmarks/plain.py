"""The plain way, as tutorials show it: files by Pillow, torchvision's transforms, a DataLoader.

Float32, contiguous tensors, two worker processes started torch's default way. Networks are timm's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from helpers.models import backbones
from tests.benchmarks.measure import seconds_of

BACKBONES = ("resnet18", "efficientnet_lite0")
SOURCE_PX = 280  # the contest's images
WORKERS = 2
LABEL_SMOOTHING = 0.1


def network(backbone: str, size_px: int) -> backbones.PretrainedClassifier:
    """Return timm's network with random weights, the same ones each time."""
    return backbones.pretrained(backbones.find_weights(backbone, "random", size_px), 2, size_px)


def image_table(folder: Path, count: int) -> pd.DataFrame:
    """Write 8-bit gray BMP files with grain and a brighter body; return `id, path, label`."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:06d}.bmp" for number in range(count)]
    for number, path in enumerate(paths):
        rng = np.random.default_rng(number)
        pixels = rng.integers(20, 80, (SOURCE_PX, SOURCE_PX), dtype=np.uint8)
        top, left = rng.integers(10, SOURCE_PX // 3, 2)
        pixels[top : top + SOURCE_PX // 2, left : left + SOURCE_PX // 2] += np.uint8(120)
        Image.fromarray(pixels).save(path)
    names = {"id": [path.stem for path in paths], "path": [path.as_posix() for path in paths]}
    return pd.DataFrame(names | {"label": np.arange(count) % 2})


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


def quarter_turn(image: Image.Image) -> Image.Image:
    """Turn an image by 90 degrees."""
    return image.transpose(Image.Transpose.ROTATE_90)


def transform_of(size_px: int, mean=None, std=None, augment: str = "none"):
    """Resize, augment ("none", "flips" or "full" as `training.augment`), to tensor, normalise."""
    steps = [transforms.Resize((size_px, size_px))]
    if augment in ("flips", "full"):
        steps += [transforms.RandomHorizontalFlip(), transforms.RandomVerticalFlip()]
    if augment == "full":
        steps.append(transforms.RandomApply([transforms.Lambda(quarter_turn)]))
        affine = transforms.RandomAffine(5, translate=(0.04, 0.04), scale=(0.95, 1.05))
        steps.append(transforms.RandomApply([affine]))
        steps.append(transforms.ColorJitter(brightness=0.15, contrast=0.15))
    steps.append(transforms.ToTensor())
    if mean is not None:
        steps.append(transforms.Normalize(mean, std))
    return transforms.Compose(steps)


@torch.no_grad()
def embed(trunk: nn.Module, batches: DataLoader, device: torch.device) -> np.ndarray:
    """Compute embeddings (N, D) in eval mode."""
    trunk.to(device).eval()
    return np.concatenate([trunk(images.to(device)).cpu().numpy() for images, _ in batches])


def train(
    model: nn.Module,
    batches: DataLoader,
    device: torch.device,
    epochs: int,
    optimizer: torch.optim.Optimizer,
    label_smoothing: float = LABEL_SMOOTHING,
) -> list[float]:
    """Train with cross-entropy; return the seconds of each epoch."""
    model.to(device).train()

    def epoch() -> None:
        for images, labels in batches:
            optimizer.zero_grad()
            output = model(images.to(device))
            loss = F.cross_entropy(output, labels.to(device), label_smoothing=label_smoothing)
            loss.backward()
            optimizer.step()

    return [seconds_of(epoch) for _ in range(epochs)]
