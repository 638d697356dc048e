"""Convolutions that can be differentiated any number of times, and are fast on a CPU.

<y, x * w> is linear in the input x, in the weight w and in y. So the convolution, its gradient by x
and its gradient by w are the derivatives of one another, and three maps are enough for all orders:
`Geometry.compute` gives one of x, w, y from the other two. Elsewhere than on a CPU torch's own
convolution is used: its second derivative is fast there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

X, W, Y = 0, 1, 2
OTHERS = {X: (W, Y), W: (X, Y), Y: (X, W)}
_constant: set[int] = set()  # of X, W, Y: those whose gradients nobody wants


@dataclass(frozen=True)
class Geometry:
    """A convolution of x (B, C, H, W) by w (O, C / groups, k, k)."""

    x_shape: torch.Size
    w_shape: torch.Size
    stride: int = 1
    padding: int | tuple[int, int] = 0  # (above and below, left and right)
    dilation: int = 1
    groups: int = 1

    def compute(self, slot: int, a: Tensor, b: Tensor) -> Tensor:
        """Return x, w or y, whichever `slot` says, from the other two in this order."""
        if slot == Y:
            return self.output(a, b)
        return self.input_grad(a, b) if slot == X else self.weight_grad(a, b)

    def output(self, x: Tensor, w: Tensor) -> Tensor:
        """Return the convolution of x by w."""
        return F.conv2d(x, w, None, self.stride, self.padding, self.dilation, self.groups)

    def input_grad(self, w: Tensor, y: Tensor) -> Tensor:
        """Return the gradient of <y, x * w> by x."""
        x = torch.empty(
            self.x_shape, dtype=y.dtype, device=y.device, memory_format=torch.channels_last
        )
        return self._backward(x, w, y, X)

    def weight_grad(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the gradient of <y, x * w> by w."""
        return self._backward(x, y.new_empty(self.w_shape), y, W)

    def _backward(self, x: Tensor, w: Tensor, y: Tensor, slot: int) -> Tensor:
        padding = [self.padding] * 2 if isinstance(self.padding, int) else self.padding
        stride, dilation = [self.stride] * 2, [self.dilation] * 2
        geometry = (stride, padding, dilation, False, [0, 0], self.groups)
        mask = [slot == X, slot == W, False]
        return torch.ops.aten.convolution_backward(y, x, w, None, *geometry, mask)[slot]


class _Bilinear(torch.autograd.Function):
    """One of x, w, y from the other two."""

    @staticmethod
    def forward(ctx: Any, geometry: Geometry, slot: int, a: Tensor, b: Tensor) -> Tensor:
        ctx.geometry, ctx.slot = geometry, slot
        ctx.save_for_backward(a, b)
        return geometry.compute(slot, a, b)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        if grad.dim() == 4 and ctx.slot != W:
            grad = grad.contiguous(memory_format=torch.channels_last)
        known = dict(zip(OTHERS[ctx.slot], ctx.saved_tensors, strict=True)) | {ctx.slot: grad}
        found: list[Tensor | None] = [None, None]
        for i, slot in enumerate(OTHERS[ctx.slot]):
            if ctx.needs_input_grad[2 + i] and slot not in _constant:
                a, b = (known[other] for other in OTHERS[slot])
                found[i] = (
                    _Bilinear.apply(ctx.geometry, slot, a, b)
                    if torch.is_grad_enabled()
                    else ctx.geometry.compute(slot, a, b)
                )
        return None, None, *found


def convolve(x: Tensor, w: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Return `F.conv2d` of x (B, C, H, W) by w (O, C / groups, k, k)."""
    return bilinear(Geometry(x.shape, w.shape, stride, groups=groups), x, w)


def bilinear(geometry: Geometry, x: Tensor, w: Tensor) -> Tensor:
    """Return the convolution of a geometry, in the autocast precision if one is set."""
    if x.device.type != "cpu":  # torch's own convolution and derivatives are fast on a GPU
        return Geometry.output(geometry, x, w)
    if torch.jit.is_tracing():  # a compiler cannot follow a Python function
        return geometry.output(x, w)
    if torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
        x, w = x.to(dtype), w.to(dtype)
    return _Bilinear.apply(geometry, Y, x, w)


@contextmanager
def constant_weights() -> Iterator[None]:
    """Leave out gradients by weights in backward passes inside.

    Autograd does not tell a Python function that nobody wants a gradient that it could compute.
    """
    before = set(_constant)
    _constant.add(W)
    try:
        yield
    finally:
        _constant.intersection_update(before)
