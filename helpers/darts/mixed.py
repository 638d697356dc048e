"""Compute all operations on edges that leave one state of a cell, forwards and backwards.

Edges are computed together in an `EdgeBlock`: one depthwise convolution over the channels of all
its edges, and 1x1 convolutions, BNs and edge weights folded into matrices (`folding.py`).
Depthwise outputs leave the convolution with mean zero: by linearity their mean follows from the
mean image of the batch, and goes into the convolution as its bias. An operation is computed to its
end before the next one starts, while its maps are still in the cache.

In comments C are the state's channels, E the edges of a block, W = E * C its width, n = B * H * W
the rows after the stride.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from helpers.darts.folding import (
    Unfold,
    add_product_,
    column_means,
    cross_moment,
    fold_bn,
    group_moments,
    groups_of,
    product,
    to_maps,
    to_rows,
    unfold_bn,
)
from helpers.darts.linear_pieces import relu, relu_backward
from helpers.darts.shared import KERNELS, SharedMaps, mean_image, tap_means
from helpers.models.depthwise import WeightGrad, depthwise_forward, depthwise_input_grad


def _centred_convolution(
    x: Tensor, weight: Tensor, taps: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Return x (B, W, H, W) convolved with weight (E, C, 1, k, k) as rows (n, W) of mean zero.

    taps (C, k * k) or (E, C, k * k): the means that the kernel reads.
    """
    bias = (weight.flatten(2) * taps).sum(-1).neg_().flatten()
    return to_rows(depthwise_forward(x, weight.flatten(0, 1), stride, dilation, bias))


class _Folded:
    """A 1x1 convolution, BN and weight behind rows d (n, W), as one matrix product."""

    def __init__(self, d: Tensor, pointwise: Tensor, scale: Tensor) -> None:
        self.d, self.groups = d, groups_of(pointwise)
        self.fold = fold_bn(group_moments(d, d, self.groups), pointwise, scale)

    def unfold(self, g: Tensor) -> Unfold:
        """Return the gradients of scale and matrix from the centred gradient of the result."""
        return unfold_bn(self.fold, group_moments(g, self.d, self.groups), len(g))

    def backward(self, g: Tensor) -> tuple[Tensor, Unfold]:
        """Return the gradient of d and those of `unfold`; to be called once."""
        back = self.unfold(g)
        grad = add_product_(product(g, back.from_g), self.d, back.from_d)
        del self.d, self.fold  # free early: this sets the peak of the memory
        return grad, back


