"""All operations on the edges that leave one state of a cell, forwards and backwards.

What the edges share (ReLU, pools, the pixels that strided operations read) is computed once, in
`SharedMaps`. Edges are computed together in an `EdgeBlock`: one depthwise convolution over the
channels of all its edges, and 1x1 convolutions, BNs and edge weights folded into matrices
(`folding.py`). Depthwise outputs leave the convolution with mean zero: by linearity their mean
follows from the mean image of the batch, and goes into the convolution as its bias.

In comments C are the state's channels, E the edges of a block, W = E * C its width, n = B * H * W
the rows after the stride.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .depthwise import WeightGrad, depthwise_forward, depthwise_input_grad, half_resolution
from .folding import (
    add_product_,
    centred,
    column_means,
    cross_moment,
    fold_bn,
    group_moments,
    product,
    split_filters,
    to_maps,
    to_rows,
    unfold_bn,
)
from .operations import pad_to_even

KERNELS = (3, 5)
_max_pool = torch.ops.aten.max_pool2d_with_indices
_max_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward
_relu_backward = torch.ops.aten.threshold_backward


@lru_cache(maxsize=256)
def _window(
    size: int, kernel: int, stride: int, dilation: int, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """(size, kernel): 1 / outputs where some output reads this position with this tap."""
    outputs = -(-size // stride)
    window = torch.zeros(size, kernel, dtype=dtype)
    for tap in range(kernel):
        shift = dilation * (tap - kernel // 2)
        read = [o * stride + shift for o in range(outputs) if 0 <= o * stride + shift < size]
        window[read, tap] = 1 / outputs
    return window.to(device)


def tap_means(image: Tensor, kernel: int, stride: int = 1, dilation: int = 1) -> Tensor:
    """What each tap of a convolution reads on average: mean image (C, H, W) to (C, k, k)."""
    rows, columns = (
        _window(size, kernel, stride, dilation, image.dtype, image.device)
        for size in image.shape[-2:]
    )
    return rows.t() @ image @ columns


def mean_image(maps: Tensor) -> Tensor:
    """Mean over the batch of maps (B, C, H, W): (C, H, W)."""
    batch, channels, height, width = maps.shape
    mean = column_means(maps.permute(0, 2, 3, 1).reshape(batch, -1))
    return mean.view(height, width, channels).permute(2, 0, 1)


@lru_cache(maxsize=64)
def _pool_kernel(
    channels: int,
    size: tuple[int, int],
    stride: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """A 3x3 kernel of ones (C, 1, 3, 3), and 1 / pixels inside the map (1, C, H', W')."""
    kernel = torch.ones(channels, 1, 3, 3, dtype=dtype, device=device)
    ones = torch.ones(1, 1, *size, dtype=dtype, device=device)
    counts = F.conv2d(ones, kernel[:1], None, stride, 1)
    inverse = counts.reciprocal().expand(-1, channels, -1, -1)
    return kernel, inverse.contiguous(memory_format=torch.channels_last)


class SharedMaps:
    """What the edges that leave a state x (B, C, H, W) share, and the sum of its gradients.

    `features` (n, F * C) are the maps that edges take up without a depthwise convolution: max
    pool, average pool, then x itself (stride 1) or its even and its odd pixels (stride 2, the
    factorized reduce). All but x have mean zero.
    """

    def __init__(self, x: Tensor, stride: int) -> None:
        self.x, self.stride = x, stride
        self.channels = x.shape[1]
        self.r = torch.relu(x)
        # A convolution of stride 2 and dilation 2 reads the even pixels only.
        self.coarse = half_resolution(self.r) if stride == 2 else self.r
        image = mean_image(self.r)
        self.dilation = 3 - stride
        self.taps = {
            k: (
                tap_means(image, k, stride),
                tap_means(image[:, ::stride, ::stride], k, 1, self.dilation),
            )
            for k in KERNELS
        }
        pooled, self.index = _max_pool(x, [3, 3], [stride] * 2, [1, 1])
        self.kernel, self.inverse = _pool_kernel(
            self.channels, tuple(x.shape[2:]), stride, x.dtype, x.device
        )
        average = depthwise_forward(x, self.kernel, stride).mul_(self.inverse)
        normalised = [centred(to_rows(pooled)), centred(to_rows(average))]
        if stride == 2:
            odd = half_resolution(pad_to_even(self.r), 1)
            normalised += [centred(to_rows(self.coarse)), centred(to_rows(odd))]
        self.cov = torch.stack([cross_moment(d, d) for d in normalised])[:, None]  # (T, 1, C, C)
        plain = [to_rows(x)] if stride == 1 else []
        self.features = torch.cat(normalised + plain, dim=1)
        self.x_mean = column_means(plain[0]) if plain else None
        self.dr = self.dcoarse = self.dfeatures = self.dconstant = None
        self.from_features = 0

    def wide(self, edges: int) -> tuple[Tensor, Tensor]:
        """relu(x) and what dilated convolutions read of it, once for each edge of a block."""
        if edges == 1:
            return self.r, self.coarse
        r = self.r.repeat(1, edges, 1, 1)
        return r, self.coarse.repeat(1, edges, 1, 1) if self.stride == 2 else r

    def feature_filters(self, reduce: Tensor | None, edges: int) -> Tensor:
        """1x1 convolutions (T, 1, W, C) behind the normalised features: none behind the pools."""
        eye = torch.eye(self.channels, dtype=self.x.dtype, device=self.x.device)
        pools = eye.repeat(edges, 1).expand(2, 1, -1, -1)
        if reduce is None:
            return pools
        return torch.cat([pools, split_filters(reduce).flatten(1, 2)[:, None]])

    def add_gradients(self, dr: list[Tensor], dcoarse: list[Tensor]) -> None:
        """Take up a block's gradients (B, W, H, W) of the maps that `wide` gave."""
        if self.stride == 1:
            dr, dcoarse = dr + dcoarse, []
        self.dr = self._summed(self.dr, dr)
        if dcoarse:
            self.dcoarse = self._summed(self.dcoarse, dcoarse)

    def _summed(self, total: Tensor | None, grads: list[Tensor]) -> Tensor:
        grad = grads[0]
        for other in grads[1:]:
            grad += other
        edges = grad.shape[1] // self.channels
        if edges > 1:
            grad = to_maps(to_rows(grad).unflatten(1, (edges, -1)).sum(1), grad)
        return grad if total is None else total.add_(grad)

    def backward(self) -> Tensor:
        """The gradient of x from all that the blocks have added."""
        c, like = self.channels, self.coarse
        terms = self.cov.shape[0]
        for t in range(terms):
            block = self.dfeatures[:, t * c : (t + 1) * c]
            block.addmm_(self.features[:, t * c : (t + 1) * c], self.from_features[t, 0])
        parts = [to_maps(part.contiguous(), like) for part in self.dfeatures.split(c, dim=1)]
        dr = self.dr
        if self.stride == 2:
            dr[:, :, ::2, ::2] += self.dcoarse.add_(parts[2])
            odd = dr[:, :, 1::2, 1::2]
            odd += parts[3][:, :, : odd.shape[2], : odd.shape[3]]
        dx = _relu_backward(dr, self.r, 0)
        if self.stride == 1:
            dx += parts[2].add_(self.dconstant[None, :, None, None])
        geometry = ([3, 3], [self.stride] * 2, [1, 1], [1, 1], False)
        dx += _max_pool_backward(parts[0], self.x, *geometry, self.index)
        average = parts[1].mul_(self.inverse)
        return dx.add_(depthwise_input_grad(average, self.x, self.kernel, self.stride))


