"""Compare Grad-CAM maps with random ones by deletion (Petsiuk et al. 2018, "RISE")."""

from __future__ import annotations

import math

import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.functional import gaussian_blur

from helpers.core import seeding
from helpers.core.style import LABEL_NAMES
from helpers.explain.maps import Subject
from helpers.models.backbones import at_once, evaluating
from helpers.training.inference import autocast, judging_precision

STEPS = 10  # of a curve; the time grows with it
BLUR_SHARE = 1 / 20  # blur radius (sigma) by image side: hides a crack, leaves the part's shading
TABLE = {  # templates of `style.shown`
    "Parts": "{images} called {called}",
    "Maps": "{maps:.3f}",
    "Random maps": "{chance:.3f}",
    "Gain over random maps": "{gain:.3f} [{low:.3f}, {high:.3f}]",
}


def measure(subject: Subject, n_images: int, seed: int = 0) -> pd.DataFrame:
    """Measure the maps of at most `n_images` parts, drawn with `seed`, half of them called bad.

    A row per class has the mean of `deletion_areas` of the maps and by `chance` (of random maps),
    and the `gain` over these with its 95 % interval; it is above 0 if the maps are better.
    """
    order = seeding.numpy_stream(seed, "parts behind the maps").permutation(len(subject.parts))
    sample = subject.parts.iloc[order].groupby("called").head(n_images // 2)
    rows = []
    for label, word in LABEL_NAMES.items():
        ids = sample.id[sample.called == label]
        if len(ids) < 2:  # one part has no standard error
            continue
        images, model = subject.images(ids), subject.model
        maps, hidden = subject.maps(ids, label).to(images.device), blurred(images)
        with autocast(images.device, judging_precision(model, images.device)):
            reached, chance = (
                deletion_areas(model, images, hidden, heat, label, seed=seed)
                for heat in (maps, random_maps(maps, seed))
            )
        gain = (chance - reached).numpy()
        low, high = stats.ttest_1samp(gain, 0).confidence_interval()
        row = {"called": word, "images": len(gain), "maps": reached.mean().item()}
        row |= {"chance": chance.mean().item(), "gain": gain.mean(), "low": low, "high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def deletion_areas(
    model: nn.Module,
    images: Tensor,
    hidden: Tensor,
    maps: Tensor,
    target_class: int,
    steps: int = STEPS,
    seed: int = 0,
) -> Tensor:
    """Return the area (B,) under each image's deletion curve.

    A curve holds the probability of the target class after equal shares of the pixels of `images`
    (B, C, H, W), the most important first by `maps` (B, H, W), were taken out: then they look as in
    `hidden`. Equally important pixels follow in an order drawn with `seed`.
    """
    rank = _importance_rank(maps, seed)[:, None]  # (B, 1, H, W), 0 is the most important pixel
    curve = []
    for share in torch.linspace(0, 1, steps + 1).tolist():
        changed = torch.where(rank < round(share * maps[0].numel()), hidden, images)
        with evaluating(model), torch.no_grad():
            y = torch.cat([model(some) for some in changed.split(at_once(changed.shape[2]))])
        curve.append(y.float().softmax(dim=1)[:, target_class].cpu())
    return torch.trapezoid(torch.stack(curve, dim=1), dx=1 / steps)


def blurred(images: Tensor) -> Tensor:
    """Blur images (B, C, H, W) with a Gaussian of `BLUR_SHARE`, cut at 2 sigma."""
    sigma_px = BLUR_SHARE * max(images.shape[2:])
    return gaussian_blur(images, 2 * math.ceil(2 * sigma_px) + 1, sigma_px)


def _importance_rank(maps: Tensor, seed: int) -> Tensor:
    """Return the rank of each pixel by importance (B, H, W); 0 is the most important."""
    flat = maps.flatten(1).cpu()
    shuffled = torch.randperm(flat.shape[1], generator=torch.Generator().manual_seed(seed))
    by_importance = flat[:, shuffled].argsort(dim=1, descending=True, stable=True)
    order = shuffled[by_importance]  # (B, HW): the pixel at each place
    return order.argsort(dim=1).reshape(maps.shape).to(maps.device)


def random_maps(maps: Tensor, seed: int) -> Tensor:
    """Return random maps (B, H, W), upsampled from 7 x 7 values: as coarse as those of a ResNet."""
    coarse = torch.rand(len(maps), 1, 7, 7, generator=torch.Generator().manual_seed(seed))
    fine = functional.interpolate(coarse, maps.shape[1:], mode="bilinear", align_corners=False)
    return fine[:, 0].to(maps)
