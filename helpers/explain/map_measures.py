"""Numbers behind the Grad-CAM maps: do they show what the model goes by, and where the defect is?

Images are (B, C, H, W), maps (B, H, W), masks (B, H, W) true on the defect.
"""

import copy
import math
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional

from helpers.explain.gradcam import IMAGES_AT_ONCE, evaluating, find_layer, first_output, grad_cam

Network = TypeVar("Network", bound=nn.Module)

BLUR_SHARE = 1 / 20  # blur radius (sigma) by image side: hides a crack, leaves the part's shading


class InsertionDeletion(NamedTuple):
    """Probability of the target class (B, steps + 1) after each share (steps + 1,) of the pixels
    was put in or taken out, most important first, and the area under each curve (B,)."""

    shares: Tensor
    insertion: Tensor
    deletion: Tensor
    insertion_area: Tensor
    deletion_area: Tensor


class AgainstRandom(NamedTuple):
    """Maps and random maps on the same images; gains are means with their standard errors, and
    above 0 where the maps find more of what the model goes by than random ones do."""

    maps: InsertionDeletion
    random: InsertionDeletion
    insertion_gain: float
    insertion_gain_se: float
    deletion_gain: float
    deletion_gain_se: float


class MaskScore(NamedTuple):
    """A value for each image (B,), their mean, and the mean of a map that knows nothing."""

    values: Tensor
    mean: float
    chance: float


def insertion_deletion(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    target_class: int | Tensor,
    steps: int = 20,
    baseline: str | Tensor = "blur",
    seed: int = 0,
) -> InsertionDeletion:
    """Insertion and deletion curves of Petsiuk et al. (2018, "RISE"), `steps` + 1 points each.

    Pixels taken out show the `baseline`: "blur", "zero" (the mean colour where images were
    centred) or a tensor that broadcasts to the images. Pixels of equal importance go in an order
    drawn with `seed`, not from the top left. A good map has a high insertion area and a low
    deletion area.
    """
    if maps.shape != images[:, 0].shape:
        raise ValueError(f"maps of shape {tuple(maps.shape)} for images {tuple(images.shape)}")
    if steps < 1:
        raise ValueError(f"steps is {steps}, it must be 1 or more")
    hidden = _hidden(images, baseline)
    rank = _importance_rank(maps, seed)[:, None]  # (B, 1, H, W), 0 is the most important pixel
    classes = torch.as_tensor(target_class, device=images.device).expand(len(images))
    shares = torch.linspace(0, 1, steps + 1)
    insertion, deletion = [], []
    for share in shares.tolist():
        moved = rank < round(share * maps[0].numel())
        inserted = torch.where(moved, images, hidden)
        deleted = torch.where(moved, hidden, images)
        insertion.append(_probability(model, inserted, classes))
        deletion.append(_probability(model, deleted, classes))
    curves = [torch.stack(points, dim=1) for points in (insertion, deletion)]  # (B, steps + 1)
    return InsertionDeletion(shares, *curves, *(torch.trapezoid(c, dx=1 / steps) for c in curves))


def compare_with_random(
    model: nn.Module,
    images: Tensor,
    maps: Tensor,
    target_class: int | Tensor,
    steps: int = 20,
    baseline: str | Tensor = "blur",
    seed: int = 0,
) -> AgainstRandom:
    """`insertion_deletion` of the maps and of `random_maps`; two images or more."""
    if len(images) < 2:
        raise ValueError("a standard error needs two images or more, got 1")
    ours = insertion_deletion(model, images, maps, target_class, steps, baseline, seed)
    noise = random_maps(maps, seed)
    theirs = insertion_deletion(model, images, noise, target_class, steps, baseline, seed)
    gains = (
        ours.insertion_area - theirs.insertion_area,
        theirs.deletion_area - ours.deletion_area,
    )
    numbers = [(g.mean().item(), g.std().item() / math.sqrt(len(g))) for g in gains]
    return AgainstRandom(ours, theirs, *numbers[0], *numbers[1])


