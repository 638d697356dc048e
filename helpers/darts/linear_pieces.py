"""Hold a network on one of its linear pieces, for finite differences that mean something.

ReLU and max pooling are linear in pieces: the loss's gradient jumps wherever a unit switches. A
finite difference over a step h adds up the jumps of all units that switch within h and divides by
h, which drowns the second derivative in noise, the more the smaller h is. With every unit held as
it was at the centre the loss is smooth, and its derivatives there are the loss's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_RELU = (_aten.relu.default, _aten.relu_.default)
_MAX_POOL = _aten.max_pool2d_with_indices.default
_RELU_BACKWARD = _aten.threshold_backward.default


class LinearPieces(TorchDispatchMode):
    """The first pass inside is recorded; after `replay()` every pass repeats its choices.

    Passes must make the same calls in the same order, on the same shapes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._choices: list[Tensor] = []
        self._next: int | None = None  # None while recording
        self._masks: dict[int, Tensor] = {}  # by the address of a ReLU's result

    def replay(self) -> None:
        """From here on repeat the recorded choices, from the first; before each forward pass."""
        self._next = 0
        self._masks.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in _RELU:
            return self._relu(args[0], inplace=func is _RELU[1])
        if func is _MAX_POOL:
            return self._max_pool(func, args)
        if func is _RELU_BACKWARD:
            grad, result = args[:2]
            mask = self._masks[result.data_ptr()]
            return grad * mask.as_strided(result.shape, result.stride())  # it may be a view by now
        return func(*args, **(kwargs or {}))

    def _choice(self, choose: Any) -> Tensor:
        if self._next is None:
            self._choices.append(choose())
            return self._choices[-1]
        self._next += 1
        return self._choices[self._next - 1]

    def _relu(self, x: Tensor, inplace: bool) -> Tensor:
        mask = self._choice(lambda: x > 0)
        out = x.mul_(mask) if inplace else x * mask
        self._masks[out.data_ptr()] = mask
        return out

    def _max_pool(self, func: Any, args: Any) -> tuple[Tensor, Tensor]:
        index = self._choice(lambda: func(*args)[1])
        values = args[0].flatten(2).gather(2, index.flatten(2))
        layout = torch.channels_last
        return values.view(index.shape).contiguous(memory_format=layout), index
