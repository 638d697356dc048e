"""The fused computations of the supernet: same mathematics as the plain operations, far less work.

Two identities carry the speed. With y = P d (a 1x1 convolution of d) batch statistics need no
pass over y:

    mean(y) = P mean(d),    var(y) = diag(P cov(d) P^T),

so BN, and the edge's softmax weight behind it, fold into one matrix: scale * BN(P d) = W d + b.
The sum of all operations into a node is then a sum of matrix products. In the backward pass
everything that BN and P need follows from the cross moments E[g d^T] of d and the node's gradient
g, and the gradient of d is again two matrix products. "Rows" below are maps (B, C, H, W) seen as a
matrix (B * H * W, C).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .depthwise import WeightGrad, depthwise_forward, depthwise_input_grad, half_resolution
from .operations import pad_to_even

BN_EPS = 1e-5  # torch's default


def to_rows(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B * H * W, C), a view when x is channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def to_maps(rows: Tensor, like: Tensor) -> Tensor:
    """(B * H * W, C) to (B, C, H, W) in channels_last; B, H and W are those of `like`."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


class Fold(NamedTuple):
    """scale * BN(P d) of T terms as W d + b, and what the backward pass needs of it."""

    weight: Tensor  # (T, K, O): rows of d times this
    bias: Tensor  # (T, O)
    pointwise: Tensor  # P (T, O, K)
    scale: Tensor  # (T, O)
    mean: Tensor  # of d (T, K)
    cov: Tensor  # of d (T, K, K)
    mean_y: Tensor  # (T, O)
    inv_std: Tensor  # of y (T, O)


