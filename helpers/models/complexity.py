"""Measure how large and how costly a network is: parameters, and multiply-adds of one image."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from helpers.models.spec import evaluating


class _LinearLayers(TorchFunctionMode):
    """Counts their multiply-adds, also if a network passes on the weights of a layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.macs = 0

    def __torch_function__(
        self, func: Callable, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        output = func(*args, **kwargs)
        if func is F.linear:
            weight = kwargs["weight"] if "weight" in kwargs else args[1]
            self.macs += output.numel() * weight.shape[-1]
        elif func is F.multi_head_attention_forward:  # of query, key, value and output
            self.macs += 4 * args[0].numel() * args[0].shape[-1]
        return output


def count_parameters(model: nn.Module) -> int:
    """Count the weights, each shared one once, without buffers such as BN statistics."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, image_size_px: int, in_channels: int = 3) -> int:
    """Count the multiply-adds of the convolutions and linear layers for one image, in eval mode.

    BN, pooling, additions and biases are not counted, as is usual when networks are compared, nor
    are the products of attention.
    """
    macs = 0

    def count(_name: str, module: nn.Module, output: object) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d) and isinstance(output, Tensor):
            macs += output.numel() * module.weight[0].numel()  # a value costs its filter's weights

    with _LinearLayers() as linear:
        _watch(model, image_size_px, in_channels, count)
    return macs + linear.macs


def output_shapes(
    model: nn.Module, image_size_px: int, in_channels: int = 3
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each module's output for one image, by name, if it is a tensor."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str, _module: nn.Module, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[name] = tuple(output.shape)

    _watch(model, image_size_px, in_channels, note)
    return shapes


def _watch(
    model: nn.Module,
    image_size_px: int,
    in_channels: int,
    see: Callable[[str, nn.Module, object], None],
) -> None:
    """Run one image of zeros in eval mode; call `see(name, module, output)` for each module.

    Leaves the model as it was: mode, statistics and gradients.
    """
    weight = next(model.parameters())
    size = (1, in_channels, image_size_px, image_size_px)
    image = torch.zeros(size, device=weight.device, dtype=weight.dtype)

    def hook(name: str, module: nn.Module, _inputs: tuple, output: object) -> None:
        see(name, module, output)

    with ExitStack() as hooks, evaluating(model), torch.no_grad():
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(hook, name)))
        model(image)
