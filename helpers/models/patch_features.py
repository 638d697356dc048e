"""Features of the patches of an image: two middle stages of a backbone, averaged locally.

They are those of PatchCore (Roth et al. 2022, "Towards Total Recall in Industrial Anomaly
Detection", arXiv 2106.08265, section 3.1). Middle stages still know where something is, and are
less bound to ImageNet's classes than the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from helpers.models.backbones import Network, PretrainedClassifier
from helpers.models.spec import evaluating

STRIDES = (8, 16)  # pixels per patch of the two stages: layers 2 and 3 of a ResNet
NEIGHBOURHOOD = 3  # p of the paper: patches are averaged over p x p
Seen = TypeVar("Seen")


class NoMiddleLayersError(ValueError):
    """A network has no stages that give maps of the wanted strides; the message says why."""


def middle_layers(model: PretrainedClassifier) -> tuple[str, ...]:
    """Return the dotted names of the layers that end the stages of stride 8 and 16.

    timm's models whose `feature_info` names such stages have them.

    Raises:
        NoMiddleLayersError: the network has none, or they do not give maps (B, C, H, W).
    """
    name = model.spec.name
    stages = {stage["reduction"]: stage for stage in getattr(model.trunk, "feature_info", ())}
    if lacking := [stride for stride in STRIDES if stride not in stages]:
        raise NoMiddleLayersError(
            f"{name} has no stage of stride {lacking[0]}, which patch features need; its strides "
            f"are {', '.join(map(str, stages)) or 'not known'}"
        )
    layers = tuple(f"trunk.{stages[stride]['module']}" for stride in STRIDES)
    side = model.spec.image_size_px
    image = next(model.parameters()).new_zeros((1, model.spec.in_channels, side, side))
    with evaluating(model), torch.no_grad():
        shapes = _watched(model, image, layers, lambda output: tuple(getattr(output, "shape", ())))
    for layer, stride in zip(layers, STRIDES, strict=True):
        shape = shapes.get(layer, ())  # a stage may be missing, or give a list
        if len(shape) != 4 or shape[1] != stages[stride]["num_chs"]:
            raise NoMiddleLayersError(
                f"the layer {layer} of {name} gives {shape}, and patch features need maps "
                f"(B, {stages[stride]['num_chs']}, H, W)"
            )
    return layers


def patch_features(model: Network, images: Tensor, layers: Sequence[str]) -> Tensor:
    """Return the features of all patches of normalised images (B, C, H, W): (B, D, h, w).

    Each layer's map is averaged over 3 x 3 neighbours (fewer at the border), the coarser ones are
    upsampled bilinearly to the first, and all are concatenated. The authors also average the
    channels down to 1024; the backbones here have fewer.

        patch_features(model, images, middle_layers(model))  # ResNet-18, 224 px: (B, 384, 28, 28)
    """

    def averaged(output: Tensor) -> Tensor:
        p, border = NEIGHBOURHOOD, NEIGHBOURHOOD // 2
        return F.avg_pool2d(output, p, stride=1, padding=border, count_include_pad=False)

    maps = list(_watched(model, images, layers, averaged).values())
    size = tuple(maps[0].shape[2:])
    finer = [F.interpolate(m, size, mode="bilinear", align_corners=False) for m in maps[1:]]
    return torch.cat([maps[0], *finer], dim=1)


def _watched(
    model: Network, images: Tensor, layers: Sequence[str], see: Callable[[Any], Seen]
) -> dict[str, Seen]:
    """Embed images; return what `see` returns for the output of each layer that runs, by name."""
    seen: dict[str, Seen] = {}

    def hook(name: str, _module: torch.nn.Module, _inputs: tuple, output: Any) -> None:
        seen[name] = see(output)  # at once, because later layers may change the output in place

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            if name in layers:
                hooks.enter_context(module.register_forward_hook(partial(hook, name)))
        model.embed(images)
    return seen
