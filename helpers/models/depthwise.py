"""Depthwise convolutions whose backward pass is fast on a CPU, with torch's own result.

oneDNN's backward is fast for an undilated stride-1 input gradient and for a weight gradient whose
kernel is at most three columns wide. Everything else is rewritten into these cases by exact
identities:

- the input gradient of a stride-1 convolution is the convolution of the output's gradient with the
  flipped kernel;
- dilation 2 with stride 2 and even padding reads every second pixel only: it is an undilated
  convolution of x[::2, ::2];
- dilation 2 with stride 1 is four undilated convolutions, one for each parity of row and column;
- a kernel of five columns is covered by two blocks of three (columns 0-2 and 2-4);
- stride 2: x[r::2, s::2] is multiplied by the taps w[r::2, s::2] alone. Both gradients fall into
  four convolutions of stride 1, one for each parity (r, s) of row and column.

On other devices torch's own backward is used. All convolutions here have one filter per channel
and an odd square kernel of size k. The padding is dilation * (k - 1) / 2, except for timm's
convolutions of stride 2, which pad x beforehand: see `StridedDepthwiseConv2d`.
"""

from __future__ import annotations

from typing import Any, TypeVar

import timm.layers
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))  # of row and column
_backward = torch.ops.aten.convolution_backward
Network = TypeVar("Network", bound=nn.Module)


def half_resolution(x: Tensor, offset: int = 0) -> Tensor:
    """Take every second pixel of x (B, C, H, W), from row and column `offset` on; channels_last."""
    return x[:, :, offset::2, offset::2].contiguous(memory_format=torch.channels_last)


def _same_padding(weight: Tensor, dilation: int) -> list[int]:
    return [dilation * (size - 1) // 2 for size in weight.shape[-2:]]


def depthwise_forward(
    x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1, bias: Tensor | None = None
) -> Tensor:
    """Convolve x (B, C, H, W) by weight (C, 1, k, k): (B, C, ceil(H / stride), ceil(W / stride))"""
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
    """Return torch's own gradient of x (slot 0) or of weight (slot 1)."""
    mask = [slot == 0, slot == 1, False]
    args = ([stride] * 2, padding, [dilation] * 2, False, [0, 0], weight.shape[0], mask)
    return _backward(grad, x, weight, None, *args)[slot]


def depthwise_input_grad(
    grad: Tensor, x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Return the gradient of x (B, C, H, W); only x's shape, type and place are read."""
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
        stock = x.device.type != "cpu"
        if stride == 2 and dilation == 2:
            x, self.stride, self.dilation = half_resolution(x), 1, 1
        if not stock and self.stride == 1 and self.dilation == 2:
            x, self.split, self.dilation = _parities(x), True, 1
        self.inputs = [x]
        if not stock and kernel_size == 5 and self.dilation == 1:
            padded, width = F.pad(x, (2, 2)), x.shape[-1] + 2
            blocks = (padded[..., :width], padded[..., 2:])
            self.inputs = [b.contiguous(memory_format=torch.channels_last) for b in blocks]

    def __call__(self, grad: Tensor) -> Tensor:
        """Return the gradient (C, 1, k, k) from the output's gradient."""
        grad = _parities(grad) if self.split else grad
        k = self.kernel_size
        if len(self.inputs) == 1:
            return self._stock(grad, self.inputs[0], (k, k))
        left, right = (self._stock(grad, x, (k, 3)) for x in self.inputs)
        return torch.cat([left, right[..., 1:]], dim=-1)

    def _stock(self, grad: Tensor, x: Tensor, size: tuple[int, int]) -> Tensor:
        weight = grad.new_empty(grad.shape[1], 1, *size)
        padding = _same_padding(weight, self.dilation)
        if size[0] != size[1]:
            padding[1] = 0  # the block's columns are in x already
        return _stock_backward(grad, x, weight, padding, self.stride, self.dilation, 1)


class Depthwise(torch.autograd.Function):
    """Convolve x (B, C, H, W) by weight (C, 1, k, k); differentiable once."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, dilation)
        return depthwise_forward(x, weight, stride, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = depthwise_input_grad(grad, x, weight, *ctx.geometry)
        if ctx.needs_input_grad[1]:
            dw = WeightGrad(x, weight.shape[-1], *ctx.geometry)(grad)
        return dx, dw, None, None


class _Strided(torch.autograd.Function):
    """Stride 2 on x that is padded already: a kernel of size k maps (2 h - 2 + k) rows to h."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, stride=2, groups=weight.shape[0])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad = grad.contiguous(memory_format=torch.channels_last)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = torch.empty_like(x, dtype=grad.dtype, memory_format=torch.channels_last)
            for r, s in PARITIES:  # the output's gradient, convolved with the flipped taps
                taps = weight[:, :, r::2, s::2].flip(-2, -1)
                padding = (taps.shape[-2] - 1, taps.shape[-1] - 1)
                dx[:, :, r::2, s::2] = F.conv2d(grad, taps, padding=padding, groups=taps.shape[0])
        if ctx.needs_input_grad[1]:
            dw = torch.empty_like(weight)
            for r, s in PARITIES:
                part = x[:, :, r::2, s::2].contiguous(memory_format=torch.channels_last)
                taps = weight[:, :, r::2, s::2]
                dw[:, :, r::2, s::2] = _stock_backward(grad, part, taps, [0, 0], 1, 1, 1)
        return dx, dw


def _in_autocast_precision(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        return x.to(dtype), weight.to(dtype)
    return x, weight


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` (groups == in_channels == out_channels), same state dict."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W'), in the autocast precision if one is set."""
        x, weight = _in_autocast_precision(x, self.weight)
        return Depthwise.apply(x, weight, self.stride[0], self.dilation[0])


class StridedDepthwiseConv2d(timm.layers.Conv2dSame):
    """timm's depthwise convolution of stride 2 with "same" padding, same state dict."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, ceil(H / 2), ceil(W / 2)), in the autocast precision if set."""
        x, weight = _in_autocast_precision(x, self.weight)
        x = timm.layers.pad_same(x, list(self.kernel_size), list(self.stride))
        if x.device.type != "cpu":
            return F.conv2d(x, weight, stride=2, groups=weight.shape[0])
        return _Strided.apply(x, weight)


def use_fast_depthwise(model: Network) -> Network:
    """Give a model's depthwise convolutions the fast backward pass, in place; same state dict.

    Taken are those with 3x3 or 5x5 kernels and "same" padding, at stride 2 as timm writes them.
    """
    for module in model.modules():
        if not (
            isinstance(module, nn.Conv2d)
            # no other subclass: some standardise their weights first
            and type(module) in (nn.Conv2d, timm.layers.Conv2dSame)
            and module.groups == module.in_channels == module.out_channels > 1
            and module.kernel_size in ((3, 3), (5, 5))
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and module.bias is None
        ):
            continue
        if isinstance(module, timm.layers.Conv2dSame) and module.stride == (2, 2):
            module.__class__ = StridedDepthwiseConv2d
        elif module.stride == (1, 1) and module.padding == (module.kernel_size[0] // 2,) * 2:
            module.__class__ = DepthwiseConv2d
    return model
