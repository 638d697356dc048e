"""Batch norm in training that is fast on a CPU even if the channels do not fill its vectors.

torch's own functions then take up to 20 times as long. Here several pixels make one wide row, so
that a row fills whole vectors; the results are torch's up to rounding.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

VECTOR = 64  # bytes
FEW = 32  # channels; with more, torch's own module is as fast
SMALL = 2**18  # numbers; with fewer, too
EPS = 1e-5  # torch's default


def batch_norm(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Normalise (B, C, H, W) by the statistics of the batch; `scale` (C,) multiplies the result.

    The result is that of `F.batch_norm` without running statistics. It can be differentiated twice:
    torch sums rows, one for each pixel, many times as fast as maps in the second derivative.
    """
    channels, pixels = x.shape[1], _pixels_of_a_row(x)
    rows = x.permute(0, 2, 3, 1)  # (B, H, W, C)
    if pixels == 1:
        out = F.batch_norm(rows.flatten(0, 2), None, None, scale, None, training=True, eps=EPS)
    else:
        wide = rows.reshape(-1, pixels * channels)
        centred = wide - _mean(wide, channels).repeat(pixels)
        factor = (_mean(centred.square(), channels) + EPS).rsqrt()
        factor = factor if scale is None else factor * scale
        out = centred * factor.repeat(pixels)
    return out.view(rows.shape).permute(0, 3, 1, 2)


def _mean(wide: Tensor, channels: int) -> Tensor:
    """Return the mean of each channel, (C,), from rows of several pixels."""
    return wide.mean(0).unflatten(0, (-1, channels)).mean(0)


def _pixels_of_a_row(x: Tensor) -> int:
    """Return how many pixels fill whole vectors, 1 if rows of so many cannot be made."""
    lanes = VECTOR // x.element_size()
    pixels = lanes // math.gcd(x.shape[1], lanes)
    return 1 if x.device.type != "cpu" or x[:, 0].numel() % pixels else pixels


class BatchNorm2d(nn.BatchNorm2d):
    """torch's module with its state dict, faster in training if there are few channels.

    Large maps of few channels can be differentiated once, and not under `torch.func`'s transforms.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        is_slow = self.training and x.shape[1] < FEW and x.numel() >= SMALL
        pixels, momentum = _pixels_of_a_row(x) if is_slow else 1, self.momentum
        if pixels == 1 or momentum is None or not (self.affine and self.track_running_stats):
            return super().forward(x)
        out, mean, var = _Folded.apply(x, self.weight, self.bias, self.eps, pixels)
        unbiased = x[:, 0].numel() / (x[:, 0].numel() - 1)
        with torch.no_grad():
            for state, found in (("running_mean", mean), ("running_var", var * unbiased)):
                self.get_buffer(state).lerp_(found, momentum)
            self.get_buffer("num_batches_tracked").add_(1)
        return out


class _Folded(torch.autograd.Function):
    """Batch norm over rows (N / P, P * C) of P pixels, by torch's kernels, which keep float32."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float, pixels: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the result, and mean and variance (C,) of the batch."""
        maps = x.permute(0, 2, 3, 1)
        rows = maps.reshape(-1, pixels * x.shape[1])
        # running statistics that nobody reads; their type makes the others float32
        unused = [weight.new_zeros(rows.shape[1]) for _ in range(2)]
        own = torch.ops.aten.batch_norm_update_stats(rows, *unused, 0.0)
        means, variances = (part.view(pixels, -1) for part in own)  # of each place in a row
        mean, var = means.mean(0), variances.mean(0) + means.var(0, correction=0)
        ctx.save_for_backward(rows, weight, mean, (var + eps).rsqrt())
        ctx.mark_non_differentiable(mean, var)
        out = _affine(rows, mean, (var + eps).rsqrt() * weight, bias)
        return out.view(maps.shape).permute(0, 3, 1, 2), mean, var

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        rows, weight, mean, scale = ctx.saved_tensors
        maps = grad.permute(0, 2, 3, 1)
        wide, pixels = maps.reshape(rows.shape), rows.shape[1] // len(mean)
        sums = torch.ops.aten.native_batch_norm_backward(
            *(wide, rows, None, None, None, mean.repeat(pixels), scale.repeat(pixels)),
            *(True, EPS, [False, True, True]),
        )
        d_weight, d_bias = (part.view(pixels, -1).sum(0) for part in sums[1:])
        # dx = weight scale (g - mean(g) - normalised x mean(g normalised x))
        count, slope = rows.numel() // len(mean), weight * scale
        dx = _affine(wide, d_bias / count, slope)
        dx += _affine(rows, mean, -slope * scale * d_weight / count)
        return dx.view(maps.shape).permute(0, 3, 1, 2), d_weight, d_bias, None, None


def _affine(rows: Tensor, mean: Tensor, slope: Tensor, offset: Tensor | None = None) -> Tensor:
    """Return (rows - mean) * slope + offset, each (C,), computed in float32 and rounded once."""
    own = (mean, torch.ones_like(mean), slope, torch.zeros_like(mean) if offset is None else offset)
    center, one, factor, term = (part.repeat(rows.shape[1] // len(mean)) for part in own)
    return F.batch_norm(rows, center, one, factor, term, training=False, eps=0.0)
