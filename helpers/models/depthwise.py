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
an odd square kernel of size k, and the padding dilation * (k - 1) / 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.models.convolution import Geometry, bilinear


def half_resolution(x: Tensor) -> Tensor:
    """Take every second pixel of x (B, C, H, W) both ways; channels_last."""
    return x[:, :, ::2, ::2].contiguous(memory_format=torch.channels_last)


class Depthwise(Geometry):
    """A depthwise convolution by w (C, 1, k, k) with stride and dilation 1 or 2."""

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """Return (B, C, ceil(H / stride), ceil(W / stride))."""
        if self.stride == self.dilation == 2:
            return self._on_even_pixels().output(half_resolution(x), w)
        return super().output(x, w)

    def input_grad(self, w: Tensor, y: Tensor) -> Tensor:
        """Return the gradient by x."""
        if self.stride == 1:
            return self.output(y, w.flip(-2, -1))
        if self.dilation == 1:
            return super().input_grad(w, y)
        x = torch.zeros(self.x_shape, dtype=y.dtype).to(memory_format=torch.channels_last)
        x[:, :, ::2, ::2] = self._on_even_pixels().input_grad(w, y)
        return x

    def weight_grad(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gradient by w."""
        if self.stride == self.dilation == 2:
            return self._on_even_pixels().weight_grad(half_resolution(x), y)
        kernel = self.w_shape[-1]
        if self.stride == 1 and self.dilation == 2:
            x, y = _parities(x), _parities(y)
            return same_padding(x, self.w_shape).weight_grad(x, y)
        if kernel == 3:
            return super().weight_grad(x, y)
        # columns 0 to 2 and 2 to 4 of the kernel read these columns of x
        rows = 2 if x.shape[-2] < kernel else 0  # oneDNN is slow if the kernel is higher than x
        padded, width = F.pad(x, (2, 2, rows, rows)), x.shape[-1] + 2
        left, right = (
            part.contiguous(memory_format=torch.channels_last)
            for part in (padded[..., :width], padded[..., 2:])
        )
        three_columns = torch.Size((*self.w_shape[:3], 3))
        half = Geometry(left.shape, three_columns, self.stride, (2 - rows, 0), groups=self.groups)
        first, last = half.weight_grad(left, y), half.weight_grad(right, y)
        return torch.cat([first, last[..., 1:]], dim=-1)

    def _on_even_pixels(self) -> Depthwise:
        """Return the undilated convolution that a dilated one of stride 2 is on even pixels."""
        batch, channels, height, width = self.x_shape
        half = torch.Size((batch, channels, -(-height // 2), -(-width // 2)))
        return Depthwise(half, self.w_shape, 1, self.w_shape[-1] // 2, 1, channels)


def same_padding(x: Tensor, w_shape: torch.Size, stride: int = 1, dilation: int = 1) -> Depthwise:
    """Return the depthwise convolution of x by weights of this shape (C, 1, k, k)."""
    padding = dilation * (w_shape[-1] // 2)
    return Depthwise(x.shape, w_shape, stride, padding, dilation, w_shape[0])


def depthwise(x: Tensor, weight: Tensor, stride: int = 1, dilation: int = 1) -> Tensor:
    """Convolve x (B, C, H, W) by weight (C, 1, k, k): (B, C, ceil(H / stride), ceil(W / stride))"""
    return bilinear(same_padding(x, weight.shape, stride, dilation), x, weight)


def _parities(x: Tensor) -> Tensor:
    """Split (B, C, H, W) by the parity of row and column: (4B, C, ceil(H/2), ceil(W/2))."""
    batch, channels, height, width = x.shape
    if height % 2 or width % 2:  # zeros add nothing to a sum of products
        x = F.pad(x, (0, width % 2, 0, height % 2))
    half = ((height + 1) // 2, (width + 1) // 2)
    split = x.permute(0, 2, 3, 1).reshape(batch, half[0], 2, half[1], 2, channels)
    split = split.permute(0, 2, 4, 1, 3, 5).reshape(4 * batch, *half, channels)
    return split.permute(0, 3, 1, 2)


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `nn.Conv2d` (groups == in_channels == out_channels), same state dict."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H', W'), in the autocast precision if one is set."""
        return depthwise(x, self.weight, self.stride[0], self.dilation[0])
