"""Fold 1x1 convolution, batch norm and edge weight into one matrix.

With y = P d (a 1x1 convolution of d) and d of mean zero, batch statistics need no pass over y:

    mean(y) = 0,    var(y) = diag(P cov(d) P^T),

so scale * BN(P d) = W d with one matrix W, and the sum of all operations into a node is a sum of
matrix products. Backwards everything that BN and P need follows from the cross moments E[g d^T] of
d and the node's gradient g, and the gradient of d is again two matrix products.

"Rows" are maps (B, C, H, W) seen as a matrix (n, C), n = B * H * W. Their C channels fall into G
groups of D, each with a matrix of its own: (G, D, D), or (D, D) if there is one group.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

BN_EPS = 1e-5  # torch's default
# Sums over long columns are split into this many rows: MKL does one tall product on one core only.
_ROWS_PER_PART = 2048


def to_rows(maps: Tensor) -> Tensor:
    """Turn (B, C, H, W) into (B * H * W, C); a view if the maps are channels_last."""
    return maps.permute(0, 2, 3, 1).reshape(-1, maps.shape[1])


def to_maps(rows: Tensor, like: Tensor) -> Tensor:
    """Turn (B * H * W, C) into (B, C, H, W), channels_last; B, H and W are those of `like`."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)


def required(tensor: Tensor | None, name: str) -> Tensor:
    """Return the tensor, or raise RuntimeError if it is missing."""
    if tensor is None:
        raise RuntimeError(f"{name} is missing")
    return tensor


@lru_cache(maxsize=64)
def _averaging(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full((n,), 1 / n, dtype=dtype, device=device)


def column_means(rows: Tensor) -> Tensor:
    """Return the means (C,) of rows (n, C), as a matrix product (faster than a reduction)."""
    return torch.mv(rows.t(), _averaging(rows.shape[0], rows.dtype, rows.device))


def centred(rows: Tensor) -> Tensor:
    """Return rows (n, C) minus their means."""
    return rows - column_means(rows)


def cross_moment(left: Tensor, right: Tensor) -> Tensor:
    """Return E[left right^T] (C, K) of rows (n, C) and (n, K)."""
    n = left.shape[0]
    parts = n // _ROWS_PER_PART
    if parts < 2 or n % parts:
        return torch.mm(left.t(), right).div_(n)
    sides = (left.view(parts, n // parts, -1), right.view(parts, n // parts, -1))
    return torch.bmm(sides[0].mT, sides[1]).sum(0).div_(n)


def _by_group(rows: Tensor, groups: int) -> Tensor:
    return rows.unflatten(1, (groups, -1)).transpose(0, 1)  # (G, n, D)


def group_moments(left: Tensor, right: Tensor, groups: int) -> Tensor:
    """Return E[left right^T] within each group of rows (n, G * D)."""
    if groups == 1:
        return cross_moment(left, right)
    sides = (_by_group(left, groups).mT, _by_group(right, groups))
    return torch.bmm(*sides).div_(left.shape[0])


def groups_of(matrices: Tensor) -> int:
    """Return the number of groups of matrices (G, D, D) or (D, D)."""
    return 1 if matrices.dim() == 2 else len(matrices)


def _multiply(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right without the broadcasting that `@` prepares for."""
    return torch.mm(left, right) if left.dim() == 2 else torch.bmm(left, right)


def product(rows: Tensor, matrices: Tensor) -> Tensor:
    """Return rows (n, G * D) times the matrices, group by group."""
    groups = groups_of(matrices)
    if groups == 1:
        return torch.mm(rows, matrices)
    out = rows.new_empty(rows.shape)
    torch.bmm(_by_group(rows, groups), matrices, out=_by_group(out, groups))
    return out


def add_product_(out: Tensor, rows: Tensor, matrices: Tensor) -> Tensor:
    """Add `product` to `out` in place."""
    groups = groups_of(matrices)
    if groups == 1:
        return out.addmm_(rows, matrices)
    _by_group(out, groups).baddbmm_(_by_group(rows, groups), matrices)
    return out


class Fold(NamedTuple):
    """scale * BN(P d) as W d, and what its backward pass needs; G may be missing."""

    weight: Tensor  # (G, K, O): rows of d times this
    pointwise: Tensor  # P (G, O, K)
    scale: Tensor  # (G, O)
    pointwise_cov: Tensor  # P cov(d) (G, O, K)
    inv_std: Tensor  # of y (G, O)


def fold_bn(cov: Tensor, pointwise: Tensor, scale: Tensor) -> Fold:
    """Fold scale * BN(P d) into one matrix; cov (G, K, K) of d, which has mean zero."""
    pointwise_cov = _multiply(pointwise, cov)
    inv_std = (pointwise_cov * pointwise).sum(-1).clamp_min_(0).add_(BN_EPS).rsqrt_()
    weight = (pointwise * (scale * inv_std).unsqueeze(-1)).mT
    return Fold(weight, pointwise, scale, pointwise_cov, inv_std)


class Unfold(NamedTuple):
    """Gradients through a Fold; of rows d it is g @ from_g + d @ from_d."""

    from_g: Tensor  # (G, O, K)
    from_d: Tensor  # (G, K, K)
    pointwise: Tensor  # (G, O, K)
    scale: Tensor  # (G, O)


def unfold_bn(fold: Fold, cross: Tensor, n: int) -> Unfold:
    """Backward of `fold_bn` over n rows from cross = E[g d^T] (G, O, K); g has mean zero.

    BN's backward subtracts from g its mean and its part along the normalised y.
    """
    p, inv_std = fold.pointwise, fold.inv_std
    along = (p * cross).sum(-1).mul_(inv_std)  # E[g y / std(y)]
    factor = fold.scale * inv_std
    slope = (factor * inv_std).mul_(along).neg_().unsqueeze(-1)
    dp = torch.addcmul(factor.unsqueeze(-1) * cross, slope, fold.pointwise_cov)
    return Unfold(
        from_g=fold.weight.mT,
        from_d=_multiply(p.mT, slope * p),
        pointwise=dp.mul_(n),
        scale=along.mul_(n),
    )


def split_filters(weight: Tensor) -> Tensor:
    """Split (..., O, K) into filters of the even and of the odd pixels: (2, ..., O, K).

    The other filters of each part are zero, so that y = 0 and BN(y) = 0: they add nothing.
    """
    out = weight.shape[-2]
    even = (torch.arange(out, device=weight.device) < out // 2).to(weight.dtype)[:, None]
    return torch.stack([weight * even, weight * (1 - even)])


def block_diagonal(blocks: Tensor) -> Tensor:
    """Turn (T, E, C, C) into (T, E * C, E * C) with the E blocks on the diagonal."""
    terms, edges, c, _ = blocks.shape
    out = blocks.new_zeros(terms, edges, c, edges, c)
    out.diagonal(dim1=1, dim2=3).copy_(blocks.permute(0, 2, 3, 1))
    return out.view(terms, edges * c, edges * c)


def diagonal_blocks(matrices: Tensor, edges: int) -> Tensor:
    """Invert `block_diagonal`; numbers off the diagonal are dropped."""
    split = matrices.unflatten(-1, (edges, -1)).unflatten(1, (edges, -1))
    return split.diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)
