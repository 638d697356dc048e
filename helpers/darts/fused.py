"""1x1 convolution and BN folded into one matrix: the arithmetic that makes the supernet fast.

With y = P d (a 1x1 convolution of d), batch statistics need no pass over y: when d is centred,
var(y) = diag(P E[d d^T] P^T). So BN, and the edge's softmax weight behind it, fold into one matrix:
scale * BN(P d) = W d. The sum of all operations into a node is a sum of matrix products. Backward,
all that BN and P need follows from the cross moments E[g d^T] of d and the node's gradient g, and
the gradient of d is again two matrix products.

"Rows" are maps (B, C, H, W) seen as a matrix (n, C) with n = B * H * W.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from .depthwise import half_resolution
from .operations import pad_to_even

BN_EPS = 1e-5  # torch's default


def to_rows(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B * H * W, C), a view when x is channels_last."""
    return x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])


def to_maps(rows: Tensor, like: Tensor) -> Tensor:
    """(B * H * W, C) to (B, C, H, W) in channels_last; B, H and W are those of `like`."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def mean_rows(rows: Tensor) -> Tensor:
    """Mean (C,) of (n, C)."""
    n = rows.shape[0]
    return torch.mv(rows.t(), rows.new_full((n,), 1 / n))


def relu_backward(grad: Tensor, x: Tensor) -> Tensor:
    """grad where x > 0, else 0; overwrites and returns grad."""
    return torch.ops.aten.threshold_backward.grad_input(grad, x, 0, grad_input=grad)


def second_moment(left: Tensor, right: Tensor) -> Tensor:
    """E[l r^T] (L, R) of row matrices (n, L) and (n, R)."""
    return (left.t() @ right).div_(left.shape[0])


class Fold(NamedTuple):
    """scale * BN(P d) of T terms as W d, and what the backward pass needs of it; d centred."""

    weight: Tensor  # W transposed (T, K, O)
    pointwise: Tensor  # P (T, O, K)
    scale: Tensor  # (T, O)
    cov: Tensor  # E[d d^T] (T, K, K)
    inv_std: Tensor  # of y (T, O)


class Unfold(NamedTuple):
    """Gradients through a Fold; that of the rows d is g @ from_g + d @ from_d."""

    from_g: Tensor  # (T, O, K)
    from_d: Tensor  # (T, K, K)
    pointwise: Tensor  # (T, O, K)
    scale: Tensor  # (T, O)


def fold_bn(cov: Tensor, pointwise: Tensor, scale: Tensor) -> Fold:
    """Fold T terms: cov = E[d d^T] (T, K, K) of centred rows d, pointwise P (T, O, K), scale (T, O)."""
    variance = ((pointwise @ cov) * pointwise).sum(-1)
    inv_std = (variance + BN_EPS).rsqrt_()
    weight = (pointwise * (scale * inv_std)[:, :, None]).transpose(1, 2)
    return Fold(weight, pointwise, scale, cov, inv_std)


def unfold_bn(fold: Fold, cross: Tensor, n: int) -> Unfold:
    """Backward of `fold_bn` from cross = E[g d^T] (T, O, K) over n rows; g centred."""
    p, factor = fold.pointwise, fold.scale * fold.inv_std
    # E[g * y_hat], y_hat the normalised y: BN's backward takes g's part along y_hat away.
    along = fold.inv_std * (p * cross).sum(-1)
    slope = (factor * fold.inv_std * along)[:, :, None]
    factor = factor[:, :, None]
    return Unfold(
        from_g=factor * p,
        from_d=-p.transpose(1, 2) @ (slope * p),
        pointwise=(factor * cross - slope * (p @ fold.cov)).mul_(n),
        scale=along * n,
    )


def feature_grad(grad: Tensor, feature: Tensor, back: Unfold, t: int) -> Tensor:
    """Gradient (n, K) of term t's rows."""
    return torch.mm(grad, back.from_g[t]).addmm_(feature, back.from_d[t])


def centred(rows: Tensor) -> Tensor:
    """rows (n, C) minus their mean, in place."""
    return rows.sub_(mean_rows(rows))


def split_filters(weight: Tensor) -> Tensor:
    """(..., O, K) to (2, ..., O, K): filters of the even pixels, then of the odd, zeros elsewhere.

    A zero filter gives y = 0, hence BN(y) = 0: it adds nothing.
    """
    out = weight.shape[-2]
    even = (torch.arange(out, device=weight.device) < out // 2).to(weight.dtype)[:, None]
    return torch.stack([weight * even, weight * (1 - even)])


def add_parities(full: Tensor, even: Tensor, odd: Tensor) -> None:
    """Add (B, C, ceil(H/2), ceil(W/2)) to the even and the odd pixels of full (B, C, H, W)."""
    full[:, :, ::2, ::2].add_(even)
    target = full[:, :, 1::2, 1::2]
    target.add_(odd[:, :, : target.shape[2], : target.shape[3]])


class _PointwiseBN(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, pointwise: Tensor, reduce: bool) -> Tensor:
        features = [torch.relu(x)]
        if reduce:
            padded = pad_to_even(features[0])
            features = [half_resolution(padded), half_resolution(padded, 1)]
        rows = [centred(to_rows(f)) for f in features]
        cov = torch.stack([second_moment(d, d) for d in rows])
        fold = fold_bn(cov, pointwise, torch.ones_like(pointwise[:, :, 0]))
        out = rows[0] @ fold.weight[0]
        for d, weight in zip(rows[1:], fold.weight[1:], strict=True):
            out.addmm_(d, weight)
        ctx.save_for_backward(x, *rows, *fold)
        return to_maps(out, features[0])

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        x, *saved = ctx.saved_tensors
        rows, fold = saved[:-5], Fold(*saved[-5:])
        g = to_rows(grad)
        g = g - mean_rows(g)
        cross = torch.stack([second_moment(g, d) for d in rows])
        back = unfold_bn(fold, cross, g.shape[0])
        dx = None
        if ctx.needs_input_grad[0]:
            grads = [to_maps(feature_grad(g, d, back, t), grad) for t, d in enumerate(rows)]
            dx = grads[0]
            if len(grads) == 2:
                dx = torch.zeros_like(x, memory_format=torch.channels_last)
                add_parities(dx, *grads)
            relu_backward(dx, x)
        return dx, back.pointwise, None


def pointwise_bn(x: Tensor, weight: Tensor, reduce: bool = False) -> Tensor:
    """ReLU, 1x1 convolution with weight (O, K), BN without affine: (B, K, H, W) to (B, O, H, W).

    With `reduce` the first O // 2 filters read the even pixels, the others the odd ones, as in
    `operations.FactorizedReduce`: (B, O, ceil(H / 2), ceil(W / 2)).
    """
    pointwise = split_filters(weight) if reduce else weight[None]
    return _PointwiseBN.apply(x, pointwise, reduce)
