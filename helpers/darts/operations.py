"""The eight candidate operations of the DARTS search space as plain modules.

Source: Liu et al. 2018, arXiv 1806.09055, section 3.1 and appendix A. Every operation maps
(B, C, H, W) to (B, C, ceil(H / stride), ceil(W / stride)), so that odd maps agree at every node.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.depthwise import DepthwiseConv2d

# The order is the order of alpha's columns; `none` keeps its slot in the softmax.
PRIMITIVES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)


class ReLUConvBN(nn.Sequential):
    """ReLU, 1x1 convolution, BN: brings a cell's input (B, C_in, H, W) to C_out channels."""

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__(
            nn.ReLU(),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels, affine=affine),
        )


def softmax_by_node(beta: Tensor) -> Tensor:
    """softmax of beta (edges,) over the edges into each node, of which the first has two.

    The edge normalisation of PC-DARTS (arXiv 1907.05737, equation 5).
    """
    parts: list[Tensor] = []
    start = 0
    while start < len(beta):
        into = len(parts) + 2
        parts.append(beta[start : start + into].softmax(dim=0))
        start += into
    return torch.cat(parts)


def pad_to_even(x: Tensor) -> Tensor:
    """Append a row or column of zeros to (B, C, H, W) where H or W is odd."""
    height, width = x.shape[-2:]
    if height % 2 or width % 2:
        return F.pad(x, (0, width % 2, 0, height % 2))
    return x


class FactorizedReduce(nn.Module):
    """Halve the map without losing pixels: (B, C_in, H, W) to (B, C_out, ceil(H/2), ceil(W/2)).

    ReLU, then two 1x1 convolutions of stride 2, the second on the input shifted by one pixel both
    ways, concatenated, BN. Odd maps are padded with zeros so that both branches agree in size.
    """

    def __init__(self, in_channels: int, out_channels: int, affine: bool = True) -> None:
        super().__init__()
        first = out_channels // 2
        self.conv_even = nn.Conv2d(in_channels, first, 1, bias=False)
        self.conv_odd = nn.Conv2d(in_channels, out_channels - first, 1, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, affine=affine)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C_out, ceil(H / 2), ceil(W / 2))."""
        x = pad_to_even(torch.relu(x))
        # A 1x1 convolution of stride 2 reads every second pixel: take these first.
        even = self.conv_even(x[:, :, ::2, ::2])
        odd = self.conv_odd(x[:, :, 1::2, 1::2])
        return self.bn(torch.cat([even, odd], dim=1))


class DilConv(nn.Sequential):
    """ReLU, depthwise convolution of dilation 2, 1x1 convolution, BN."""

    def __init__(self, channels: int, kernel_size: int, stride: int, affine: bool = True) -> None:
        super().__init__(*_depthwise_separable(channels, kernel_size, stride, 2, affine))


class SepConv(nn.Sequential):
    """(ReLU, depthwise convolution, 1x1 convolution, BN) twice, the stride in the first."""

    def __init__(self, channels: int, kernel_size: int, stride: int, affine: bool = True) -> None:
        super().__init__(
            *_depthwise_separable(channels, kernel_size, stride, 1, affine),
            *_depthwise_separable(channels, kernel_size, 1, 1, affine),
        )


class Zero(nn.Module):
    """The operation `none`: zeros of the output's shape."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> zeros (B, C, ceil(H / stride), ceil(W / stride))."""
        return torch.zeros_like(x[:, :, :: self.stride, :: self.stride])


def _depthwise_separable(
    channels: int, kernel_size: int, stride: int, dilation: int, affine: bool
) -> list[nn.Module]:
    padding = dilation * (kernel_size - 1) // 2
    return [
        nn.ReLU(),
        DepthwiseConv2d(
            channels, channels, kernel_size, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels, affine=affine),
    ]


def _pool(pool: nn.Module, channels: int, affine: bool, pool_bn: bool) -> nn.Module:
    return nn.Sequential(pool, nn.BatchNorm2d(channels, affine=affine)) if pool_bn else pool


def build_operation(
    name: str, channels: int, stride: int, affine: bool = True, pool_bn: bool = False
) -> nn.Module:
    """The operation `name` of PRIMITIVES on `channels` channels with stride 1 or 2.

    `affine` gives the BNs a scale and a shift (derived network: yes; search: no); `pool_bn` puts a
    BN behind a pooling operation (derived network: no; search: yes).
    Raises ValueError for an unknown name or another stride.
    """
    if stride not in (1, 2):
        raise ValueError(f"stride {stride} is not supported: use 1 or 2")
    match name:
        case "none":
            return Zero(stride)
        case "max_pool_3x3":
            return _pool(nn.MaxPool2d(3, stride, 1), channels, affine, pool_bn)
        case "avg_pool_3x3":
            average = nn.AvgPool2d(3, stride, 1, count_include_pad=False)
            return _pool(average, channels, affine, pool_bn)
        case "skip_connect":
            reduce = stride == 2
            return FactorizedReduce(channels, channels, affine) if reduce else nn.Identity()
        case "sep_conv_3x3" | "sep_conv_5x5":
            return SepConv(channels, int(name[-1]), stride, affine)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return DilConv(channels, int(name[-1]), stride, affine)
    raise ValueError(f"unknown operation '{name}': choose one of {', '.join(PRIMITIVES)}")
