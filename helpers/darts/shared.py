"""Compute once what all edges that leave a state of a cell share: ReLU, pools, strided pixels.

In comments C are the state's channels, n = B * H * W the rows after the stride.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.darts.folding import (
    centred,
    column_means,
    cross_moment,
    required,
    split_filters,
    to_maps,
    to_rows,
)
from helpers.darts.linear_pieces import max_pool, relu, relu_backward
from helpers.darts.operations import pad_to_even
from helpers.models.depthwise import (
    WeightGrad,
    depthwise_forward,
    depthwise_input_grad,
    half_resolution,
)

KERNELS = (3, 5)
_max_pool_backward = torch.ops.aten.max_pool2d_with_indices_backward


def _reads(size: int, kernel: int, stride: int, dilation: int) -> Tensor:
    """Return (size, kernel): 1 / outputs if some output reads this position with this tap."""
    outputs = -(-size // stride)
    reads = torch.zeros(size, kernel, dtype=torch.float64)
    for tap in range(kernel):
        shift = dilation * (tap - kernel // 2)
        read = [o * stride + shift for o in range(outputs) if 0 <= o * stride + shift < size]
        reads[read, tap] = 1 / outputs
    return reads


@lru_cache(maxsize=128)
def _tap_matrix(
    size: tuple[int, int],
    kernel: int,
    stride: int,
    dilation: int,
    dtype: torch.dtype,
    device: torch.device,
) -> Tensor:
    rows, columns = (_reads(side, kernel, stride, dilation) for side in size)
    return torch.kron(rows, columns).to(device, dtype)  # (H * W, k * k)


def tap_means(
    image: Tensor, size: tuple[int, int], kernel: int, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Return the mean that each tap of a convolution reads: image (H * W, C) to (C, k * k)."""
    matrix = _tap_matrix(size, kernel, stride, dilation, image.dtype, image.device)
    return torch.mm(image.t(), matrix)


def mean_image(maps: Tensor) -> Tensor:
    """Return the mean over the batch of maps (B, C, H, W): (H * W, C)."""
    batch, channels = maps.shape[:2]
    return column_means(maps.permute(0, 2, 3, 1).reshape(batch, -1)).view(-1, channels)


