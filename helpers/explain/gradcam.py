"""Grad-CAM (Selvaraju et al. 2017; equations 2 and 3 of the report) for any image classifier.

Images are (B, C, H, W), normalised as the model wants them; maps are (B, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from helpers.models.spec import at_once, evaluating


def grad_cam(
    model: nn.Module,
    images: Tensor,
    target_class: int,
    layer: str,
    as_maps: Callable[[Tensor], Tensor] = lambda output: output,
) -> Tensor:
    """Return maps L = ReLU(sum_k alpha_k A^k) of `images` (B, C, H, W): (B, H, W).

    A^k are the feature maps that `layer` (a dotted name) gives, alpha_k is the mean over the
    positions of dy/dA^k, and y is the raw score of the class before the softmax. Maps are upsampled
    bilinearly to the image and are not normalised. `as_maps` arranges the layer's output as
    (B, K, u, v). Weights, gradients, training flags and hooks of the model are left unchanged.

        maps = grad_cam(resnet18(), images, 1, "layer4")
    """
    captured: list[Tensor] = []

    def start_graph_here(_module: nn.Module, _inputs: tuple, output: Tensor) -> Tensor:
        # The graph starts at A: frozen weights do not matter, and the layers before A cost nothing.
        torch.set_grad_enabled(True)
        captured.append(output.detach().requires_grad_())
        return captured[-1].clone()  # later layers may change it in place

    maps = []
    hook = model.get_submodule(layer).register_forward_hook(start_graph_here)
    with hook, evaluating(model), torch.inference_mode(False), torch.no_grad():
        count = at_once(images.shape[2])  # limits the memory; the maps do not depend on it
        for batch in images.split(count):
            captured.clear()
            y = model(batch.clone())  # (B, classes)
            torch.set_grad_enabled(False)
            shapes = [tuple(a.shape) for a in captured]
            if len(captured) != 1 or as_maps(captured[0]).ndim != 4:
                raise ValueError(
                    f"layer {layer} gives {shapes}, Grad-CAM needs feature maps (B, K, u, v) "
                    "once: choose another layer"
                )
            a = captured[0]
            signal = torch.zeros_like(y)
            signal[:, target_class] = 1
            # In evaluation mode images do not mix: each row of the gradient is of its image alone.
            (gradient,) = torch.autograd.grad(y, a, signal)
            alpha = as_maps(gradient).mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1), equation 2
            coarse = (alpha * as_maps(a.detach())).sum(dim=1).relu()  # (B, u, v), equation 3
            maps.append(coarse.to(images.dtype))
        fine = functional.interpolate(
            torch.cat(maps)[:, None], images.shape[2:], mode="bilinear", align_corners=False
        )
        return fine[:, 0]
