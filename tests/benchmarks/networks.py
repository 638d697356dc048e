"""The networks that the benchmarks train: ours, and the same ones of torch's own modules."""

from __future__ import annotations

import timm
import torch
import torchvision
from torch import Tensor, nn

from helpers.darts.genotypes import Genotype
from helpers.models import backbones
from tests.plain_darts import PlainReduce, conv, separable

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


def _operation(name: str, c: int, stride: int) -> nn.Module:
    kernel = int(name[-1]) if name[-1].isdigit() else 0
    if name == "skip_connect":
        return PlainReduce(c, c, nn.BatchNorm2d) if stride == 2 else nn.Identity()
    if name == "max_pool_3x3":
        return nn.MaxPool2d(3, stride, 1)
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride, 1, count_include_pad=False)
    if name.startswith("dil_conv"):
        return nn.Sequential(*separable(c, kernel, stride, 2, nn.BatchNorm2d))
    first = separable(c, kernel, stride, 1, nn.BatchNorm2d)
    return nn.Sequential(*first, *separable(c, kernel, 1, 1, nn.BatchNorm2d))


class PlainDerivedCell(nn.Module):
    """A cell of a genotype, operation by operation."""

    def __init__(self, genotype: Genotype, c_pp, c_p, c, reduction, reduction_before) -> None:
        super().__init__()
        kind = "reduce" if reduction else "normal"
        relu_conv_bn = nn.Sequential(nn.ReLU(), conv(c_pp, c, 1), nn.BatchNorm2d(c))
        self.pre0 = PlainReduce(c_pp, c, nn.BatchNorm2d) if reduction_before else relu_conv_bn
        self.pre1 = nn.Sequential(nn.ReLU(), conv(c_p, c, 1), nn.BatchNorm2d(c))
        edges = genotype.edges(kind)
        self.sources = [source for _, source, _ in edges]
        self.operations = nn.ModuleList(
            _operation(name, c, 2 if reduction and source < 2 else 1) for name, source, _ in edges
        )

    def forward(self, s0: Tensor, s1: Tensor) -> Tensor:
        """The states of the two cells before -> (B, nodes * C, H', W')."""
        states = [self.pre0(s0), self.pre1(s1)]
        for i in range(0, len(self.operations), 2):  # two edges a node
            a, b = self.sources[i : i + 2]
            states.append(self.operations[i](states[a]) + self.operations[i + 1](states[b]))
        return torch.cat(states[2:], dim=1)


class PlainDerived(nn.Module):
    """Same network as `helpers.darts.network.DerivedNetwork` with the ImageNet stem."""

    def __init__(self, genotype: Genotype, c: int, layers: int, num_classes: int, in_channels=3):
        super().__init__()
        first = [conv(in_channels, c // 2, 3, 2, padding=1), nn.BatchNorm2d(c // 2), nn.ReLU()]
        self.stem0 = nn.Sequential(*first, conv(c // 2, c, 3, 2, padding=1), nn.BatchNorm2d(c))
        self.stem1 = nn.Sequential(nn.ReLU(), conv(c, c, 3, 2, padding=1), nn.BatchNorm2d(c))
        self.cells, c_pp, c_p, before = nn.ModuleList(), c, c, True
        for i in range(layers):
            reduction = i in (layers // 3, 2 * layers // 3)
            c = 2 * c if reduction else c
            self.cells.append(PlainDerivedCell(genotype, c_pp, c_p, c, reduction, before))
            c_pp, c_p, before = c_p, 4 * c, reduction
        self.classifier = nn.Linear(c_p, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> class scores (B, K)."""
        s0 = self.stem0(x)
        s1 = self.stem1(s0)
        for cell in self.cells:
            s0, s1 = s1, cell(s0, s1)
        return self.classifier(s1.mean(dim=(2, 3)))
