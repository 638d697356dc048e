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
import torch.nn.functional as F
from torch import Tensor, nn

_open: list[LinearPieces] = []  # the one that holds the passes, if any


class LinearPieces:
    """Record which units are on in the first pass inside; after `replay()` a pass repeats them.

    The record takes a byte for each output of a ReLU and an index for each of a max pool.

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

    def __enter__(self) -> LinearPieces:
        if _open:
            raise RuntimeError("a LinearPieces is open already")
        _open.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _open.clear()

    def replay(self) -> None:
        """Make the next pass repeat the recorded choices; to be called before each."""
        self._next = 0

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


def relu(x: Tensor, inplace: bool = False) -> Tensor:
    """Return max(x, 0), or x where the unit was on; `inplace` may overwrite x."""
    if not _open:
        return F.relu(x, inplace)
    mask = _open[0].choice(lambda: x > 0)
    if mask.shape != x.shape:
        raise RuntimeError(
            f"a ReLU's input {tuple(x.shape)} is not of the shape recorded, {tuple(mask.shape)}"
        )
    return x * mask.to(x.dtype)  # a product with a bool tensor takes thrice as long on a CPU


def max_pool(x: Tensor, kernel: int, stride: int, padding: int, ceil: bool = False) -> Tensor:
    """Return the maxima of maps (B, C, H, W), or the pixels that were the maxima."""
    if not _open:
        return F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil)
    index = _open[0].choice(
        lambda: F.max_pool2d(x, kernel, stride, padding, ceil_mode=ceil, return_indices=True)[1]
    )
    maxima = x.flatten(2).gather(2, index.flatten(2)).view(index.shape)
    return maxima.contiguous(memory_format=torch.channels_last)


class ReLU(nn.Module):
    """`relu` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        """Return max(x, 0)."""
        return relu(x)
