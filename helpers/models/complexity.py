"""Measure how large and how costly a network is: parameters, and multiply-adds of one image."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.models.spec import evaluating

# of convolutions and linear layers; `mm` is a linear layer without a bias
COUNTED = (torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm)


def count_parameters(model: nn.Module) -> int:
    """Count the weights, each shared one once, without buffers such as BN statistics."""
    return sum(p.numel() for p in model.parameters())


def count_macs(model: nn.Module, image_size_px: int, in_channels: int = 3) -> int:
    """Count the multiply-adds of the convolutions and linear layers for one image, in eval mode.

    BN, pooling, additions and biases are not counted, as is usual when networks are compared, nor
    are the products of attention.
    """
    weight = next(model.parameters())
    size = (1, in_channels, image_size_px, image_size_px)
    # with a gradient, because torch's fused attention without one is not counted
    image = torch.zeros(size, device=weight.device, dtype=weight.dtype, requires_grad=True)
    with evaluating(model), torch.enable_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    flops = counter.get_flop_counts()["Global"]
    return sum(flops.get(operation, 0) for operation in COUNTED) // 2
