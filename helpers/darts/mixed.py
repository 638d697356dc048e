"""All operations on all edges that leave one state of a cell, as one differentiable function.

What edges share (ReLU, pools, their BN, the pixels that dilated and strided operations read) is
computed once. 1x1 convolutions, BNs and the edges' weights are folded (`fused.py`). Depthwise
outputs leave the convolution centred: by linearity the mean of a convolution's output follows from
window sums of the batch's mean image, and goes into the convolution as its bias.

Maps have C channels; a group is one edge, or all edges side by side ("wide"): G groups of D = C or
D = C * edges channels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .depthwise import WeightGrad, depthwise_forward, depthwise_input_grad, half_resolution
from .fused import (
    BN_EPS,
    Fold,
    add_parities,
    centred,
    feature_grad,
    fold_bn,
    mean_rows,
    relu_backward,
    second_moment,
    to_maps,
    to_rows,
    unfold_bn,
)
from .operations import pad_to_even

KERNELS = (3, 5)
Filters = tuple[Tensor, Tensor]  # depthwise weights of the two kernel sizes
_max_pool = torch.ops.aten.max_pool2d_with_indices
_max_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward


@lru_cache(maxsize=256)
def _window(
    size: int, kernel: int, stride: int, dilation: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(size, kernel): 1 / outputs where some output reads this position with this tap."""
    outputs = -(-size // stride)
    window = torch.zeros(size, kernel, dtype=dtype)
    for tap in range(kernel):
        shift = dilation * (tap - kernel // 2)
        hit = [o * stride + shift for o in range(outputs) if 0 <= o * stride + shift < size]
        window[hit, tap] = 1 / outputs
    return window.to(device)


def tap_means(images: Tensor, kernel: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """What each tap of a depthwise convolution reads on average: images (..., H, W) to (..., k, k)."""
    rows, columns = (
        _window(size, kernel, stride, dilation, images.dtype, images.device)
        for size in images.shape[-2:]
    )
    return rows.t() @ images @ columns


def mean_image(x: Tensor) -> Tensor:
    """Mean over the batch of x (B, C, H, W): (C, H, W)."""
    batch, channels, height, width = x.shape
    flat = x.permute(0, 2, 3, 1).reshape(batch, -1)
    mean = torch.mv(flat.t(), flat.new_full((batch,), 1 / batch))
    return mean.view(height, width, channels).permute(2, 0, 1)


def _bias(weight: Tensor, taps: Tensor) -> Tensor:
    """Minus the mean of the output of a convolution with weight (..., C, 1, k, k)."""
    return -(weight.squeeze(-3) * taps).sum((-2, -1))


def average_pool(x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """3x3 average over the pixels inside the map, as a depthwise convolution (faster than torch's).

    Returns the maps, the kernel and 1 / count (1, C, H', W') for the backward pass.
    """
    channels = x.shape[1]
    kernel = x.new_ones(channels, 1, 3, 3)
    counts = F.conv2d(x.new_ones(1, 1, *x.shape[-2:]), kernel[:1], None, stride, 1)
    inverse = counts.reciprocal().expand(-1, channels, -1, -1)
    inverse = inverse.contiguous(memory_format=torch.channels_last)
    return depthwise_forward(x, kernel, stride).mul_(inverse), kernel, inverse


def _repeat(rows: Tensor, repeats: int) -> Tensor:
    return rows.repeat(1, repeats) if repeats > 1 else rows


def _sum_repeats(x: Tensor, repeats: int) -> Tensor:
    """Backward of repeating the channels of maps (B, C, H, W) or the columns of rows (n, C)."""
    return x.unflatten(1, (repeats, -1)).sum(1) if repeats > 1 else x


def column_dots(left: Tensor, right: Tensor) -> Tensor:
    """Sums (C,) over the rows of left * right, both (n, C)."""
    if left.shape[1] <= 32:  # reads only: faster than writing the products, up to here (measured)
        return (left.t() @ right).diagonal()
    return (left * right).sum(0)


class _Geometry(NamedTuple):
    stride: int
    groups: int
    repeats: int  # copies of the C channels side by side in a group


class _Inputs(NamedTuple):
    """What the depthwise convolutions read: relu(x), and its even pixels when the stride is 2."""

    fine: Tensor
    coarse: Tensor


def _first_inputs(r: Tensor, geometry: _Geometry) -> _Inputs:
    wide = r.repeat(1, geometry.repeats, 1, 1) if geometry.repeats > 1 else r
    return _Inputs(wide, half_resolution(wide) if geometry.stride == 2 else wide)


def _first_depthwise(
    r: Tensor, inputs: _Inputs, filters: Filters, geometry: _Geometry
) -> tuple[list[Tensor], list[Tensor]]:
    """Centred rows of the first convolutions of sep3, sep5 and of dil3, dil5."""
    stride, repeats = geometry.stride, geometry.repeats
    image = mean_image(r)
    sep, dil = [], []
    for dw, k in zip(filters, KERNELS, strict=True):
        for out, x, weights, steps, mean_dilation in (
            (sep, inputs.fine, dw[0], (stride, 1), 1),
            (dil, inputs.coarse, dw[2], (1, 3 - stride), 2),
        ):
            taps = tap_means(image, k, stride, mean_dilation).repeat(repeats, 1, 1)
            for weight, bias in zip(weights, _bias(weights, taps), strict=True):
                out.append(to_rows(depthwise_forward(x, weight, *steps, bias)))
    return sep, dil


def _second_depthwise(hidden: Tensor, weight: Tensor) -> Tensor:
    taps = tap_means(mean_image(hidden), weight.shape[-1])
    return to_rows(depthwise_forward(hidden, weight, 1, 1, _bias(weight, taps)))


def _gram(rows: list[Tensor]) -> Tensor:
    return torch.stack([second_moment(d, d) for d in rows])


class _Mixed(torch.autograd.Function):
    """Forward and backward of `mixed_edges`.

    Terms of an edge, in this order: sep3, sep5, dil3, dil5 and, with stride 2, the two halves of
    the skip's factorized reduce. Lists of T terms and G groups are flat, term by term.
    """

    @staticmethod
    def forward(ctx, x, scale, dw3, dw5, first_pw, last_pw, stride):
        groups, repeats = scale.shape[1], scale.shape[2] // x.shape[1]
        ctx.geometry = geometry = _Geometry(stride, groups, repeats)
        r = torch.relu(x)
        inputs = _first_inputs(r, geometry)
        first, dilated = _first_depthwise(r, inputs, (dw3, dw5), geometry)
        fold1 = fold_bn(_gram(first), first_pw, torch.ones_like(first_pw[:, :, 0]))
        like = half_resolution(r) if stride == 2 else r
        hidden, last = [], []
        for t, d in enumerate(first):
            hidden.append(to_maps((d @ fold1.weight[t]).relu_(), like))
            last.append(_second_depthwise(hidden[t], (dw3, dw5)[t // groups][1, t % groups]))
        last += dilated
        cov, last_scale = [_gram(last)], scale[3:]
        if stride == 2:
            for half in (like, half_resolution(pad_to_even(r), 1)):
                d = _repeat(centred(to_rows(half)), repeats)
                last += [d] * groups
                cov += [second_moment(d, d).expand(groups, -1, -1)]
            last_scale = torch.cat([last_scale, scale[2:3], scale[2:3]])
        fold2 = fold_bn(torch.cat(cov), last_pw, last_scale.flatten(0, 1))
        pooled, index = _max_pool(x, [3, 3], [stride] * 2, [1, 1])
        average, kernel, inverse = average_pool(x, stride)
        pools = [_repeat(centred(to_rows(p)), repeats) for p in (pooled, average)]
        pool_inv = [(column_dots(p, p) / len(p) + BN_EPS).rsqrt_() for p in pools]
        skip = _repeat(to_rows(x), repeats) if stride == 1 else None
        outs = []
        for g in range(groups):
            out = pools[0] * (scale[0, g] * pool_inv[0])
            out.addcmul_(pools[1], scale[1, g] * pool_inv[1])
            if stride == 1:
                out.addcmul_(skip, scale[2, g])
            for t in range(g, len(last), groups):
                out.addmm_(last[t], fold2.weight[t])
            outs.append(to_maps(out, like))
        ctx.save_for_backward(
            x, scale, dw3, dw5, *inputs, index, kernel, inverse, *pools, *pool_inv,
            *fold1, *fold2, *first, *hidden, *last,
        )
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        stride, groups, repeats = ctx.geometry
        x, scale, dw3, dw5, wide, wide_coarse, index, kernel, inverse, *rest = ctx.saved_tensors
        pools, pool_inv, rest = rest[:2], rest[2:4], rest[4:]
        fold1, fold2, rest = Fold(*rest[:5]), Fold(*rest[5:10]), rest[10:]
        rows, hidden, last_rows = rest[: 2 * groups], rest[2 * groups : 4 * groups], rest[4 * groups :]
        like = grads[0]
        raw = [to_rows(g) for g in grads]
        gs = [g - mean_rows(g) for g in raw]
        n = gs[0].shape[0]
        terms = len(last_rows) // groups
        need_w = ctx.needs_input_grad[2]
        dscale = torch.empty_like(scale)

        cross = [None] * len(last_rows)
        for g in range(groups):
            for t in range(g, len(last_rows), groups):
                cross[t] = second_moment(gs[g], last_rows[t])
        back2 = unfold_bn(fold2, torch.stack(cross), n)
        term_scale = back2.scale.unflatten(0, (terms, groups))
        dscale[3:] = term_scale[:4]
        ddw3, ddw5 = (torch.empty_like(dw) if need_w else None for dw in (dw3, dw5))
        hs, cross = [], []
        dilation = 2 if stride == 1 else 1
        dwide, dcoarse = None, None
        for i, (dw, ddw) in enumerate(((dw3, ddw3), (dw5, ddw5))):
            k = dw.shape[-1]
            if need_w:
                wg2 = WeightGrad(wide_coarse, k, 1, dilation)
            for g in range(groups):
                t = i * groups + g
                dd = to_maps(feature_grad(gs[g], last_rows[t], back2, t), like)
                if need_w:
                    ddw[1, g] = WeightGrad(hidden[t], k)(dd)
                dh = depthwise_input_grad(dd, hidden[t], dw[1, g])
                h = centred(to_rows(relu_backward(dh, hidden[t])))
                cross.append(second_moment(h, rows[t]))
                hs.append(h)
                t += 2 * groups
                dd = to_maps(feature_grad(gs[g], last_rows[t], back2, t), like)
                if need_w:
                    ddw[2, g] = wg2(dd)
                b = depthwise_input_grad(dd, wide_coarse, dw[2, g], 1, dilation)
                dcoarse = b if dcoarse is None else dcoarse.add_(b)
        dwide = dcoarse if stride == 1 else None
        back1 = unfold_bn(fold1, torch.stack(cross), n)
        for i, (dw, ddw) in enumerate(((dw3, ddw3), (dw5, ddw5))):
            if need_w:
                wg1 = WeightGrad(wide, dw.shape[-1], stride)
            for g in range(groups):
                t = i * groups + g
                dd = to_maps(feature_grad(hs[t], rows[t], back1, t), like)
                if need_w:
                    ddw[0, g] = wg1(dd)
                a = depthwise_input_grad(dd, wide, dw[0, g], stride)
                dwide = a if dwide is None else dwide.add_(a)
        if stride == 2:
            halves = []
            for s in (4, 5):
                span = range(s * groups, (s + 1) * groups)
                out = last_rows[s * groups] @ back2.from_d[s * groups : (s + 1) * groups].sum(0)
                for g, t in enumerate(span):
                    out.addmm_(gs[g], back2.from_g[t])
                halves.append(to_maps(out, like))
            add_parities(dwide, dcoarse.add_(halves[0]), halves[1])
            dscale[2] = term_scale[4:].sum(0)
        dx = relu_backward(_sum_repeats(dwide, repeats), x)
        dpools = []
        for i, (p, inv) in enumerate(zip(pools, pool_inv)):
            out, slope = None, 0
            for g in range(groups):
                dscale[i, g] = inv * column_dots(gs[g], p)
                factor = scale[i, g] * inv
                slope = slope + factor * inv * dscale[i, g]
                out = gs[g] * factor if out is None else out.addcmul_(gs[g], factor)
            out.addcmul_(p, slope, value=-1 / n)
            dpools.append(to_maps(_sum_repeats(out, repeats), like))
        if stride == 1:
            x_rows = _repeat(to_rows(x), repeats)
            dx_rows = to_rows(dx)
            for g in range(groups):
                dscale[2, g] = column_dots(raw[g], x_rows)
                if repeats == 1:
                    dx_rows.addcmul_(raw[g], scale[2, g])
                else:
                    dx_rows.add_(_sum_repeats(raw[g] * scale[2, g], repeats))
            dx = to_maps(dx_rows, x)
        dx += _max_pool_backward(dpools[0], x, [3, 3], [stride] * 2, [1, 1], [1, 1], False, index)
        dx += depthwise_input_grad(dpools[1].mul_(inverse), x, kernel, stride)
        return dx, dscale, ddw3, ddw5, back1.pointwise, back2.pointwise, None


def mixed_edges(x, scale, dw3, dw5, first_pw, last_pw, stride):
    return _Mixed.apply(x, scale, dw3, dw5, first_pw, last_pw, stride)