class _Separable:
    """sep_conv on a block's edges: depthwise, 1x1, BN, ReLU, depthwise, 1x1, BN."""

    def __init__(self, dw: Tensor, pw: Tensor, scale: Tensor) -> None:
        self.dw, self.pw, self.scale = dw, pw, scale
        self.edges, self.kernel = dw.shape[1], dw.shape[-1]

    def forward(self, shared: SharedMaps, total: Tensor) -> None:
        """Add the weighted operation to `total` (n, W)."""
        x = shared.wide(self.edges)[0]
        d = _centred_convolution(x, self.dw[0], shared.taps[self.kernel][0], shared.stride)
        self.first = _Folded(d, self.pw[0], torch.ones_like(self.scale))
        self.hidden = relu(
            to_maps(product(d, self.first.fold.weight), shared.coarse), overwrite=True
        )
        height, width = self.hidden.shape[2:]
        taps = tap_means(mean_image(self.hidden), (height, width), self.kernel)
        taps = taps.view(*self.dw.shape[1:3], -1)
        d = _centred_convolution(self.hidden, self.dw[1], taps)
        self.second = _Folded(d, self.pw[1], self.scale)
        add_product_(total, d, self.second.fold.weight)

    def backward(
        self, shared: SharedMaps, g: Tensor, ddw: list[Any] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the gradients of scale and pw; put those of the depthwise filters into ddw."""
        if not shared.need_gradient and ddw is None:
            return self.second.unfold(g).scale, []
        grad, back = self.second.backward(g)
        grad = to_maps(grad, shared.coarse)
        if ddw is not None:
            ddw[1] = WeightGrad(self.hidden, self.kernel)(grad)
        grad = depthwise_input_grad(grad, self.hidden, self.dw[1].flatten(0, 1))
        grad = to_rows(relu_backward(grad, self.hidden))
        del self.hidden
        grad -= column_means(grad)
        grad, first_back = self.first.backward(grad)
        grad = to_maps(grad, shared.coarse)
        if ddw is not None:
            ddw[0] = shared.weight_grad(self.edges, self.kernel, False)(grad)
        if shared.need_gradient:
            x, weight = shared.wide(self.edges)[0], self.dw[0].flatten(0, 1)
            shared.add_gradient(depthwise_input_grad(grad, x, weight, shared.stride), False)
        return back.scale, [first_back.pointwise, back.pointwise]


class _Dilated:
    """dil_conv on a block's edges: dilated depthwise, 1x1, BN."""

    def __init__(self, dw: Tensor, pw: Tensor, scale: Tensor) -> None:
        self.dw, self.pw, self.scale = dw, pw, scale
        self.edges, self.kernel = dw.shape[1], dw.shape[-1]

    def forward(self, shared: SharedMaps, total: Tensor) -> None:
        """Add the weighted operation to `total` (n, W)."""
        x, taps = shared.wide(self.edges)[1], shared.taps[self.kernel][1]
        d = _centred_convolution(x, self.dw[2], taps, 1, shared.dilation)
        self.folded = _Folded(d, self.pw[0], self.scale)
        add_product_(total, d, self.folded.fold.weight)

    def backward(
        self, shared: SharedMaps, g: Tensor, ddw: list[Any] | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the same as `_Separable.backward`."""
        if not shared.need_gradient and ddw is None:
            return self.folded.unfold(g).scale, []
        grad, back = self.folded.backward(g)
        grad = to_maps(grad, shared.coarse)
        if ddw is not None:
            ddw[2] = shared.weight_grad(self.edges, self.kernel, True)(grad)
        if shared.need_gradient:
            x, weight = shared.wide(self.edges)[1], self.dw[2].flatten(0, 1)
            shared.add_gradient(depthwise_input_grad(grad, x, weight, 1, shared.dilation), True)
        return back.scale, [back.pointwise]


class _Undepthwise:
    """Pools and skip connection on a block's edges: one product with the shared features."""

    def __init__(self, scale: Tensor, reduce: Tensor | None) -> None:
        self.scale, self.reduce = scale, reduce  # (3, W), (E, C, C) at stride 2
        self.edges = 0  # counted by `forward`

    def forward(self, shared: SharedMaps) -> Tensor:
        """Return the sum (n, W) of the weighted operations."""
        scale = self.scale
        self.edges = scale.shape[1] // shared.channels
        filters = shared.feature_filters(self.reduce, self.edges)
        normalised = scale[:2] if self.reduce is None else scale[[0, 1, 2, 2]]
        self.fold = fold_bn(shared.cov, filters, normalised)
        self.matrix = self.fold.weight.flatten(0, 1)  # (F * C, W)
        if self.reduce is None:
            skip = (filters[0] * scale[2][:, None]).t()
            self.matrix = torch.cat([self.matrix, skip])
        return shared.features @ self.matrix

    def backward(
        self, shared: SharedMaps, g: Tensor, g_mean: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """Return the gradients of scale (3, W) and reduce."""
        n, c, e = len(g), shared.channels, self.edges
        cross = cross_moment(g, shared.features)  # (W, F * C)
        terms = shared.cov.shape[0]
        by_term = cross[:, : terms * c].unflatten(1, (terms, c)).transpose(0, 1)
        back = unfold_bn(self.fold, by_term, n)
        shared.add_feature_gradient(g, self.matrix, back.from_d)
        if shared.x_mean is not None:  # stride 1: the skip connection passes x itself
            own = cross[:, terms * c :].unflatten(0, (e, c)).diagonal(dim1=1, dim2=2)  # (E, C)
            # g comes without its mean, but the skip connection passes the mean on
            g_mean = g_mean.view(e, c)
            skip = (own + g_mean * shared.x_mean).flatten() * n
            shared.add_constant((g_mean * self.scale[2].view(e, c)).sum(0))
            return torch.cat([back.scale, skip[None]]), None
        even, odd = back.pointwise[2:].unflatten(1, (e, c))
        half = c // 2
        reduce = torch.cat([even[:, :half], odd[:, half:]], dim=1)
        return torch.cat([back.scale[:2], back.scale[2:].sum(0, keepdim=True)]), reduce


class EdgeBlock:
    """The operations on E edges of one state, whose nodes lie side by side.

    dw3 and dw5 (3, E, C, 1, k, k) are the depthwise filters of sep's first, sep's second and dil;
    pw (6, E, C, C) the 1x1 convolutions of sep3 and sep5 first, sep3 and sep5 second, dil3, dil5,
    one for each edge, or (6, W, W) block-diagonal ones for all. `reduce` (E, C, C) is the
    skip's factorized reduce at stride 2. scale (7, E) weighs the operations but `none`.
    """

    def __init__(
        self, scale: Tensor, dw3: Tensor, dw5: Tensor, pw: Tensor, reduce: Tensor | None
    ) -> None:
        self.edges, self.channels = dw3.shape[1:3]
        wide = scale.repeat_interleave(self.channels, 1)  # (7, W)
        grouped = wide if pw.dim() == 3 else wide.unflatten(1, (self.edges, -1))
        self.features = _Undepthwise(wide[:3], reduce)
        self.branches: list[_Separable | _Dilated] = [
            _Separable(dw3, pw[0:4:2], grouped[3]),
            _Separable(dw5, pw[1:4:2], grouped[4]),
            _Dilated(dw3, pw[4:5], grouped[5]),
            _Dilated(dw5, pw[5:6], grouped[6]),
        ]

    def forward(self, shared: SharedMaps, out: Tensor) -> None:
        """Add the weighted operations to `out`, the columns (n, W) of the block's nodes."""
        total = self.features.forward(shared)
        for branch in self.branches:
            branch.forward(shared, total)
        out += total

    def backward(
        self, shared: SharedMaps, g: Tensor, g_mean: Tensor, need_weights: bool
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients of scale, dw3, dw5, pw and reduce (None without `need_weights`).

        g (n, W) is the gradient of the columns of `forward` less its mean g_mean (W,). The part of
        the shared maps is added there.
        """
        g = g.contiguous()
        ddw: list[list[Any]] = [[None] * 3 for _ in KERNELS]  # each filled by two branches
        scales, dpw = [], []
        for branch, ddw_k in zip(self.branches, ddw * 2, strict=True):
            own_scale, own_pw = branch.backward(shared, g, ddw_k if need_weights else None)
            scales.append(own_scale.flatten())
            dpw.append(own_pw)
        features, dreduce = self.features.backward(shared, g, g_mean)
        dscale = torch.cat([features, torch.stack(scales)])
        dscale = dscale.unflatten(1, (self.edges, -1)).sum(-1)
        if not need_weights:
            return dscale, None, None, None, None
        (first3, last3), (first5, last5), (dil3,), (dil5,) = dpw
        pw = torch.stack([first3, first5, last3, last5, dil3, dil5])
        filters = (torch.stack(d).unflatten(1, (self.edges, -1)) for d in ddw)
        return dscale, *filters, pw, dreduce
