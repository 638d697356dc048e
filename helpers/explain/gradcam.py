"""Grad-CAM (Selvaraju et al. 2017; equations 2 and 3 of the report) for any image classifier.

Images are (B, C, H, W), normalised as the model wants them; maps are (B, H, W).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from helpers.models.backbones import Model


IMAGES_AT_ONCE = 64  # limits memory; the maps do not depend on it


def grad_cam(
    model: nn.Module,
    images: Tensor,
    target_class: int | Tensor,
    layer: nn.Module | str,
) -> Tensor:
    """Return maps L = ReLU(sum_k alpha_k A^k) of `images` (B, C, H, W): (B, H, W).

    A^k are the feature maps that `layer` (a module or its dotted name) gives, alpha_k is the mean
    over the positions of dy/dA^k, and y is the raw score before the softmax. `target_class` is one
    class, or one class per image (B,). Maps are upsampled bilinearly to the image and are not
    normalised. Weights, gradients, training flags and hooks of the model are left unchanged.

        maps = grad_cam(resnet18(), images, 1, "layer4")

    Raises:
        ValueError: images, layer or class do not fit the model; the message names them.
    """
    module, name = find_layer(model, layer)
    if images.ndim != 4:
        raise ValueError(f"images must be (B, C, H, W), got shape {tuple(images.shape)}")
    classes = torch.as_tensor(target_class, device=images.device).expand(len(images))
    maps = []
    with evaluating(model), torch.inference_mode(False), torch.no_grad():
        for batch, c in zip(
            images.split(IMAGES_AT_ONCE), classes.split(IMAGES_AT_ONCE), strict=True
        ):
            maps.append(_coarse_maps(model, batch.clone(), c.clone(), module, name))
        size = tuple(images.shape[2:])
        coarse = torch.cat(maps)[:, None]  # (B, 1, u, v)
        return functional.interpolate(coarse, size, mode="bilinear", align_corners=False)[:, 0]


def _coarse_maps(
    model: nn.Module, images: Tensor, classes: Tensor, module: nn.Module, name: str
) -> Tensor:
    """Compute equations 2 and 3 before upsampling: (B, u, v)."""
    captured: list[Tensor] = []

    def start_graph_here(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        """Make the feature maps a leaf of the graph and keep them (a forward hook)."""
        # The graph starts at A: frozen weights do not matter, and the layers before A cost nothing.
        torch.set_grad_enabled(True)
        if not isinstance(output, Tensor) or output.ndim != 4:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(
                f"layer {name} gives {shape}, Grad-CAM needs feature maps (B, K, u, v)"
            )
        captured.append(output.detach().requires_grad_())
        return captured[-1].clone()  # later layers may change it in place

    handle = module.register_forward_hook(start_graph_here)
    try:
        y = first_output(model(images))  # (B, classes)
    finally:
        handle.remove()
        torch.set_grad_enabled(False)
    if len(captured) != 1:
        raise ValueError(f"layer {name} ran {len(captured)} times, choose one that runs once")
    if y.ndim != 2 or classes.min() < 0 or classes.max() >= y.shape[1]:
        raise ValueError(
            f"target_class must be 0 to {y.shape[-1] - 1} for scores of shape {tuple(y.shape)}, "
            f"got {classes.unique().tolist()}"
        )
    if not y.requires_grad:
        raise ValueError(f"the scores don't depend on layer {name}, choose one on their way")
    a = captured[0]  # (B, K, u, v)
    # 1 for the desired class, 0 for the others. In evaluation mode images do not mix, so each row
    # of the gradient belongs to its image alone.
    signal = functional.one_hot(classes, y.shape[1]).to(y.dtype)
    (gradient,) = torch.autograd.grad(y, a, signal)
    alpha = gradient.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1), equation 2
    maps = (alpha * a.detach()).sum(dim=1).relu()  # equation 3
    return maps if maps.dtype == torch.float64 else maps.float()


def feature_layer(model: Model) -> nn.Module | str:
    """Return the layer that a model of the series names for Grad-CAM: its attribute `feature_layer`
    (a derived network's last cell), or the one in its `spec`."""
    own = getattr(model, "feature_layer", None)
    return model.spec.feature_layer if own is None else own


def first_output(output: Tensor | tuple) -> Tensor:
    """Return the class scores of a model that may also give those of an auxiliary head."""
    return output[0] if isinstance(output, tuple) else output


def find_layer(model: nn.Module, layer: nn.Module | str) -> tuple[nn.Module, str]:
    """Return the module that is `layer` or has that dotted name, and its name."""
    for name, module in model.named_modules():
        if module is layer or name == layer:
            return module, name or type(model).__name__
    wanted = layer if isinstance(layer, str) else type(layer).__name__
    names = [name for name, _ in model.named_children()]
    raise ValueError(f"{type(model).__name__} has no layer {wanted}; at the top it has {names}")


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Switch to evaluation mode, and restore every module's training flag afterwards."""
    training = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, flag in training:
            module.training = flag
