"""Measures of maps: insertion and deletion, and the correlation with maps of random weights.

Images are (B, C, H, W), maps (B, H, W). `map_quality` applies the measures to a subject.
"""

import copy
import math
import warnings
from typing import TypeVar

import torch
from scipy import ndimage, stats
from torch import Tensor, nn
from torch.nn import functional

from helpers.explain.gradcam import IMAGES_AT_ONCE
from helpers.models.spec import evaluating

Network = TypeVar("Network", bound=nn.Module)

BLUR_SHARE = 1 / 20  # blur radius (sigma) by image side: hides a crack, leaves the part's shading


def insertion_deletion(
    model: nn.Module,
    images: Tensor,
    hidden: Tensor,
    maps: Tensor,
    target_class: int,
    steps: int = 20,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return "insertion" and "deletion" curves of Petsiuk et al. (2018, "RISE"): (B, steps + 1).

    A curve holds the probability of the target class after equal shares of the pixels, the most
    important first, were put in or taken out. Pixels that are out look as in `hidden`, which
    broadcasts to the images; it is usually `blurred(images)`. Equally important pixels follow in an
    order drawn with `seed`. A good map has a high `area` for insertion and a low one for deletion.
    """
    rank = _importance_rank(maps, seed)[:, None]  # (B, 1, H, W), 0 is the most important pixel
    probabilities: dict[str, list[Tensor]] = {"insertion": [], "deletion": []}
    for share in torch.linspace(0, 1, steps + 1).tolist():
        moved = rank < round(share * maps[0].numel())
        inserted, deleted = torch.where(moved, images, hidden), torch.where(moved, hidden, images)
        for kind, changed in (("insertion", inserted), ("deletion", deleted)):
            with evaluating(model), torch.no_grad():
                y = torch.cat([model(part) for part in changed.split(IMAGES_AT_ONCE)])
            probabilities[kind].append(y.float().softmax(dim=1)[:, target_class].cpu())
    return {kind: torch.stack(values, dim=1) for kind, values in probabilities.items()}


def blurred(images: Tensor) -> Tensor:
    """Blur with a Gaussian of `BLUR_SHARE`, cut at 2 sigma, with mirrored borders."""
    sigma_px = BLUR_SHARE * max(images.shape[2:])
    options = {"radius": math.ceil(2 * sigma_px), "axes": (2, 3), "mode": "mirror"}
    smooth = ndimage.gaussian_filter(images.float().cpu().numpy(), sigma_px, **options)
    return torch.from_numpy(smooth).to(images).contiguous(memory_format=torch.channels_last)


def _importance_rank(maps: Tensor, seed: int) -> Tensor:
    """Return each pixel's place in the order of falling importance (B, H, W)."""
    flat = maps.flatten(1).cpu()
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed))
    by_importance = flat[:, shuffled].argsort(dim=1, descending=True, stable=True)
    order = shuffled[by_importance]  # (B, HW): the pixel at each place
    return order.argsort(dim=1).reshape(maps.shape).to(maps.device)


def area(curves: Tensor) -> Tensor:
    """Return the area under each curve (B, steps + 1), from 0 to 1: (B,)."""
    return torch.trapezoid(curves, dx=1 / (curves.shape[1] - 1))


def random_maps(maps: Tensor, seed: int) -> Tensor:
    """Return random maps of the size of `maps` (B, H, W), of 7 x 7 cells (as coarse as ResNet's);
    fine noise would lose by its grain alone."""
    coarse = torch.rand(len(maps), 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    fine = functional.interpolate(coarse, maps.shape[1:], mode="bilinear", align_corners=False)
    return fine[:, 0].to(maps)


def randomised_copy(model: Network, seed: int) -> Network:
    """Return a copy of the network with random weights (He et al. 2015, so that activations neither
    explode nor fade) and reset normalisation."""
    fresh = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in fresh.modules():
            for name, w in module.named_parameters(recurse=False):
                if w.ndim >= 2:
                    w.copy_(nn.init.kaiming_normal_(torch.empty(w.shape), generator=generator))
                else:
                    w.fill_(0 if name == "bias" else 1)
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.reset_running_stats()
    return fresh


def rank_correlation(maps_a: Tensor, maps_b: Tensor) -> Tensor:
    """Return Spearman's correlation of each pair of maps' pixels (B,); NaN if a map is constant.

    It should be low between a network and its `randomised_copy` (Adebayo et al. 2018): near 1 means
    that the maps show the image and not what the network has learned.
    """
    pairs = zip(maps_a.flatten(1).double(), maps_b.flatten(1).double(), strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.ConstantInputWarning)
        return torch.tensor([stats.spearmanr(a, b).statistic for a, b in pairs])
