"""The networks that the benchmarks train: ours, and the same ones of torch's own modules."""

from __future__ import annotations

import timm
import torch
import torchvision
from torch import nn

from helpers.models import backbones

BACKBONES = ("resnet18", "efficientnet_lite0")


def ours(backbone: str, size_px: int) -> nn.Module:
    """Return our classifier of two classes: ResNet-18 with random weights, or EfficientNet-Lite0
    with its packaged ones."""
    if backbone == "resnet18":
        torch.manual_seed(0)
        return backbones.build(backbones.spec_of(backbone, 2, size_px))
    return backbones.pretrained(backbones.find_weights(backbone), 2, size_px)


def plain_trunk(backbone: str) -> nn.Module:
    """Return the stock network without its last layer, with the same weights as ours."""
    if backbone == "resnet18":
        torch.manual_seed(0)
        trunk = torchvision.models.resnet18(weights=None)
        trunk.fc = nn.Identity()
        return trunk
    trunk = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    trunk.load_state_dict(backbones.find_weights(backbone).state)
    return trunk


def plain_classifier(backbone: str) -> nn.Module:
    """Return the stock network with two classes."""
    size = backbones.spec_of(backbone, 2, 224).embedding_size
    return nn.Sequential(plain_trunk(backbone), nn.Linear(size, 2))