def moments(features: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean (T, K) and biased covariance (T, K, K) of T row matrices (n, K)."""
    n = features[0].shape[0]
    gram = torch.stack([d.t() @ d for d in features])
    ones = features[0].new_ones(n)
    mean = torch.stack([d.t() @ ones for d in features]) / n
    return mean, gram.div_(n).sub_(mean[:, :, None] * mean[:, None, :])


def fold_bn(mean: Tensor, cov: Tensor, pointwise: Tensor, scale: Tensor) -> Fold:
    """Fold scale * BN(P d) into one matrix and a bias (module docstring)."""
    mean_y = (pointwise @ mean[:, :, None]).squeeze(-1)
    var_y = ((pointwise @ cov) * pointwise).sum(-1).clamp_min_(0)
    inv_std = (var_y + BN_EPS).rsqrt_()
    factor = scale * inv_std
    weight = (pointwise * factor[:, :, None]).transpose(1, 2)
    return Fold(weight, -factor * mean_y, pointwise, scale, mean, cov, mean_y, inv_std)


class Unfold(NamedTuple):
    """Gradients through a Fold: of rows d it is g @ from_g + d @ from_d + constant."""

    from_g: Tensor  # (T, O, K)
    from_d: Tensor  # (T, K, K)
    constant: Tensor  # (T, K)
    pointwise: Tensor  # (T, O, K)
    scale: Tensor  # (T, O)


def unfold_bn(fold: Fold, cross: Tensor, mean_g: Tensor, n: int) -> Unfold:
    """Backward of `fold_bn` from cross = E[g d^T] (T, O, K) and mean_g = E[g] (T, O), n rows."""
    p, inv_std = fold.pointwise, fold.inv_std
    factor = fold.scale * inv_std
    # E[g * y_hat], y_hat the normalised y: BN's backward subtracts g's part along 1 and y_hat.
    along = inv_std * ((p * cross).sum(-1) - fold.mean_y * mean_g)
    slope = factor * inv_std * along
    scaled = factor[:, :, None] * p
    shift = slope * fold.mean_y - factor * mean_g
    dp = factor[:, :, None] * (cross - mean_g[:, :, None] * fold.mean[:, None, :])
    dp = dp - slope[:, :, None] * (p @ fold.cov)
    return Unfold(
        from_g=scaled,
        from_d=-p.transpose(1, 2) @ (slope[:, :, None] * p),
        constant=(shift[:, None, :] @ p).squeeze(1),
        pointwise=dp.mul_(n),
        scale=along * n,
    )


def cross_moments(grads: list[Tensor], features: list[Tensor]) -> Tensor:
    """E[g d^T] (T, O, K) of T pairs of row matrices."""
    pairs = zip(grads, features, strict=True)
    return torch.stack([g.t() @ d for g, d in pairs]).div_(features[0].shape[0])


def mean_rows(grads: list[Tensor]) -> Tensor:
    """Means (T, O) of T row matrices (n, O)."""
    ones = grads[0].new_ones(grads[0].shape[0])
    return torch.stack([g.t() @ ones for g in grads]).div_(ones.shape[0])


def feature_grad(grad: Tensor, feature: Tensor, back: Unfold, t: int) -> Tensor:
    """Gradient (n, K) of term t's rows."""
    out = torch.addmm(back.constant[t], grad, back.from_g[t])
    return out.addmm_(feature, back.from_d[t])


class _PointwiseBN(torch.autograd.Function):
    """BN(sum over t of P_t relu(x)_t); the features are relu(x), or its even and odd pixels."""

    @staticmethod
    def forward(ctx, x: Tensor, pointwise: Tensor, reduce: bool) -> Tensor:
        r = torch.relu(x)
        features = [r]
        if reduce:
            r_padded = pad_to_even(r)
            features = [half_resolution(r_padded), half_resolution(r_padded, 1)]
        rows = [to_rows(f) for f in features]
        fold = fold_bn(*moments(rows), pointwise, torch.ones_like(pointwise[:, :, 0]))
        out = torch.addmm(fold.bias.sum(0), rows[0], fold.weight[0])
        for d, weight in zip(rows[1:], fold.weight[1:], strict=True):
            out.addmm_(d, weight)
        ctx.reduce = reduce
        ctx.save_for_backward(r, *features, *fold)
        return to_maps(out, features[0])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        count = 2 if ctx.reduce else 1
        r, *saved = ctx.saved_tensors
        features, fold = saved[:count], Fold(*saved[count:])
        g = to_rows(grad)
        rows = [to_rows(f) for f in features]
        cross = cross_moments([g] * count, rows)
        back = unfold_bn(fold, cross, mean_rows([g]).expand(count, -1), g.shape[0])
        dp = back.pointwise if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, dp, None
        grads = [to_maps(feature_grad(g, d, back, t), features[0]) for t, d in enumerate(rows)]
        if ctx.reduce:
            dr = torch.zeros_like(r, memory_format=torch.channels_last)
            dr[:, :, ::2, ::2] = grads[0]
            odd = dr[:, :, 1::2, 1::2]
            odd.copy_(grads[1][:, :, : odd.shape[2], : odd.shape[3]])
        else:
            dr = grads[0]
        return torch.ops.aten.threshold_backward(dr, r, 0), dp, None


def pointwise_bn(x: Tensor, weight: Tensor, reduce: bool = False) -> Tensor:
    """ReLU, 1x1 convolution with weight (O, K), BN without affine: (B, K, H, W) to (B, O, H, W).

    With `reduce` the first O // 2 filters read the even pixels, the others the odd ones, as in
    `operations.FactorizedReduce`: (B, O, ceil(H / 2), ceil(W / 2)).
    """
    pointwise = split_filters(weight) if reduce else weight[None]
    return _PointwiseBN.apply(x, pointwise, reduce)


def split_filters(weight: Tensor) -> Tensor:
    """(..., O, K) to (2, ..., O, K): filters of the even pixels, then of the odd, zeros elsewhere.

    A zero filter gives y = 0, hence BN(y) = 0: it adds nothing.
    """
    out = weight.shape[-2]
    even = (torch.arange(out, device=weight.device) < out // 2).to(weight.dtype)[:, None]
    return torch.stack([weight * even, weight * (1 - even)])


def average_pool(x: Tensor, stride: int) -> tuple[Tensor, Tensor, Tensor]:
    """3x3 average of the pixels inside the map, as a depthwise convolution (faster than the stock).

    Returns the pooled maps, the kernel and 1 / count (1, C, H', W') for the backward pass.
    """
    channels = x.shape[1]
    kernel = x.new_ones(channels, 1, 3, 3)
    counts = F.conv2d(x.new_ones(1, 1, *x.shape[-2:]), kernel[:1], None, stride, 1)
    inverse = counts.reciprocal().expand(-1, channels, -1, -1)
    inverse = inverse.contiguous(memory_format=torch.channels_last)
    return depthwise_forward(x, kernel, stride).mul_(inverse), kernel, inverse


_max_pool = torch.ops.aten.max_pool2d_with_indices
_max_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward


class _State(torch.autograd.Function):
    """All operations on all edges that leave one state. See `mixed_state`."""

    @staticmethod
    def forward(ctx, x, scale, dw3, dw5, pw, reduce, stride):
        groups, width = scale.shape[1:]
        repeats = width // x.shape[1]
        r = torch.relu(x)
        coarse = half_resolution(r) if stride == 2 else r  # what dilated convolutions read
        wide = r.repeat(1, repeats, 1, 1) if repeats > 1 else r
        wide_coarse = coarse.repeat(1, repeats, 1, 1) if repeats > 1 and stride == 2 else wide
        if stride == 2 and repeats == 1:
            wide_coarse = coarse
        dilation = 2 if stride == 1 else 1
        first = [
            depthwise_forward(wide, dw[0, g], stride) for dw in (dw3, dw5) for g in range(groups)
        ]
        dilated = [
            depthwise_forward(wide_coarse, dw[2, g], 1, dilation)
            for dw in (dw3, dw5)
            for g in range(groups)
        ]
        like = dilated[0]
        first_rows = [to_rows(d) for d in first]
        p1 = pw[:2].flatten(0, 1)
        fold1 = fold_bn(*moments(first_rows), p1, torch.ones_like(p1[:, :, 0]))
        hidden = [
            to_maps(torch.addmm(fold1.bias[t], d, fold1.weight[t]).relu_(), like)
            for t, d in enumerate(first_rows)
        ]
        second = [
            depthwise_forward(hidden[i * groups + g], dw[1, g])
            for i, dw in enumerate((dw3, dw5))
            for g in range(groups)
        ]
        final = second + dilated
        final_rows = [to_rows(d) for d in final]
        fold2 = fold_bn(*moments(final_rows), pw[2:].flatten(0, 1), scale[3:].flatten(0, 1))

        pooled, index = _max_pool(x, [3, 3], [stride] * 2, [1, 1])
        average, kernel, inverse = average_pool(x, stride)
        shared = [pooled, average]
        eye = torch.eye(x.shape[1], dtype=x.dtype, device=x.device).repeat(repeats, 1)  # (width, C)
        p3 = eye.expand(2, groups, -1, -1)
        s3 = scale[:2]
        if stride == 2:
            shared += [coarse, half_resolution(pad_to_even(r), 1)]
            p3 = torch.cat([p3, reduce])
            s3 = torch.cat([s3, scale[2:3].expand(2, -1, -1)])
        shared_rows = [to_rows(f) for f in shared]
        mean, cov = moments(shared_rows)
        fold3 = fold_bn(
            mean.repeat_interleave(groups, 0),
            cov.repeat_interleave(groups, 0),
            p3.flatten(0, 1),
            s3.flatten(0, 1),
        )
        bias = fold2.bias.view(4, groups, width).sum(0) + fold3.bias.view(-1, groups, width).sum(0)
        outs = []
        for g in range(groups):
            out = torch.addmm(bias[g], final_rows[g], fold2.weight[g])
            for t in range(1, 4):
                out.addmm_(final_rows[t * groups + g], fold2.weight[t * groups + g])
            for t, f in enumerate(shared_rows):
                out.addmm_(f, fold3.weight[t * groups + g])
            if stride == 1:
                out.addmm_(to_rows(x), (eye * scale[2, g][:, None]).t())
            outs.append(to_maps(out, like))
        ctx.stride, ctx.groups, ctx.repeats = stride, groups, repeats
        ctx.counts = (len(first), len(hidden), len(final), len(shared))
        ctx.save_for_backward(
            x,
            scale,
            dw3,
            dw5,
            r,
            wide,
            wide_coarse,
            index,
            kernel,
            inverse,
            eye,
            *first,
            *hidden,
            *final,
            *shared,
            *fold1,
            *fold2,
            *fold3,
        )
        return tuple(outs)

    @staticmethod
    @once_differentiable
    def backward(ctx, *grads):
        stride, groups, repeats = ctx.stride, ctx.groups, ctx.repeats
        x, scale, dw3, dw5, r, wide, wide_coarse, index, kernel, inverse, eye, *rest = (
            ctx.saved_tensors
        )
        parts = []
        for c in ctx.counts:
            parts.append(rest[:c])
            rest = rest[c:]
        first, hidden, final, shared = parts
        fold1, fold2, fold3 = Fold(*rest[:8]), Fold(*rest[8:16]), Fold(*rest[16:])
        g_rows = [to_rows(g) for g in grads]
        n = g_rows[0].shape[0]
        like = final[0]
        need_w = ctx.needs_input_grad[2]
        mean_g = mean_rows(g_rows)  # (G, width)
        # final terms
        final_rows = [to_rows(d) for d in final]
        back2 = unfold_bn(fold2, cross_moments(g_rows * 4, final_rows), mean_g.repeat(4, 1), n)
        dfinal = [
            to_maps(feature_grad(g_rows[t % groups], d, back2, t), like)
            for t, d in enumerate(final_rows)
        ]
        ddw3, ddw5 = (torch.empty_like(dw) if need_w else None for dw in (dw3, dw5))
        # second depthwise of sep
        h = []
        for i, (dw, ddw) in enumerate(((dw3, ddw3), (dw5, ddw5))):
            for g in range(groups):
                t = i * groups + g
                dh = depthwise_input_grad(dfinal[t], hidden[t], dw[1, g])
                if need_w:
                    ddw[1, g] = WeightGrad(hidden[t], dw.shape[-1])(dfinal[t])
                h.append(to_rows(torch.ops.aten.threshold_backward(dh, hidden[t], 0)))
        first_rows = [to_rows(d) for d in first]
        back1 = unfold_bn(fold1, cross_moments(h, first_rows), mean_rows(h), n)
        dfirst = [to_maps(feature_grad(h[t], d, back1, t), like) for t, d in enumerate(first_rows)]
        # depthwise of the shared input
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
                d = dfinal[2 * groups + t]
                b = depthwise_input_grad(d, wide_coarse, dw[2, g], 1, dilation)
                if stride == 1:
                    dwide.add_(b)
                else:
                    dcoarse = b if dcoarse is None else dcoarse.add_(b)
                if need_w:
                    ddw[0, g] = wg1(dfirst[t])
                    ddw[2, g] = wg2(d)
        if repeats > 1:
            dwide = dwide.unflatten(1, (repeats, -1)).sum(1)
            dcoarse = None if dcoarse is None else dcoarse.unflatten(1, (repeats, -1)).sum(1)
        # shared
        shared_rows = [to_rows(f) for f in shared]
        T = len(shared)
        cross = cross_moments(
            [g_rows[g] for _ in range(T) for g in range(groups)],
            [f for f in shared_rows for _ in range(groups)],
        )
        back3 = unfold_bn(fold3, cross, mean_g.repeat(T, 1), n)
        dshared = []
        for t, f in enumerate(shared_rows):
            s = slice(t * groups, (t + 1) * groups)
            out = torch.addmm(back3.constant[s].sum(0), f, back3.from_d[s].sum(0))
            for g in range(groups):
                out.addmm_(g_rows[g], back3.from_g[t * groups + g])
            dshared.append(to_maps(out, like))
        dx = None
        dr = dwide
        dscale = torch.empty_like(scale)
        dscale[:2] = back3.scale.view(T, groups, -1)[:2]
        dscale[3:] = back2.scale.view(4, groups, -1)
        dreduce = None
        if stride == 2:
            dscale[2] = back3.scale.view(T, groups, -1)[2:].sum(0)
            dreduce = back3.pointwise.unflatten(0, (T, groups))[2:]
            dcoarse = dcoarse.add_(dshared[2])
            dr[:, :, ::2, ::2] += dcoarse
            odd = dr[:, :, 1::2, 1::2]
            odd += dshared[3][:, :, : odd.shape[2], : odd.shape[3]]
        dx = torch.ops.aten.threshold_backward(dr, r, 0)
        if stride == 1:
            x_rows = to_rows(x)
            dx_rows = to_rows(dx)
            for g in range(groups):
                dscale[2, g] = ((g_rows[g].t() @ x_rows) * eye).sum(1)
                dx_rows.addmm_(g_rows[g], eye * scale[2, g][:, None])
            dx = to_maps(dx_rows, x)
        dx = dx + _max_pool_backward(
            dshared[0], x, [3, 3], [stride] * 2, [1, 1], [1, 1], False, index
        )
        dx += depthwise_input_grad(dshared[1].mul_(inverse), x, kernel, stride)
        dpw = (
            torch.cat([back1.pointwise, back2.pointwise]).unflatten(0, (6, groups))
            if need_w
            else None
        )
        return dx, dscale, ddw3, ddw5, dpw, dreduce, None


def mixed_state(x, scale, dw3, dw5, pw, reduce, stride):
    """A state x (B, C, H, W) through its mixed operations: one map per group of edges.

    `scale` carries the edges' softmax weights; dw3, dw5, pw and reduce are the stacked filters of
    `supernet.StateEdges`.
    """
    return _State.apply(x, scale, dw3, dw5, pw, reduce, stride)
