"""Stack cells between a stem and a linear classifier, as the supernet and the derived network do.

Source: DARTS (Liu et al., arXiv 1806.09055), appendix A.2 (CIFAR) and A.4 (ImageNet).
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from helpers.models.spec import Network


class Stack(Network):
    """L cells between a stem (see `stems`) and a linear classifier; what a pass does is left open.

    `cell(older_channels, newer_channels, channels, reduction, reduction_before)` returns a module
    with `nodes` times its channels. The reductions, at L//3 and 2L//3, double the channels.
    """

    cells: nn.ModuleList

    def __init__(
        self,
        cell: Callable[[int, int, int, bool, bool], nn.Module],
        channels: int,
        layers: int,
        num_classes: int,
        in_channels: int,
        stem: str,
        nodes: int = 4,
    ) -> None:
        super().__init__()
        self.stem0, self.stem1 = stems(stem, in_channels, channels)
        older = newer = 3 * channels if stem == "cifar" else channels
        before = stem == "imagenet"  # stem1 has halved the map of stem0
        self.cells = nn.ModuleList()
        for index in range(layers):
            reduction = layers > 1 and index in (layers // 3, 2 * layers // 3)
            channels *= 2 if reduction else 1
            self.cells.append(cell(older, newer, channels, reduction, before))
            older, newer, before = newer, nodes * channels, reduction
        self.embedding_size = newer
        self.classifier = nn.Linear(newer, num_classes)


def stems(stem: str, in_channels: int, channels: int) -> tuple[nn.Module, nn.Module]:
    """Return two modules: from images to the first cell's older input, and from that to the newer.

    "cifar" keeps H and W; both inputs have 3 * `channels` channels. Otherwise both have `channels`:
    "half" and "quarter" divide H and W by 2 and 4, "imagenet" by 4, then by 8.
    """

    def conv(c_in: int, c_out: int, stride: int) -> list[nn.Module]:
        return [nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False), nn.BatchNorm2d(c_out)]

    if stem == "cifar":
        return nn.Sequential(*conv(in_channels, 3 * channels, 1)), nn.Identity()
    strides = {"half": (2, 1, 1), "quarter": (2, 2, 1), "imagenet": (2, 2, 2)}[stem]
    half, full = channels // 2, channels
    older = (*conv(in_channels, half, strides[0]), nn.ReLU(), *conv(half, full, strides[1]))
    return nn.Sequential(*older), nn.Sequential(nn.ReLU(), *conv(full, full, strides[2]))
