"""Compute the gradients of depthwise convolutions faster on a CPU.

oneDNN computes them in torch. It lacks fast kernels for the gradient of the maps if a convolution
has a stride (in bf16: ten times slower than in float32) or is dilated (in both precisions). The
gradient of 5x5 filters has none in bf16. Fast kernels compute the same sums here. In bf16 a
step of EfficientNet-Lite0 takes half of the time (tests/benchmarks/README.md).
"""

from typing import Any, cast

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame, pad_same
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight

Geometry = tuple[int, int, int]  # stride, padding, dilation


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution without bias with our gradients on a CPU; `use_fast_gradients`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, h, w)."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        return convolve(self, x)


class DepthwiseConv2dSame(Conv2dSame):
    """The same for timm's convolution that pads as TensorFlow does (EfficientNet-Lite0 to 2)."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, C, h, w)."""
        if not self.training or x.device.type != "cpu":
            return super().forward(x)
        return convolve(self, pad_same(x, [*self.kernel_size], [*self.stride], [*self.dilation]))


FAST: dict[type[nn.Conv2d], type[nn.Conv2d]] = {
    nn.Conv2d: DepthwiseConv2d,
    Conv2dSame: DepthwiseConv2dSame,
}


def convolve(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return the depthwise convolution of x (B, C, H, W), in the precision of autocast."""
    weight = conv.weight
    if torch.is_autocast_enabled("cpu"):
        kind = torch.get_autocast_dtype("cpu")
        x, weight = x.to(kind), weight.to(kind)
    stride, padding, dilation = conv.stride[0], int(conv.padding[0]), conv.dilation[0]
    if stride == dilation == 2 and padding % 2 == 0:  # only the even pixels are read
        x, stride, padding, dilation = x[:, :, ::2, ::2], 1, padding // 2, 1
    return cast(Tensor, FastGradients.apply(x, weight, (stride, padding, dilation)))


class FastGradients(torch.autograd.Function):
    """The convolution of x (B, C, H, W) with weight (C, 1, k, k), and its gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
        """Return the convolution (B, C, H', W')."""
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return F.conv2d(x, weight, None, *geometry, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        """Return the gradients of x and of weight, where they are needed."""
        (x, weight), maps, filters = ctx.saved_tensors, None, None
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        if ctx.needs_input_grad[0]:
            maps = gradient_of_maps(x, weight, grad, ctx.geometry)
        if ctx.needs_input_grad[1]:
            filters = gradient_of_filters(x, weight, grad, ctx.geometry)
        return maps, filters, None


def gradient_of_maps(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient (B, C, H, W) of x, given that of the result, (B, C, h, w)."""
    stride, padding, dilation = geometry
    if stride == 1:  # the same convolution with the filters turned
        turned, rest = weight.flip(2, 3), dilation * (weight.shape[-1] - 1) - padding
        return F.conv2d(grad, turned, None, 1, rest, dilation, len(weight))
    exact = torch.promote_types(grad.dtype, torch.float32)
    weight, grad = weight.to(exact), grad.to(exact)
    return conv2d_input(x.shape, weight, grad, *geometry, groups=len(weight)).to(x.dtype)


def gradient_of_filters(x: Tensor, weight: Tensor, grad: Tensor, geometry: Geometry) -> Tensor:
    """Return the gradient (C, 1, k, k) of weight, given that of the result, (B, C, h, w)."""
    stride, padding, dilation = geometry
    if dilation > 1 or grad.dtype != torch.bfloat16:
        exact = torch.promote_types(grad.dtype, torch.float32)
        x, grad = x.to(exact), grad.to(exact)
    elif weight.shape[-1] == 5:  # four blocks of 3x3 at offsets of 0 and 2 cover its 25 taps
        found, x = torch.empty_like(weight), F.pad(x, [padding] * 4)
        height, width = (stride * (n - 1) + 3 for n in grad.shape[2:])
        for top, left in ((0, 0), (0, 2), (2, 0), (2, 2)):
            part = x[:, :, top : top + height, left : left + width]
            block = gradient_of_filters(part, weight[:, :, :3, :3], grad, (stride, 0, 1))
            found[:, :, top : top + 3, left : left + 3] = block
        return found
    x = x.contiguous(memory_format=torch.channels_last)
    return conv2d_weight(x, weight.shape, grad, *geometry, groups=len(weight)).to(weight.dtype)


def use_fast_gradients(model: nn.Module) -> None:
    """Give each depthwise convolution of 3x3 or 5x5 without bias our gradients, in place."""
    for conv in model.modules():
        if (
            isinstance(conv, nn.Conv2d)
            and type(conv) in FAST
            and conv.groups == conv.in_channels == conv.out_channels > 1
            and conv.kernel_size in ((3, 3), (5, 5))
            and conv.bias is None
            and conv.padding_mode == "zeros"
            and not isinstance(conv.padding, str)
            and conv.padding[0] < conv.kernel_size[0]
            and all(len({*values}) == 1 for values in (conv.stride, conv.padding, conv.dilation))
        ):
            conv.__class__ = FAST[type(conv)]
