"""Measures of maps: insertion and deletion, the pointing game, pixels in a mask, random weights.

Images are (B, C, H, W), maps (B, H, W), masks (B, H, W) bool, true on the defect. `map_quality`
applies the measures to a run.
"""

import copy
import math
from typing import TypeVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from helpers.explain.gradcam import IMAGES_AT_ONCE
from helpers.models.spec import evaluating

Network = TypeVar("Network", bound=nn.Module)

CORNER = 0.2  # of each side of an image
BLUR_SHARE = 1 / 20  # blur radius (sigma) by image side: hides a crack, leaves the part's shading


def insertion_deletion(
    model: nn.Module,
    images: Tensor,
    hidden: Tensor,
    maps: Tensor,
    target_class: int | Tensor,
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
    classes = torch.as_tensor(target_class, device=images.device).expand(len(images))
    probabilities: dict[str, list[Tensor]] = {"insertion": [], "deletion": []}
    for share in torch.linspace(0, 1, steps + 1).tolist():
        moved = rank < round(share * maps[0].numel())
        inserted, deleted = torch.where(moved, images, hidden), torch.where(moved, hidden, images)
        for kind, changed in (("insertion", inserted), ("deletion", deleted)):
            with evaluating(model), torch.no_grad():
                y = torch.cat([model(part) for part in changed.split(IMAGES_AT_ONCE)])
            probability = y.float().softmax(dim=1).gather(1, classes[:, None])[:, 0]
            probabilities[kind].append(probability.cpu())
    return {kind: torch.stack(values, dim=1) for kind, values in probabilities.items()}


def blurred(images: Tensor) -> Tensor:
    """Blur with a Gaussian of `BLUR_SHARE`, cut at 2 sigma, with mirrored borders.

    One axis follows the other: a kernel of both is 41 x 41 at 192 pixels and takes minutes in
    bfloat16 on a CPU.
    """
    sigma_px = BLUR_SHARE * max(images.shape[2:])
    radius = math.ceil(2 * sigma_px)
    at = torch.arange(-radius, radius + 1, device=images.device, dtype=torch.float32)
    weights = torch.exp(-(at**2) / (2 * sigma_px**2))
    kernel = (weights / weights.sum())[None, None]  # (1, 1, 2 radius + 1)
    x = images.float()
    with torch.autocast(images.device.type, enabled=False):
        for _ in range(2):  # rows, then columns
            lines = functional.pad(x.flatten(0, 2), (radius, radius), mode="reflect")[:, None]
            x = functional.conv1d(lines, kernel).reshape(x.shape).transpose(2, 3)
    return x.to(images.dtype).contiguous(memory_format=torch.channels_last)


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


def peaks_in_corner(maps: Tensor) -> Tensor:
    """Return whether each map's peak is in a corner of the image: (B,) bool.

    A corner is a square of `CORNER` of each side. The peak is the middle of the highest pixels: a
    coarse map that was enlarged has many of them at the border.
    """
    height, width = maps.shape[1:]
    highest = maps >= maps.amax((1, 2), keepdim=True) * (1 - 1e-4)  # (B, H, W)
    inside = torch.ones(len(maps), dtype=torch.bool)
    for size, other in ((height, 2), (width, 1)):
        counts = highest.sum(other).double()  # (B, size)
        middle = (counts * torch.arange(size)).sum(1) / counts.sum(1)
        edge = int(CORNER * size)
        inside &= (middle < edge) | (middle > size - 1 - edge)
    return inside


def corner_share(maps: Tensor) -> float:
    """Return the share of an image's pixels that `peaks_in_corner` counts as corners."""
    height, width = maps.shape[1:]
    return 4 * int(CORNER * height) * int(CORNER * width) / (height * width)


def pointing_game(maps: Tensor, masks: Tensor) -> Tensor:
    """Return 1 for each map whose highest pixel is on the defect, else 0; for several highest
    pixels their fraction (Zhang et al. 2018, tolerance 0): (B,). Chance is the masks' share."""
    highest = maps == maps.amax((1, 2), keepdim=True)
    return (highest & masks).sum((1, 2)) / highest.sum((1, 2))


def pixel_auroc(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the AUROC of each map's pixels on the defect against its other pixels: (B,).

    Chance is 0.5. So much has a map whose mask covers nothing or all.
    """
    inside = masks.flatten(1).double()
    ranks = stats.rankdata(maps.detach().cpu().flatten(1).numpy(), axis=1)
    n, m = inside.sum(dim=1), (1 - inside).sum(dim=1)  # pixels on the defect, and others
    wins = (torch.from_numpy(ranks) * inside).sum(dim=1) - n * (n + 1) / 2  # ties count half
    return torch.where(n * m > 0, wins / (n * m).clamp(min=1), 0.5)


def energy_in_mask(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of each rectified map's sum inside the mask (Wang et al. 2020, "Score-CAM",
    energy-based pointing game): (B,). An empty map counts as chance, the share of its mask."""
    inside, total = (maps * masks).sum((1, 2)), maps.sum((1, 2))
    return torch.where(total > 0, inside / total, masks.float().mean((1, 2)))


def randomised_copy(model: Network, seed: int) -> Network:
    """Return a copy of the network with random weights (He et al. 2015, so that activations neither
    explode nor fade) and normalisation as new."""
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

    Between a network and its `randomised_copy` it should be low (Adebayo et al. 2018): near 1 means
    that the maps show the image and not what the network has learned.
    """
    ranks = []
    for maps in (maps_a, maps_b):
        own = stats.rankdata(maps.detach().cpu().flatten(1).double().numpy(), axis=1)
        ranks.append(own - own.mean(axis=1, keepdims=True))
    product = (ranks[0] * ranks[1]).sum(axis=1)
    length = np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    unknown = np.full_like(product, np.nan)
    return torch.from_numpy(np.divide(product, length, out=unknown, where=length > 0))