@lru_cache(maxsize=64)
def _pool_kernel(
    channels: int,
    size: tuple[int, int],
    stride: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Return a 3x3 kernel of ones (C, 1, 3, 3), and 1 / pixels inside the map (1, C, H', W')."""
    kernel = torch.ones(channels, 1, 3, 3, dtype=dtype, device=device)
    ones = torch.ones(1, 1, *size, dtype=dtype, device=device)
    counts = F.conv2d(ones, kernel[:1], None, stride, 1)
    inverse = counts.reciprocal().expand(-1, channels, -1, -1)
    return kernel, inverse.contiguous(memory_format=torch.channels_last)


def _repeated(maps: Tensor, times: int) -> Tensor:
    """Repeat the channels of maps (B, C, H, W) so many times; stays channels_last."""
    return to_maps(to_rows(maps).repeat(1, times), maps)


def _summed(maps: Tensor, times: int) -> Tensor:
    """Invert `_repeated` for gradients; adding slices is faster than a reduction over them."""
    first, second, *others = to_rows(maps).chunk(times, dim=1)
    total = first + second
    for part in others:
        total += part
    return to_maps(total, maps)


class SharedMaps:
    """The maps that the edges from a state x (B, C, H, W) share, and the sum of its gradients.

    `features` (n, F * C) are the maps that edges use without a depthwise convolution: max
    pool, average pool, then x itself (stride 1) or its even and its odd pixels (stride 2, the
    factorized reduce). All but x have mean zero.
    """

    def __init__(self, x: Tensor, stride: int) -> None:
        self.x, self.stride = x, stride
        self.channels = x.shape[1]
        self.r = relu(x)
        # A convolution of stride 2 and dilation 2 reads the even pixels only.
        self.coarse = half_resolution(self.r) if stride == 2 else self.r
        image = mean_image(self.r)
        self.dilation = 3 - stride
        height, width = x.shape[2:]
        size = (height, width)
        self.taps = {
            k: (tap_means(image, size, k, stride), tap_means(image, size, k, stride, 2))
            for k in KERNELS
        }
        pooled, self.index = max_pool(x, 3, stride, 1)
        self.kernel, self.inverse = _pool_kernel(self.channels, size, stride, x.dtype, x.device)
        average = depthwise_forward(x, self.kernel, stride).mul_(self.inverse)
        normalised = [centred(to_rows(pooled)), centred(to_rows(average))]
        if stride == 2:
            odd = half_resolution(pad_to_even(self.r), 1)
            normalised += [centred(to_rows(self.coarse)), centred(to_rows(odd))]
        self.cov = torch.stack([cross_moment(d, d) for d in normalised])  # (T, C, C)
        plain = [to_rows(x)] if stride == 1 else []
        self.features = torch.cat(normalised + plain, dim=1)
        self.x_mean = column_means(plain[0]) if plain else None
        self.need_gradient = True
        self.dr: Tensor | None = None
        self.dcoarse: Tensor | None = None
        self.dfeatures: Tensor | None = None
        self.dconstant: Tensor | None = None
        self.from_features: Tensor | None = None
        self.repeats: dict[int, tuple[Tensor, Tensor]] = {1: (self.r, self.coarse)}
        self.weight_grads: dict[tuple[int, int, bool], WeightGrad] = {}

    def wide(self, edges: int) -> tuple[Tensor, Tensor]:
        """Return relu(x) and the part that dilated convolutions read, repeated for each edge."""
        if edges not in self.repeats:
            r = _repeated(self.r, edges)
            coarse = _repeated(self.coarse, edges) if self.stride == 2 else r
            self.repeats[edges] = (r, coarse)
        return self.repeats[edges]

    def feature_filters(self, reduce: Tensor | None, edges: int) -> Tensor:
        """Return 1x1 convolutions (T, W, C) of the normalised features, identities for pools."""
        eye = torch.eye(self.channels, dtype=self.x.dtype, device=self.x.device)
        pools = eye.repeat(edges, 1).expand(2, -1, -1)
        if reduce is None:
            return pools
        return torch.cat([pools, split_filters(reduce).flatten(1, 2)])

    def weight_grad(self, edges: int, kernel: int, dilated: bool) -> WeightGrad:
        """Return the weight gradients of convolutions that read `wide`; keep what they share."""
        key = (edges, kernel, dilated)
        if key not in self.weight_grads:
            geometry = (1, self.dilation) if dilated else (self.stride, 1)
            self.weight_grads[key] = WeightGrad(self.wide(edges)[dilated], kernel, *geometry)
        return self.weight_grads[key]

    def add_gradient(self, grad: Tensor, dilated: bool) -> None:
        """Add a gradient (B, W, H, W) of one of the maps that `wide` returned."""
        edges = grad.shape[1] // self.channels
        if edges > 1:
            grad = _summed(grad, edges)
        name = "dcoarse" if dilated and self.stride == 2 else "dr"
        total = getattr(self, name)
        setattr(self, name, grad if total is None else total.add_(grad))

    def add_feature_gradient(self, g: Tensor, matrix: Tensor, from_d: Tensor) -> None:
        """Add the gradient of `features` from a block."""
        if not self.need_gradient:
            return
        if self.dfeatures is None or self.from_features is None:
            self.dfeatures, self.from_features = g @ matrix.t(), from_d
        else:
            self.dfeatures.addmm_(g, matrix.t())
            self.from_features = self.from_features + from_d

    def add_constant(self, constant: Tensor) -> None:
        """Add a gradient (C,) that is the same for all pixels of x."""
        if not self.need_gradient:
            return
        self.dconstant = constant if self.dconstant is None else self.dconstant + constant

    def backward(self) -> Tensor | None:
        """Return the gradient of x from all that the blocks have added, or None if not needed."""
        if not self.need_gradient:
            return None
        c, like = self.channels, self.coarse
        terms = self.cov.shape[0]
        dfeatures = required(self.dfeatures, "the gradient of the shared features")
        from_features = required(self.from_features, "the gradient of the shared features")
        for t in range(terms):
            block = dfeatures[:, t * c : (t + 1) * c]
            block.addmm_(self.features[:, t * c : (t + 1) * c], from_features[t])
        parts = [to_maps(part.contiguous(), like) for part in dfeatures.split(c, dim=1)]
        dr = required(self.dr, "the gradient of relu(x)")
        if self.stride == 2:
            dr[:, :, ::2, ::2] += required(self.dcoarse, "that of its even pixels").add_(parts[2])
            odd = dr[:, :, 1::2, 1::2]
            odd += parts[3][:, :, : odd.shape[2], : odd.shape[3]]
        dx = relu_backward(dr, self.r)
        if self.stride == 1:
            constant = required(self.dconstant, "the constant gradient of x")
            dx += parts[2].add_(constant[None, :, None, None])
        geometry = ([3, 3], [self.stride] * 2, [1, 1], [1, 1], False)
        dx += _max_pool_backward(parts[0], self.x, *geometry, self.index)
        average = parts[1].mul_(self.inverse)
        return dx.add_(depthwise_input_grad(average, self.x, self.kernel, self.stride))
