"""Maps of what a score rests on: Grad-CAM for any image classifier, and PatchCore's anomaly maps.

Images are (B, C, H, W), normalised as the model wants them; maps are (B, H, W).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from helpers.models.backbones import Network, at_once, evaluating
from helpers.training.inference import placed
from helpers.training.patchcore import PatchCoreNetwork

SIGMA_PX = 4  # of the Gaussian that smooths an anomaly map, as in the paper


def grad_cam(
    model: nn.Module,
    images: Tensor,
    target_class: int,
    layer: str,
    as_maps: Callable[[Tensor], Tensor] = lambda output: output,
) -> Tensor:
    """Return maps L = ReLU(sum_k alpha_k A^k) of `images` (Selvaraju et al. 2017).

    A^k are the feature maps that `layer` (a dotted name) gives, alpha_k is the mean over the
    positions of dy/dA^k, and y is the raw score of the class before the softmax (the report's
    equations 2 and 3). Maps are upsampled bilinearly and are not normalised. `as_maps` arranges the
    layer's output as (B, K, u, v). Weights, gradients, training flags and hooks stay unchanged.

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
            # In evaluation mode images do not mix: each row of the gradient is of its image alone.
            signal = torch.zeros_like(y)
            signal[:, target_class] = 1
            (gradient,) = torch.autograd.grad(y, a, signal)
            alpha = as_maps(gradient).mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1), equation 2
            coarse = (alpha * as_maps(a.detach())).sum(dim=1).relu()  # (B, u, v), equation 3
            maps.append(coarse.to(images.dtype))
        return _upsampled(torch.cat(maps), images)


def class_maps(model: Network, images: Tensor, target_class: int) -> Tensor:
    """Return a network's Grad-CAM maps for one class, PatchCore's anomaly maps, on the CPU."""
    if isinstance(model, PatchCoreNetwork):
        return anomaly_maps(model, images)
    spec = model.spec
    return grad_cam(model, images, target_class, spec.feature_layer, spec.feature_maps).cpu()


@torch.no_grad()
def anomaly_maps(model: PatchCoreNetwork, images: Tensor) -> Tensor:
    """Return where images are unlike all good parts in the memory, on the CPU.

    Maps are patch distances, upsampled and smoothed (Roth et al. 2022, section 3.3), in units of
    the usual score of a good part, so that maps of different parts can be compared.
    """
    model = placed(model, images.device)
    coarse = model.bank.distances(model.features(images))[0] / model.usual
    fine = _upsampled(coarse, images).cpu().numpy()
    return torch.from_numpy(ndimage.gaussian_filter(fine, (0, SIGMA_PX, SIGMA_PX)))


def _upsampled(coarse: Tensor, images: Tensor) -> Tensor:
    size = tuple(images.shape[2:])
    return functional.interpolate(coarse[:, None], size, mode="bilinear")[:, 0]
