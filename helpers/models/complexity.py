"""Measure how large and how costly a network is: parameters, and multiply-adds of one image."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from helpers.models.spec import evaluating


class Layer(NamedTuple):
    """One module on one image: the shape of its output, and its own multiply-adds."""

    shape: tuple[int, ...]
    macs: int


def count_parameters(model: nn.Module) -> int:
    """Count the weights, each shared one once, without buffers such as BN statistics."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, image_size_px: int | tuple[int, int], in_channels: int = 3) -> int:
    """Count the multiply-adds of the convolutions and linear layers for one image, in eval mode.

    `image_size_px` is the side of a square or (height, width). BN, pooling, additions and biases
    are not counted, as is usual when networks are compared.
    """
    return sum(layer.macs for layer in trace(model, image_size_px, in_channels).values())


def trace(
    model: nn.Module, image_size_px: int | tuple[int, int], in_channels: int = 3
) -> dict[str, Layer]:
    """Run one image of zeros in eval mode; {module name: Layer} for modules that return a tensor.

    Leaves the model as it was: mode, statistics and gradients.
    """
    size = (image_size_px, image_size_px) if isinstance(image_size_px, int) else image_size_px
    weight = next(model.parameters())
    image = torch.zeros(1, in_channels, *size, device=weight.device, dtype=weight.dtype)
    layers: dict[str, Layer] = {}

    def record(name: str, module: nn.Module, _inputs: tuple, output: object) -> None:
        if isinstance(output, Tensor):
            macs = layers[name].macs if name in layers else 0  # a module may run twice
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                # each output value costs one multiply-add per weight of its filter
                macs += output.numel() * module.weight[0].numel()
            layers[name] = Layer(tuple(output.shape), macs)

    with ExitStack() as hooks, evaluating(model), torch.no_grad():
        for name, module in model.named_modules():
            hooks.enter_context(module.register_forward_hook(partial(record, name)))
        model(image)
    return layers
