"""Describe what a model expects and offers, as data; count its weights and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import field
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from helpers.models import PRECISIONS, Layout, Views

# of convolutions and linear layers; `mm` is a linear layer without a bias
COUNTED = (torch.ops.aten.convolution, torch.ops.aten.addmm, torch.ops.aten.mm)


@dataclass(frozen=True)
class ModelSpec:
    """The images that a model expects, and the outputs that it offers."""

    name: str
    kind: str  # how `build` makes it again: a name of NETWORKS, or a backbone
    num_classes: int
    image_size_px: int
    in_channels: int  # 3: gray images are repeated; 1: taken as they are
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedding_size: int
    feature_layer: str  # dotted name of the last layer that gives feature maps, for Grad-CAM
    feature_layout: Layout = "maps"
    prefix_tokens: int = 0  # before the tokens of the image: class token and registers
    options: dict[str, Any] = field(default_factory=dict)  # what else `build` needs, JSON-able

    def feature_maps(self, output: Tensor) -> Tensor:
        """Return the output of the feature layer as maps (B, K, u, v)."""
        if self.feature_layout == "maps_last":
            return output.permute(0, 3, 1, 2)
        if self.feature_layout == "tokens":  # of square images
            tokens = output[:, self.prefix_tokens :].transpose(1, 2)  # (B, K, u * v)
            side = math.isqrt(tokens.shape[2])
            return tokens.unflatten(2, (side, side))
        return output


@dataclass(frozen=True)
class Facts:
    """Facts stored with the weights of a network: how its run read and scored images."""

    full_scale_bits: int = 0  # that the deep images (more than 8 bits) used; 0: none was deep
    fit: Literal["squash", "pad"] = "squash"  # how images became squares
    views: Views = 1  # symmetries of each image over which scores are averaged
    precision: Annotated[str, Field(pattern=PRECISIONS)] = "auto"  # of the scores
    made_with: dict[str, str | None] = field(default_factory=dict)  # commit and versions
    mask: str = ""  # of each image that was read, see `sources.mask_of`


class Network(nn.Module):
    """A network of this series: `model(images)` gives raw class scores (B, K)."""

    spec: ModelSpec
    facts = Facts()  # of a network that nobody has trained yet
    head: nn.Module

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return the embeddings (B, D) of normalised images (B, C, H, W)."""
        raise NotImplementedError

    def forward(self, images: torch.Tensor) -> Any:
        """Return the raw class scores (B, K)."""
        return self.head(self.embed(images))


def at_once(size_px: int) -> int:
    """Return a batch size for scoring: the pixels of 64 images of 224 px, 1 to 64 images."""
    return max(1, min(64, 64 * 224**2 // size_px**2))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode; restore every module's training flag afterwards."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in training:
            module.training = flag


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