def random_maps(maps: Tensor, seed: int, cells: int = 7) -> Tensor:
    """Random maps of the size of `maps` (B, H, W), of 7 x 7 cells (as coarse as ResNet's):
    pixel noise would lose by its grain alone."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(len(maps), 1, cells, cells, generator=generator)
    fine = functional.interpolate(coarse, maps.shape[1:], mode="bilinear", align_corners=False)
    return fine[:, 0].to(maps)


def pointing_game(maps: Tensor, masks: Tensor) -> MaskScore:
    """Whether each map's highest pixel lies on the defect (Zhang et al. 2018, tolerance 0); for
    several highest pixels the fraction of them that do. Chance is the share the masks cover."""
    masks = _checked_masks(maps, masks)
    highest = maps == maps.amax((1, 2), keepdim=True)
    hits = (highest & masks).sum((1, 2)) / highest.sum((1, 2))
    return _mask_score(hits, masks)


def energy_in_mask(maps: Tensor, masks: Tensor) -> MaskScore:
    """Share of each map's sum inside the mask (Wang et al. 2020, "Score-CAM", energy-based
    pointing game); an empty map counts as chance, the share of pixels that the mask covers."""
    masks = _checked_masks(maps, masks)
    if maps.min() < 0:
        raise ValueError("maps hold negative values; energy needs rectified ones")
    inside, total = (maps * masks).sum((1, 2)), maps.sum((1, 2))
    covered = masks.float().mean((1, 2))
    return _mask_score(torch.where(total > 0, inside / total, covered), masks)


def randomised_copy(model: Network, seed: int) -> Network:
    """The same network with fresh random weights (He et al. 2015, so that deep ones neither
    explode nor fade) and normalisation as new; `model` itself stays as it is."""
    fresh = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in fresh.modules():
            for name, w in module.named_parameters(recurse=False):
                if w.ndim >= 2:
                    drawn = torch.empty(w.shape)
                    w.copy_(nn.init.kaiming_normal_(drawn, generator=generator))
                else:
                    w.fill_(0 if name == "bias" else 1)
            reset = getattr(module, "reset_running_stats", None)
            if reset is not None:
                reset()
    return fresh


def sanity_check(
    model: nn.Module,
    images: Tensor,
    target_class: int | Tensor,
    layer: nn.Module | str,
    seed: int = 0,
) -> Tensor:
    """Rank correlation (B,) of each map with that of `randomised_copy` (Adebayo et al. 2018): near
    1 means that the map shows the image and not what the model has learned."""
    _, name = find_layer(model, layer)
    maps = grad_cam(model, images, target_class, name)
    return rank_correlation(
        maps, grad_cam(randomised_copy(model, seed), images, target_class, name)
    )


def rank_correlation(maps_a: Tensor, maps_b: Tensor) -> Tensor:
    """Spearman's correlation of the pixels of each pair of maps (B,); 0 where one is constant."""
    ranks = []
    for maps in (maps_a, maps_b):
        own = stats.rankdata(maps.detach().cpu().flatten(1).double().numpy(), axis=1)
        ranks.append(own - own.mean(axis=1, keepdims=True))
    product = (ranks[0] * ranks[1]).sum(axis=1)
    length = np.sqrt((ranks[0] ** 2).sum(axis=1) * (ranks[1] ** 2).sum(axis=1))
    return torch.from_numpy(np.divide(product, length, out=0 * product, where=length > 0))


def _hidden(images: Tensor, baseline: str | Tensor) -> Tensor:
    if isinstance(baseline, Tensor):
        return baseline.expand_as(images)
    if baseline == "zero":
        return torch.zeros_like(images)
    if baseline == "blur":
        return _blur(images, sigma_px=BLUR_SHARE * max(images.shape[2:]))
    raise ValueError(f'baseline is {baseline!r}, choose "blur", "zero" or a tensor')


def _blur(images: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur with mirrored borders, cut at 2 sigma, one axis after the other: a kernel of
    both axes is 41 x 41 at 192 pixels and takes minutes in bfloat16 on a CPU."""
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
    """Place of each pixel in the order of falling importance (B, H, W)."""
    flat = maps.flatten(1).cpu()
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed))
    by_importance = flat[:, shuffled].argsort(dim=1, descending=True, stable=True)
    order = shuffled[by_importance]  # (B, HW): the pixel at each place
    return order.argsort(dim=1).reshape(maps.shape).to(maps.device)


def _probability(model: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    with evaluating(model), torch.no_grad():
        y = torch.cat([first_output(model(part)) for part in images.split(IMAGES_AT_ONCE)])
    return y.float().softmax(dim=1).gather(1, classes[:, None])[:, 0].cpu()


def _checked_masks(maps: Tensor, masks: Tensor) -> Tensor:
    masks = masks.to(maps.device) != 0
    if masks.shape != maps.shape:
        raise ValueError(f"masks of shape {tuple(masks.shape)} for maps {tuple(maps.shape)}")
    empty = (~masks.any(dim=2).any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(f"masks {empty[:5]} mark no defect, leave these images out")
    return masks


def _mask_score(values: Tensor, masks: Tensor) -> MaskScore:
    return MaskScore(values, values.mean().item(), masks.float().mean().item())
