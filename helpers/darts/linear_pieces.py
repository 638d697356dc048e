"""Hold ReLU and max pooling on one of their linear pieces.

Both are linear in pieces: the gradient of the loss jumps if a unit switches. A finite difference
over a step h adds up the jumps of all units that switch within h and divides by h, which drowns the
second derivative in noise, the more the smaller h is. With every unit held as it was at the centre
the loss is smooth, and its derivatives there are the true ones, as autograd would give them.

The supernet calls the functions below instead of those of torch. Inside a `LinearPieces` they
record or repeat; elsewhere they are those of torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_aten = torch.ops.aten
_open: list[LinearPieces] = []  # the one that holds the passes, if any


class LinearPieces:
    """Record which units are on in the first pass inside; after `replay()` a pass repeats them.

    A pass is the forward and, if wanted, backward pass of the network over the same images. The
    record takes a byte for each output of a ReLU and an index for each of a max pool.

    Raises:
        RuntimeError: a pass with other units than the recorded one.

    Example:
        >>> with LinearPieces() as pieces:
        ...     net(images)  # records
        ...     pieces.replay()
        ...     net(images)  # repeats
    """

    def __init__(self) -> None:
        self._choices: list[Tensor] = []  # masks of ReLUs and indices of max pools, as called
        self._next: int | None = None  # None while recording
        self._masks: dict[int, Tensor] = {}  # by the address of a ReLU's output

    def __enter__(self) -> LinearPieces:
        if _open:
            raise RuntimeError("a LinearPieces is open already")
        _open.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _open.clear()
        self._masks.clear()

    def replay(self) -> None:
        """Make the next pass repeat the recorded choices; to be called before each."""
        self._next = 0
        self._masks.clear()

    def choice(self, choose: Callable[[], Tensor]) -> Tensor:
        """Return the next recorded mask or index, or a new one while recording."""
        if self._next is None:
            self._choices.append(choose())
            return self._choices[-1]
        if self._next == len(self._choices):
            raise RuntimeError(
                f"the recorded pass had {self._next} ReLUs and max pools, this one has more"
            )
        self._next += 1
        return self._choices[self._next - 1]

    def relu(self, x: Tensor) -> Tensor:
        """Return x if the unit is on, else 0."""
        mask = self.choice(lambda: x > 0)
        if mask.shape != x.shape:
            raise RuntimeError(
                f"a ReLU's input {tuple(x.shape)} is not of the shape recorded, {tuple(mask.shape)}"
            )
        out = x * mask.to(x.dtype)  # a product with a bool tensor takes thrice as long on a CPU
        self._masks[out.data_ptr()] = mask
        return out

    def relu_backward(self, grad: Tensor, output: Tensor) -> Tensor:
        """Return the gradient of the input of a ReLU."""
        mask = self._masks[output.data_ptr()]
        # The output may have been viewed as another shape since: the mask follows.
        return grad * mask.as_strided(output.shape, output.stride()).to(grad.dtype)


def relu(x: Tensor, overwrite: bool = False) -> Tensor:
    """Return max(x, 0), for use inside autograd functions; `overwrite` may change x."""
    if _open:
        return _open[0].relu(x)
    return x.relu_() if overwrite else x.relu()


def relu_backward(grad: Tensor, output: Tensor) -> Tensor:
    """Return the gradient of the input of `relu` from that of its output."""
    if _open:
        return _open[0].relu_backward(grad, output)
    return _aten.threshold_backward(grad, output, 0)


def max_pool(
    x: Tensor, kernel: int, stride: int, padding: int, ceil: bool = False
) -> tuple[Tensor, Tensor]:
    """Return (maxima, positions) of maps (B, C, H, W), for use inside autograd functions."""
    geometry = ([kernel] * 2, [stride] * 2, [padding] * 2, [1, 1], ceil)
    if not _open:
        return _aten.max_pool2d_with_indices(x, *geometry)
    index = _open[0].choice(lambda: _aten.max_pool2d_with_indices(x, *geometry)[1])
    values = x.flatten(2).gather(2, index.flatten(2)).view(index.shape)
    return values.contiguous(memory_format=torch.channels_last), index


class _ReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """See `ReLU`."""
        out = relu(x)
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient of x."""
        return relu_backward(grad, *ctx.saved_tensors)


class ReLU(nn.Module):
    """A differentiable `relu`, as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return _ReLU.apply(x)