def _centred_convolution(
    x: Tensor, weight: Tensor, taps: Tensor, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Rows (n, W) of mean zero: x (B, W, H, W) convolved with weight (E, C, 1, k, k).

    taps (C, k, k) or (E, C, k, k): what the kernel reads on average.
    """
    bias = (weight.squeeze(2) * taps).sum((-2, -1)).neg_().flatten()
    return to_rows(depthwise_forward(x, weight.flatten(0, 1), stride, dilation, bias))


class EdgeBlock:
    """The operations on E edges of one state, whose nodes lie side by side.

    dw3 and dw5 (3, E, C, 1, k, k) are the depthwise filters of sep's first, sep's second and dil;
    pw (6, G, D, D) the 1x1 convolutions of sep3 and sep5 first, sep3 and sep5 second, dil3, dil5,
    in G groups: one for each edge, or one block-diagonal matrix for all. `reduce` (E, C, C) is the
    skip's factorized reduce at stride 2. scale (7, E) weighs the operations but `none`.
    """

    def __init__(
        self, scale: Tensor, dw3: Tensor, dw5: Tensor, pw: Tensor, reduce: Tensor | None
    ) -> None:
        self.scale, self.filters, self.pw, self.reduce = scale, (dw3, dw5), pw, reduce
        self.edges, self.groups = scale.shape[1], pw.shape[1]

    def _moments(self, left: list[Tensor], right: list[Tensor]) -> Tensor:
        pairs = zip(left, right, strict=True)
        return torch.stack([group_moments(a, b, self.groups) for a, b in pairs])

    def forward(self, shared: SharedMaps, out: Tensor) -> None:
        """Add the weighted operations to `out`, the columns (n, W) of the block's nodes."""
        wide, wide_coarse = shared.wide(self.edges)
        self.first, dilated = [], []
        for k, dw in zip(KERNELS, self.filters, strict=True):
            fine, coarse = shared.taps[k]
            self.first.append(_centred_convolution(wide, dw[0], fine, shared.stride))
            dilated.append(_centred_convolution(wide_coarse, dw[2], coarse, 1, shared.dilation))
        first_pw = self.pw[:2]
        ones = torch.ones_like(first_pw[..., 0])
        self.first_fold = fold_bn(self._moments(self.first, self.first), first_pw, ones)
        self.hidden, self.last = [], []
        for d, matrices, dw in zip(self.first, self.first_fold.weight, self.filters, strict=True):
            hidden = to_maps(product(d, matrices).relu_(), shared.coarse)
            taps = tap_means(mean_image(hidden), dw.shape[-1]).view(*dw.shape[1:3], *dw.shape[-2:])
            self.hidden.append(hidden)
            self.last.append(_centred_convolution(hidden, dw[1], taps))
        self.last += dilated
        scale = self.scale.repeat_interleave(shared.channels, 1)  # (7, W)
        last_scale = scale[3:].unflatten(1, (self.groups, -1))
        self.last_fold = fold_bn(self._moments(self.last, self.last), self.pw[2:], last_scale)
        for d, matrices in zip(self.last, self.last_fold.weight, strict=True):
            add_product_(out, d, matrices)
        self._forward_features(shared, scale, out)

    def _forward_features(self, shared: SharedMaps, scale: Tensor, out: Tensor) -> None:
        filters = shared.feature_filters(self.reduce, self.edges)
        feature_scale = scale[:2] if self.reduce is None else scale[[0, 1, 2, 2]]
        self.feature_fold = fold_bn(shared.cov, filters, feature_scale[:, None])
        matrices = self.feature_fold.weight.flatten(0, 2)
        if self.reduce is None:  # the skip connection
            matrices = torch.cat([matrices, (filters[0, 0] * scale[2][:, None]).t()])
        self.feature_matrix = matrices  # (F * C, W)
        out.addmm_(shared.features, matrices)

    def backward(
        self, shared: SharedMaps, g: Tensor, g_mean: Tensor, need_weights: bool
    ) -> tuple[Tensor, ...]:
        """Gradients of scale, dw3, dw5, pw and reduce (None without `need_weights`).

        g (n, W) is the gradient of `forward`'s columns less its mean g_mean (W,); what belongs to
        the shared maps is added there.
        """
        n, c = g.shape[0], shared.channels
        dscale = torch.empty_like(self.scale)
        back = unfold_bn(self.last_fold, self._moments([g] * 4, self.last), n)
        dscale[3:] = back.scale.flatten(1).unflatten(1, (-1, c)).sum(-1)
        dlast = [
            to_maps(self._input_gradient(g, d, back, t), shared.coarse)
            for t, d in enumerate(self.last)
        ]
        self.last = self.last_fold = None  # free early: this sets the peak of the memory
        dreduce = self._backward_features(shared, g, g_mean, dscale)
        ddw = [torch.empty_like(dw) if need_weights else None for dw in self.filters]
        dfirst, first_back = self._backward_second(shared, dlast, ddw)
        self._backward_first(shared, dfirst, dlast[2:], ddw)
        if not need_weights:
            return dscale, None, None, None, None
        dpw = torch.cat([first_back.pointwise, back.pointwise])
        return dscale, *ddw, dpw, dreduce

    @staticmethod
    def _input_gradient(g: Tensor, d: Tensor, back, t: int) -> Tensor:
        return add_product_(product(g, back.from_g[t]), d, back.from_d[t])

    def _backward_features(
        self, shared: SharedMaps, g: Tensor, g_mean: Tensor, dscale: Tensor
    ) -> Tensor | None:
        n, c, e = g.shape[0], shared.channels, self.edges
        cross = cross_moment(g, shared.features)  # (W, F * C)
        terms = shared.cov.shape[0]
        by_term = cross[:, : terms * c].unflatten(1, (terms, c)).transpose(0, 1)[:, None]
        back = unfold_bn(self.feature_fold, by_term, n)
        per_edge = back.scale.squeeze(1).unflatten(1, (e, c)).sum(-1)  # (T, E)
        dscale[:2] = per_edge[:2]
        if self.reduce is not None:
            dscale[2] = per_edge[2:].sum(0)
        else:
            own = cross[:, terms * c :].unflatten(0, (e, c)).diagonal(dim1=1, dim2=2)  # (E, C)
            g_mean = g_mean.view(e, c)
            dscale[2] = (own + g_mean * shared.x_mean).sum(1) * n
            constant = (g_mean * self.scale[2][:, None]).sum(0)
            shared.dconstant = constant + (0 if shared.dconstant is None else shared.dconstant)
        if shared.dfeatures is None:
            shared.dfeatures = g @ self.feature_matrix.t()
        else:
            shared.dfeatures.addmm_(g, self.feature_matrix.t())
        shared.from_features = shared.from_features + back.from_d
        if self.reduce is None:
            return None
        even, odd = back.pointwise[2:, 0].unflatten(1, (e, c))
        half = c // 2
        return torch.cat([even[:, :half], odd[:, half:]], dim=1)

    def _backward_second(self, shared: SharedMaps, dlast: list[Tensor], ddw: list):
        """Through sep's second convolution and first BN: gradients of `first`, and of its fold."""
        grads = []
        for i, (dw, ddw_k) in enumerate(zip(self.filters, ddw, strict=True)):
            weight = dw[1].flatten(0, 1)
            dh = depthwise_input_grad(dlast[i], self.hidden[i], weight)
            if ddw_k is not None:
                gradient = WeightGrad(self.hidden[i], dw.shape[-1])(dlast[i])
                ddw_k[1] = gradient.view_as(ddw_k[1])
            grads.append(to_rows(_relu_backward(dh, self.hidden[i], 0)))
            grads[i] -= column_means(grads[i])
        self.hidden = None
        moments = self._moments(grads, self.first)
        back = unfold_bn(self.first_fold, moments, grads[0].shape[0])
        dfirst = [
            to_maps(self._input_gradient(grads[t], d, back, t), shared.coarse)
            for t, d in enumerate(self.first)
        ]
        self.first = self.first_fold = None
        return dfirst, back

    def _backward_first(
        self, shared: SharedMaps, dfirst: list[Tensor], ddilated: list[Tensor], ddw: list
    ) -> None:
        """Through the convolutions that read the shared maps."""
        wide, wide_coarse = shared.wide(self.edges)
        dr, dcoarse = [], []
        for dw, ddw_k, g1, g2 in zip(self.filters, ddw, dfirst, ddilated, strict=True):
            first, dilated = dw[0].flatten(0, 1), dw[2].flatten(0, 1)
            dr.append(depthwise_input_grad(g1, wide, first, shared.stride))
            dcoarse.append(depthwise_input_grad(g2, wide_coarse, dilated, 1, shared.dilation))
            if ddw_k is not None:
                k = dw.shape[-1]
                ddw_k[0] = WeightGrad(wide, k, shared.stride)(g1).view_as(ddw_k[0])
                dilated_gradient = WeightGrad(wide_coarse, k, 1, shared.dilation)(g2)
                ddw_k[2] = dilated_gradient.view_as(ddw_k[2])
        shared.add_gradients(dr, dcoarse)
