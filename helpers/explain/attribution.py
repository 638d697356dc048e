"""Maps of what a score rests on: Grad-CAM for any image classifier, PatchCore's anomaly maps, and,
on the scale of the scores, what stops an image from passing.

Images are (B, C, H, W), normalised as the model wants them; maps are (B, H, W).
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from helpers.models.backbones import Network, at_once, evaluating
from helpers.training.inference import placed
from helpers.training.patchcore import PatchCoreNetwork

SIGMA_PX = 4  # of the Gaussian that smooths an anomaly map, as in the paper
CERTAIN = 1e-12  # the least odds and distances, whose logarithms are finite
# the end of the colours of all `stopping_map`s of a model, which start at the pass threshold
ODDS = (100, "times the odds of bad\nat the pass threshold")
DISTANCES = (2, "times the distance to good parts\nat the pass threshold")  # of PatchCore


def grad_cam(
    model: nn.Module,
    images: Tensor,
    target_class: int,
    layer: str,
    as_maps: Callable[[Tensor], Tensor] = lambda output: output,
    against: int | None = None,
) -> Tensor:
    """Return maps L = ReLU(sum_k alpha_k A^k) of `images` (Selvaraju et al. 2017).

    A^k are the feature maps that `layer` (a dotted name) gives, alpha_k is the mean over the
    positions of dy/dA^k, and y is the raw score of the class before the softmax (the report's
    equations 2 and 3). Maps are upsampled bilinearly and are not normalised. `as_maps` arranges the
    layer's output as (B, K, u, v). Weights, gradients, training flags and hooks stay unchanged.
    With a class `against`, y is the difference of the two scores, alpha_k the sum over the
    positions instead of the mean, and negative values stay.
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
            if against is not None:
                signal[:, against] = -1
            (gradient,) = torch.autograd.grad(y, a, signal)
            slopes = as_maps(gradient)
            alpha = slopes.mean(dim=(2, 3), keepdim=True)  # (B, K, 1, 1), equation 2
            coarse = (alpha * as_maps(a.detach())).sum(dim=1)  # (B, u, v), equation 3
            coarse = coarse.relu() if against is None else coarse * slopes[0, 0].numel()
            maps.append(coarse.to(images.dtype))
        return _upsampled(torch.cat(maps), images)


def stopping_map(
    model: Network, image: Tensor, score: float, threshold: float, inside: np.ndarray
) -> Tensor:
    """Return the smallest area that stops an image (1, C, S, S) from passing: (S, S) float64.

    The log-odds of a score join those of the places that count, `inside` (S, S) bool:

    - A network's are their mean. A place has the log-odds of an image that looks like this place
      everywhere: Grad-CAM for bad against good. That is exact if a linear layer follows the mean
      over the places (not in the two-layer CNN), otherwise right to first order.
    - PatchCore's are their maximum, and a place has the logarithm of its distance to good parts.

    They are shifted to join to `score`, which may be a mean over networks and views. The highest
    places are marked, as few as suffice: if these were at the `threshold`, the image would pass.
    The map has their log-odds less the threshold's, so that a value means the same in all images
    of a model. It is 0 at all other places, and at every place if the image passes.
    """
    odds = torch.logit(torch.tensor([score, threshold], dtype=torch.float64), eps=CERTAIN)
    above, places = odds[0] - odds[1], torch.from_numpy(inside)
    heat = torch.zeros(inside.shape, dtype=torch.float64)
    if above <= 0:
        return heat
    if isinstance(model, PatchCoreNetwork):
        rise = anomaly_maps(model, image)[0].double().clamp(min=CERTAIN).log()[places]
        rise = (rise - rise.max() + above).clamp(min=0)
    else:
        layer, as_maps = model.spec.feature_layer, model.spec.feature_maps
        rise = grad_cam(model, image, 1, layer, as_maps, against=0)[0].double().cpu()[places]
        rise = rise - rise.mean() + above
        order = rise.argsort()
        rise[order[rise[order].cumsum(0) <= 0]] = 0  # the lowest places, which alone would pass
    heat[places] = rise
    return heat


@torch.no_grad()
def anomaly_maps(model: PatchCoreNetwork, images: Tensor) -> Tensor:
    """Return where images are unlike all good parts in the memory, on the CPU.

    Maps are patch distances, upsampled and smoothed (Roth et al. 2022, section 3.3), in units of
    the usual score of a good part, so that maps of different parts can be compared. Patches that
    do not count are 0, and do not lower their neighbours.
    """
    model = placed(model, images.device)
    coarse = model.bank.distances(model.features(images))[0] / model.usual
    inside = torch.ones_like(coarse[:1]) if model.inside is None else model.inside[None].to(coarse)
    counts = functional.interpolate(inside[None], tuple(images.shape[2:]))[0].cpu()
    smooth = partial(ndimage.gaussian_filter, sigma=(0, SIGMA_PX, SIGMA_PX))
    fine, weights = (smooth(_upsampled(m, images).cpu().numpy()) for m in (coarse, inside))
    return torch.from_numpy(fine / weights.clip(CERTAIN)) * counts


def _upsampled(coarse: Tensor, images: Tensor) -> Tensor:
    size = tuple(images.shape[2:])
    return functional.interpolate(coarse[:, None], size, mode="bilinear")[:, 0]
