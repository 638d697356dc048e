"""Depthwise convolutions of stride 2 whose backward pass is fast on a CPU.

oneDNN's backward of a strided depthwise convolution is slow. Pixels of even and of odd rows and
columns take part in different taps of the kernel, so both gradients fall into four small
convolutions of stride 1, one for each parity (r, s) of row and column:

- x[r::2, s::2] is multiplied by the taps w[r::2, s::2] alone;
- its gradient is the output's gradient convolved with these taps, flipped;
- the taps' gradient is the weight gradient of that convolution.

Here x is padded already: a kernel of size k maps (2 h - 2 + k) rows to h.
"""

from __future__ import annotations

from typing import Any

import timm.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))


def strided_input_grad(grad: Tensor, weight: Tensor, x_shape: torch.Size) -> Tensor:
    """Gradient of x (B, C, 2 h - 2 + k, 2 w - 2 + k) from the output's (B, C, h, w)."""
    dx = torch.empty(
        x_shape, dtype=grad.dtype, device=grad.device, memory_format=torch.channels_last
    )
    for r, s in PARITIES:
        taps = weight[:, :, r::2, s::2].flip(-2, -1)
        padding = (taps.shape[-2] - 1, taps.shape[-1] - 1)
        dx[:, :, r::2, s::2] = F.conv2d(grad, taps, padding=padding, groups=weight.shape[0])
    return dx


def strided_weight_grad(grad: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    """Gradient of the kernel (C, 1, k, k) from the output's (B, C, h, w) and x."""
    dw = torch.empty_like(weight)
    for r, s in PARITIES:
        part = x[:, :, r::2, s::2].contiguous(memory_format=torch.channels_last)
        taps = weight[:, :, r::2, s::2]
        args = ([1, 1], [0, 0], [1, 1], False, [0, 0], weight.shape[0], [False, True, False])
        dw[:, :, r::2, s::2] = torch.ops.aten.convolution_backward(grad, part, taps, None, *args)[1]
    return dw


class _Strided(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        """The convolution; keeps what the backward pass reads."""
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, stride=2, groups=weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """Gradients of x and weight."""
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = strided_input_grad(grad, weight, x.shape) if ctx.needs_input_grad[0] else None
        dw = strided_weight_grad(grad, x, weight) if ctx.needs_input_grad[1] else None
        return dx, dw


class StridedDepthwiseConv2d(timm.layers.Conv2dSame):
    """timm's depthwise convolution of stride 2 with "same" padding, same state dict."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)), in the autocast precision if set."""
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        x = timm.layers.pad_same(x, list(self.kernel_size), list(self.stride))
        if x.device.type != "cpu":
            return F.conv2d(x, weight, stride=2, groups=weight.shape[0])
        return _Strided.apply(x, weight)


def is_strided_depthwise(module: nn.Module) -> bool:
    """Whether `StridedDepthwiseConv2d` can take a module's place."""
    return (
        isinstance(module, timm.layers.Conv2dSame)
        and module.groups == module.in_channels == module.out_channels > 1
        and module.kernel_size in ((3, 3), (5, 5))
        and module.stride == (2, 2)
        and module.dilation == (1, 1)
        and module.bias is None
    )
