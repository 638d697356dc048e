"""Depthwise convolutions whose backward pass is fast on a CPU, with torch's own result.

oneDNN's backward is fast for an undilated stride-1 input gradient and for a weight gradient whose
kernel is at most three columns wide. Everything else is rewritten into these cases by exact
identities:

- the input gradient of a stride-1 convolution is the convolution of the output's gradient with the
  flipped kernel;
- dilation 2 with stride 2 and even padding reads every second pixel only: it is an undilated
  convolution of x[::2, ::2];
- dilation 2 with stride 1 is four undilated convolutions, one for each parity of row and column;
- a kernel of five columns is covered by two blocks of three (columns 0-2 and 2-4).

On other devices torch's own backward is used. All convolutions here have one filter per channel,
an odd square kernel of size k and the padding dilation * (k - 1) / 2.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from helpers.models.depthwise_strided import StridedDepthwiseConv2d, is_strided_depthwise

_backward = torch.ops.aten.convolution_backward
Network = TypeVar("Network", bound=nn.Module)


def half_resolution(x: Tensor, offset: int = 0) -> Tensor:
    """Every second pixel of x (B, C, H, W), from row and column `offset` on, in channels_last."""
    return x[:, :, offset::2, offset::2].contiguous(memory_format=torch.channels_last)


def _same_padding(weight: Tensor, dilation: int) -> list[int]:
    return [dilation * (size - 1) // 2 for size in weight.shape[-2:]]


def depthwise_forward(
    x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1, bias: Tensor | None = None
) -> Tensor:
    """x (B, C, H, W) with weight (C, 1, k, k) -> (B, C, ceil(H / stride), ceil(W / stride))."""
    if stride == 2 and dilation == 2:
        x, stride, dilation = half_resolution(x), 1, 1
    padding = _same_padding(weight, dilation)
    return F.conv2d(x, weight, bias, stride, padding, dilation, weight.shape[0])


def _stock_backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    padding: list[int],
    stride: int,
    dilation: int,
    slot: int,
) -> Tensor:
    mask = [slot == 0, slot == 1, False]
    args = ([stride] * 2, padding, [dilation] * 2, False, [0, 0], weight.shape[0], mask)
    return _backward(grad, x, weight, None, *args)[slot]


def depthwise_input_grad(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Gradient with respect to x (B, C, H, W); only x's shape, type and place are read."""
    if stride == 1 and grad.device.type == "cpu":
        return depthwise_forward(grad, weight.flip(-2, -1), 1, dilation)
    if stride == 2 and dilation == 2:
        coarse = depthwise_input_grad(grad, x[:, :, ::2, ::2], weight)
        full = torch.zeros_like(x, memory_format=torch.channels_last)
        full[:, :, ::2, ::2] = coarse
        return full
    return _stock_backward(grad, x, weight, _same_padding(weight, dilation), stride, dilation, 0)


def _parities(x: Tensor) -> Tensor:
    """Split (B, C, H, W) by the parity of row and column: (4B, C, ceil(H/2), ceil(W/2))."""
    batch, channels, height, width = x.shape
    if height % 2 or width % 2:  # zeros add nothing to a sum of products
        x = F.pad(x, (0, width % 2, 0, height % 2))
    half = ((height + 1) // 2, (width + 1) // 2)
    split = x.permute(0, 2, 3, 1).reshape(batch, half[0], 2, half[1], 2, channels)
    split = split.permute(0, 2, 4, 1, 3, 5).reshape(4 * batch, *half, channels)
    return split.permute(0, 3, 1, 2)


class WeightGrad:
    """Weight gradients of depthwise convolutions that read the same x (B, C, H, W).

    What depends on x alone is prepared once and shared by all calls.
    """

    def __init__(self, x: Tensor, kernel_size: int, stride: int = 1, dilation: int = 1) -> None:
        self.kernel_size, self.stride, self.dilation = kernel_size, stride, dilation
        self.split = False
        self.stock = x.device.type != "cpu"
        if stride == 2 and dilation == 2:
            x, self.stride, self.dilation = half_resolution(x), 1, 1
        if not self.stock and self.stride == 1 and self.dilation == 2:
            x, self.split, self.dilation = _parities(x), True, 1
        self.inputs = [x]
        if not self.stock and kernel_size == 5 and self.dilation == 1:
            padded = F.pad(x, (2, 2))
            width = x.shape[-1] + 2
            format_ = torch.channels_last
            blocks = (padded[..., :width], padded[..., 2:])
            self.inputs = [block.contiguous(memory_format=format_) for block in blocks]

    def __call__(self, grad: Tensor) -> Tensor:
        """Gradient (C, 1, k, k) from the output's gradient."""
        grad = _parities(grad) if self.split else grad
        k = self.kernel_size
        if len(self.inputs) == 1:
            return self._stock(grad, self.inputs[0], (k, k))
        left, right = (self._stock(grad, x, (k, 3)) for x in self.inputs)
        return torch.cat([left, right[..., 1:]], dim=-1)

    def _stock(self, grad: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
        weight = grad.new_empty(grad.shape[1], 1, *size)
        padding = [self.dilation * (size[0] - 1) // 2, self.dilation * (size[1] - 1) // 2]
        if size[0] != size[1]:
            padding[1] = 0  # the block's columns are in x already
        return _stock_backward(grad, x, weight, padding, self.stride, self.dilation, 1)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        """The convolution; keeps what the backward pass reads."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.dilation = stride, dilation
        return depthwise_forward(x, weight, stride, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        """Gradients of x and weight; none for stride and dilation."""
        x, weight = ctx.saved_tensors
        geometry = (ctx.stride, ctx.dilation)
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = depthwise_input_grad(grad, x, weight, *geometry) if ctx.needs_input_grad[0] else None
        dw = None
        if ctx.needs_input_grad[1]:
            dw = WeightGrad(x, weight.shape[-1], *geometry)(grad)
        return dx, dw, None, None


def depthwise_conv2d(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Differentiable (once) depthwise convolution of x (B, C, H, W) with weight (C, 1, k, k)."""
    return _Depthwise.apply(x, weight, stride, dilation)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` (groups == in_channels == out_channels), same state dict."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W'), in the autocast precision where one is set."""
        weight = self.weight
        if torch.is_autocast_enabled(x.device.type):
            dtype = torch.get_autocast_dtype(x.device.type)
            x, weight = x.to(dtype), weight.to(dtype)
        return depthwise_conv2d(x, weight, self.stride[0], self.dilation[0])


def use_fast_depthwise(model: Network) -> Network:
    """Give a model's depthwise convolutions the fast backward pass, in place; same state dict.

    Taken are those with 3x3 or 5x5 kernels and "same" padding, at stride 2 as timm writes them.
    """
    for module in model.modules():
        if is_strided_depthwise(module):
            module.__class__ = StridedDepthwiseConv2d
        elif (
            isinstance(module, nn.Conv2d)
            and module.groups == module.in_channels == module.out_channels > 1
            and module.kernel_size in ((3, 3), (5, 5))
            and module.stride == (1, 1)
            and module.dilation == (1, 1)
            and module.padding == (module.kernel_size[0] // 2,) * 2
            and module.bias is None
        ):
            module.__class__ = DepthwiseConv2d
    return model
