"""Define the search space of DARTS cells: states, edges, and the operations of an edge.

Source: Liu et al. 2018, arXiv 1806.09055, section 3.1 and appendix A. States are numbered as there:
0 and 1 are the two inputs of the cell, 2 to 5 its four nodes. Each node of a discrete cell keeps
two edges. An operation maps (B, C, H, W) to (B, C, h, w), where h is ceil(H / stride) and w is
ceil(W / stride), so maps of odd size agree too.

    OPS["conv_3x3"] = builder  # builder(channels, stride, affine) -> nn.Module

From now on a search weighs this operation too, and a cell may hold it. The supernet builds with
`affine` False: there batch norm has no scale, so an operation gets strong by its alpha alone.
"""

from __future__ import annotations

from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.core.errors import UserError
from helpers.core.rules import Registry

NODE_STATES = (2, 3, 4, 5)
# (source, target) states of the 14 candidate edges, in the order of alpha's rows
EDGES = tuple((source, node) for node in NODE_STATES for source in range(node))
NUM_CLASSES = 2  # good and bad
KINDS = ("normal", "reduce")  # of cells, named as in the published genotypes


class GenotypeError(UserError):
    """A genotype, or the file of a genotype, is not valid; the message names the culprit."""


class ReLUConvBN(nn.Sequential):
    """ReLU, 1x1 convolution, BN: bring a cell's input (B, C_in, H, W) to C_out channels."""

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        convolution = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        super().__init__(nn.ReLU(), convolution, nn.BatchNorm2d(out_channels, affine=affine))


class FactorizedReduce(nn.Module):
    """Halve the map without losing pixels: (B, C_in, H, W) to (B, C_out, ceil(H/2), ceil(W/2)).

    ReLU, two 1x1 convolutions of stride 2 (the second on the input shifted by one pixel in both
    directions), concatenation, BN. Odd maps are padded with zeros, so both branches agree in size.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        first = out_channels // 2
        self.conv_even = nn.Conv2d(in_channels, first, 1, bias=False)
        self.conv_odd = nn.Conv2d(in_channels, out_channels - first, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C_out, ceil(H / 2), ceil(W / 2))."""
        x = pad_to_even(torch.relu(x))
        # A 1x1 convolution of stride 2 reads every second pixel: take these first.
        even = self.conv_even(x[:, :, ::2, ::2])
        odd = self.conv_odd(x[:, :, 1::2, 1::2])
        return self.bn(torch.cat([even, odd], dim=1))


def pad_to_even(x: Tensor) -> Tensor:
    """Append a row or column of zeros to (B, C, H, W) if H or W is odd."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else x


def max_pool_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return 3x3 max pooling: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return _pool(nn.MaxPool2d(3, stride, 1), channels, affine)


def avg_pool_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return 3x3 average pooling: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return _pool(nn.AvgPool2d(3, stride, 1, count_include_pad=False), channels, affine)


def _pool(pool: nn.Module, channels: int, affine: bool) -> nn.Module:
    """Return a pool; in the search BN follows it, as it follows the convolutions."""
    return pool if affine else nn.Sequential(pool, nn.BatchNorm2d(channels, affine=False))


def skip_connect(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return the identity, or halve the maps: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return FactorizedReduce(channels, channels, affine) if stride == 2 else nn.Identity()


def separable(
    channels: int, stride: int, affine: bool, *, kernel: int, times: int = 1, dilation: int = 1
) -> nn.Module:
    """Return ReLU, a depthwise convolution, a 1x1 convolution and BN; the first has the stride."""
    layers: list[nn.Module] = []
    for step in (stride, 1)[:times]:
        size = (kernel, step, dilation * (kernel // 2), dilation)
        depthwise = nn.Conv2d(channels, channels, *size, groups=channels, bias=False)
        pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        layers += [nn.ReLU(), depthwise, pointwise, nn.BatchNorm2d(channels, affine=affine)]
    return nn.Sequential(*layers)


def sep_conv_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return two separable 3x3 convolutions: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return separable(channels, stride, affine, kernel=3, times=2)


def sep_conv_5x5(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return two separable 5x5 convolutions: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return separable(channels, stride, affine, kernel=5, times=2)


def dil_conv_3x3(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return a 3x3 convolution with dilation 2: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return separable(channels, stride, affine, kernel=3, dilation=2)


def dil_conv_5x5(channels: int, stride: int, affine: bool) -> nn.Module:
    """Return a 5x5 convolution with dilation 2: (B, C, H, W) -> (B, C, h, w) (arXiv 1806.09055)."""
    return separable(channels, stride, affine, kernel=5, dilation=2)


# Functions, as a `partial` from another process would be another object: see `make_supernet`.
STANDARD = {  # in the order of alpha's columns, after that of `none`
    "max_pool_3x3": max_pool_3x3,
    "avg_pool_3x3": avg_pool_3x3,
    "skip_connect": skip_connect,
    "sep_conv_3x3": sep_conv_3x3,
    "sep_conv_5x5": sep_conv_5x5,
    "dil_conv_3x3": dil_conv_3x3,
    "dil_conv_5x5": dil_conv_5x5,
}
OPS = Registry("operation", STANDARD)  # on an edge of a discrete cell


def primitives() -> tuple[str, ...]:
    """Return the names of alpha's columns; `none` adds nothing, but has a share of the softmax."""
    return ("none", *OPS)


def has_standard_operations() -> bool:
    """Return True if OPS holds the standard operations, in the order of alpha's columns."""
    return list(OPS.items()) == list(STANDARD.items())


def softmax_by_node(beta: Tensor) -> Tensor:
    """Return the softmax of beta (edges,) over the edges into each node: 2, 3, 4, ... of them.

    The edge normalisation of PC-DARTS (arXiv 1907.05737, equation 5).
    """
    into = Counter(node for _, node in EDGES[: len(beta)])  # in the order of the nodes
    return torch.cat([part.softmax(dim=0) for part in beta.split([*into.values()])])
