"""Batch norm by the batch's own statistics, fast on a CPU in both directions and twice over."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

LANES = 16  # float32 numbers in one vector of a CPU
EPS = 1e-5  # torch's default


def batch_norm(x: Tensor, scale: Tensor | None = None) -> Tensor:
    """Normalise (B, C, H, W) by the statistics of the batch; `scale` (C,) multiplies the result.

    The result is that of `F.batch_norm` without running statistics. It is computed over rows, one
    for each pixel: torch sums rows many times as fast as maps in the second derivative. If C
    channels do not fill the vectors of a CPU, torch's function takes up to 20 times as long; then a
    row holds several pixels, and the formula is written out.
    """
    channels = x.shape[1]
    rows = x.permute(0, 2, 3, 1)  # (B, H, W, C)
    pixels = LANES // math.gcd(channels, LANES)
    if x.device.type != "cpu" or pixels == 1 or x[:, 0].numel() % pixels:
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
