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
    second_moments,
    to_maps,
    to_rows,
    unfold_bn,
)
from .operations import pad_to_even

KERNELS = (3, 5)
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


class _Mixed(torch.autograd.Function):
    """Forward and backward of `mixed_edges`.

    Terms of an edge, in this order: sep3, sep5, dil3, dil5 and, with stride 2, the two halves of
    the skip's factorized reduce. Lists of T terms and G groups are flat, term by term.
    """

    @staticmethod
    def forward(ctx, x, scale, dw3, dw5, first_pw, last_pw, stride):
        groups, repeats = scale.shape[1], scale.shape[2] // x.shape[1]
        r = torch.relu(x)
        coarse = half_resolution(r) if stride == 2 else r
        wide = r.repeat(1, repeats, 1, 1) if repeats > 1 else r
        wide_coarse = half_resolution(wide) if stride == 2 else wide
        image, dilation = mean_image(r), 2 if stride == 1 else 1
        first, dilated = [], []
        for dw, k in zip((dw3, dw5), KERNELS, strict=True):
            taps = tap_means(image, k, stride).repeat(repeats, 1, 1)
            biases = _bias(dw[0], taps)
            first += [depthwise_forward(wide, w, stride, 1, b) for w, b in zip(dw[0], biases, strict=True)]
            taps = tap_means(image, k, stride, 2).repeat(repeats, 1, 1)
            biases = _bias(dw[2], taps)
            dilated += [
                depthwise_forward(wide_coarse, w, 1, dilation, b)
                for w, b in zip(dw[2], biases, strict=True)
            ]
        like = dilated[0]
        rows = [to_rows(d) for d in first]
        fold1 = fold_bn(rows, first_pw, torch.ones_like(first_pw[:, :, 0]))
        hidden = [to_maps((d @ w).relu_(), like) for d, w in zip(rows, fold1.weight, strict=True)]
        last = _second_depthwise(hidden, (dw3, dw5)) + dilated
        last_rows = [to_rows(d) for d in last]
        if stride == 2:
            odd = half_resolution(pad_to_even(r), 1)
            halves = [coarse.clone() if repeats == 1 else coarse, odd]
            for half in halves:
                last_rows += [_repeat(centred(to_rows(half)), repeats)] * groups
        terms = len(last_rows) // groups
        term_scale = scale[3:]
        if stride == 2:
            term_scale = torch.cat([term_scale, scale[2:3], scale[2:3]])
        fold2 = fold_bn(last_rows, last_pw, term_scale.flatten(0, 1))
        pooled, index = _max_pool(x, [3, 3], [stride] * 2, [1, 1])
        average, kernel, inverse = average_pool(x, stride)
        pools = [_repeat(centred(to_rows(p)), repeats) for p in (pooled, average)]
        pool_inv = [((p * p).mean(0) + BN_EPS).rsqrt_() for p in pools]
        skip = _repeat(to_rows(x), repeats) if stride == 1 else None
        outs = []
        for g in range(groups):
            out = pools[0] * (scale[0, g] * pool_inv[0])
            out.addcmul_(pools[1], scale[1, g] * pool_inv[1])
            if stride == 1:
                out.addcmul_(skip, scale[2, g])
            for t in range(terms):
                out.addmm_(last_rows[t * groups + g], fold2.weight[t * groups + g])
            outs.append(to_maps(out, like))
        ctx.stride, ctx.groups, ctx.repeats = stride, groups, repeats
        ctx.save_for_backward(
            x, scale, dw3, dw5, wide, wide_coarse, index, kernel, inverse, *pools, *pool_inv,
            *fold1, *fold2, *rows, *hidden, *last_rows,
        )
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        stride, groups, repeats = ctx.stride, ctx.groups, ctx.repeats
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

        back2 = unfold_bn(fold2, second_moments(gs * terms, last_rows), n)
        term_scale = back2.scale.unflatten(0, (terms, groups))
        dscale[3:] = term_scale[:4]
        dlast = [to_maps(feature_grad(gs[t % groups], d, back2, t), like) for t, d in enumerate(last_rows[:4*groups])]
        ddw3, ddw5 = (torch.empty_like(dw) if need_w else None for dw in (dw3, dw5))
        hs = []
        for t in range(2 * groups):
            dw, ddw, g = ((dw3, ddw3), (dw5, ddw5))[t // groups] + (t % groups,)
            if need_w:
                ddw[1, g] = WeightGrad(hidden[t], dw.shape[-1])(dlast[t])
            dh = depthwise_input_grad(dlast[t], hidden[t], dw[1, g])
            hs.append(centred(to_rows(relu_backward(dh, hidden[t]))))
        back1 = unfold_bn(fold1, second_moments(hs, rows), n)
        dfirst = [to_maps(feature_grad(h, d, back1, t), like) for t, (h, d) in enumerate(zip(hs, rows))]

        dilation = 2 if stride == 1 else 1
        dwide, dcoarse = None, None
        for i, (dw, ddw) in enumerate(((dw3, ddw3), (dw5, ddw5))):
            if need_w:
                wg1 = WeightGrad(wide, dw.shape[-1], stride)
                wg2 = WeightGrad(wide_coarse, dw.shape[-1], 1, dilation)
            for g in range(groups):
                t = i * groups + g
                a = depthwise_input_grad(dfirst[t], wide, dw[0, g], stride)
                dwide = a if dwide is None else dwide.add_(a)
                d = dlast[2 * groups + t]
                b = depthwise_input_grad(d, wide_coarse, dw[2, g], 1, dilation)
                if stride == 1:
                    dwide.add_(b)
                else:
                    dcoarse = b if dcoarse is None else dcoarse.add_(b)
                if need_w:
                    ddw[0, g] = wg1(dfirst[t])
                    ddw[2, g] = wg2(d)
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
                along = inv * (gs[g] * p).mean(0)
                dscale[i, g] = along * n
                factor = scale[i, g] * inv
                slope = slope + factor * inv * along
                out = gs[g] * factor if out is None else out.addcmul_(gs[g], factor)
            out.addcmul_(p, slope, value=-1)
            dpools.append(to_maps(_sum_repeats(out, repeats), like))
        if stride == 1:
            x_rows = _repeat(to_rows(x), repeats)
            dx_rows = to_rows(dx)
            for g in range(groups):
                dscale[2, g] = (raw[g] * x_rows).sum(0)
                if repeats == 1:
                    dx_rows.addcmul_(raw[g], scale[2, g])
                else:
                    dx_rows.add_(_sum_repeats(raw[g] * scale[2, g], repeats))
            dx = to_maps(dx_rows, x)
        dx += _max_pool_backward(dpools[0], x, [3, 3], [stride] * 2, [1, 1], [1, 1], False, index)
        dx += depthwise_input_grad(dpools[1].mul_(inverse), x, kernel, stride)
        return dx, dscale, ddw3, ddw5, back1.pointwise, back2.pointwise, None


def _second_depthwise(hidden: list[Tensor], filters: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The second depthwise convolutions of sep3 and sep5 on all groups, centred."""
    images = torch.stack([mean_image(h) for h in hidden]).unflatten(0, (2, -1))
    outs = []
    for i, dw in enumerate(filters):
        biases = _bias(dw[1], tap_means(images[i], dw.shape[-1]))
        for g, (w, b) in enumerate(zip(dw[1], biases, strict=True)):
            outs.append(depthwise_forward(hidden[i * len(dw[1]) + g], w, 1, 1, b))
    return outs


def mixed_edges(x, scale, dw3, dw5, first_pw, last_pw, stride):
    return _Mixed.apply(x, scale, dw3, dw5, first_pw, last_pw, stride)
