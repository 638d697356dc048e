"""Hold a network on one of its linear pieces, for finite differences that mean something.

ReLU and max pooling are linear in pieces: the loss's gradient jumps wherever a unit switches. A
finite difference over a step h adds up the jumps of all units that switch within h and divides by
h, which drowns the second derivative in noise, the more the smaller h is. With every unit held as
it was at the centre the loss is smooth, and its derivatives there are the loss's own, as autograd
would give them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_aten = torch.ops.aten
_MAX_POOL = _aten.max_pool2d_with_indices.default
_RELU, _RELU_IN_PLACE = _aten.relu.default, _aten.relu_.default
_RELU_BACKWARD = _aten.threshold_backward.default


class LinearPieces(TorchDispatchMode):
    """Records which units are on in the first pass inside; after `replay()` a pass repeats them.

    A pass is the network's forward and, if wanted, backward pass over the same images. ReLUs are
    known by torch's operators relu, relu_ and threshold_backward, the last of which must be given
    the ReLU's output; max pools by max_pool2d_with_indices. Costs a byte for each output of a ReLU
    and an index for each of a max pool while it lives. Raises RuntimeError for a pass whose units
    are not those of the recorded one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._choices: list[Tensor] = []  # masks of ReLUs and indices of max pools, as called
        self._next: int | None = None  # None while recording
        self._masks: dict[int, Tensor] = {}  # by the address of a ReLU's output

    def replay(self) -> None:
        """The next pass repeats the recorded one's choices; to be called before each."""
        self._next = 0
        self._masks.clear()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _RELU or func is _RELU_IN_PLACE:
            return self._relu(func, args[0])
        if func is _MAX_POOL:
            return self._max_pool(*args)
        if func is _RELU_BACKWARD and self._next is not None:
            return self._relu_backward(*args[:2])
        return func(*args, **(kwargs or {}))

    def _repeated(self) -> Tensor:
        """The choice recorded at this point of the pass."""
        if self._next == len(self._choices):
            raise RuntimeError(
                f"the recorded pass had {self._next} ReLUs and max pools, this one has more"
            )
        self._next += 1
        return self._choices[self._next - 1]

    def _relu(self, relu: Any, x: Tensor) -> Tensor:
        if self._next is None:
            out = relu(x)
            self._choices.append(out > 0)
            return out
        mask = self._repeated()
        if mask.shape != x.shape:
            raise RuntimeError(
                f"a ReLU's input {tuple(x.shape)} is not of the shape recorded, {tuple(mask.shape)}"
            )
        factor = mask.to(x.dtype)  # a product with a bool tensor takes thrice as long on a CPU
        out = x.mul_(factor) if relu is _RELU_IN_PLACE else x * factor
        self._masks[out.data_ptr()] = mask
        return out

    def _relu_backward(self, grad: Tensor, output: Tensor) -> Tensor:
        mask = self._masks[output.data_ptr()]
        # The output may have been viewed as another shape since: the mask follows.
        return grad * mask.as_strided(output.shape, output.stride()).to(grad.dtype)

    def _max_pool(self, x: Tensor, *geometry: Any) -> tuple[Tensor, Tensor]:
        if self._next is None:
            values, index = _MAX_POOL(x, *geometry)
            self._choices.append(index)
            return values, index
        index = self._repeated()
        values = x.flatten(2).gather(2, index.flatten(2)).view(index.shape)
        return values.contiguous(memory_format=torch.channels_last), index
