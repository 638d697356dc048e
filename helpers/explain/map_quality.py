"""Whether a model's Grad-CAM maps mean something, in numbers: `gradcam_checks` on the run's parts.

Every number stands beside what maps that know nothing would reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image
from scipy import stats

from helpers.core import seeding
from helpers.core.style import LABEL_NAMES
from helpers.explain.gradcam import feature_layer
from helpers.explain.measures import (
    AgainstRandom,
    MaskScore,
    compare_with_random,
    energy_in_mask,
    pointing_game,
    sanity_check,
)
from helpers.explain.shown import Shown, called
from helpers.training.inference import autocast, judging_precision

STEPS = 10  # of a curve; the time grows with it
RANDOM_WEIGHTS = 3  # draws of random weights: one alone may happen to agree or disagree
MOST_MASKS = 300  # parts with masks that are looked at
PARENTS = 3  # folders above an image that may hold its `masks` folder


@dataclass(frozen=True)
class OnMasks:
    """How the maps for "bad" lie on the defects of the parts `ids`, one value a part."""

    ids: pd.Series
    masks: torch.Tensor  # (N, H, W), true on the defect
    pointing: MaskScore
    energy: MaskScore


@dataclass(frozen=True)
class MapNumbers:
    """All numbers of one model's maps."""

    sample: pd.DataFrame  # the parts behind curves and correlation, with the class `called`
    curves: dict[int, AgainstRandom]  # by the class that the parts were called
    correlation: np.ndarray  # (len(sample),) with the maps of random weights, mean of the draws
    masks: OnMasks | None  # None where the source has no masks

    @property
    def table(self) -> pd.DataFrame:
        """One row a measure: `maps`, `chance` and the `gain` with its 95 % interval.

        A gain above 0 means better than chance; that of the rank correlation is missing, since it
        is good when it is low.
        """
        rows = []
        for label, found in self.curves.items():
            n = len(found.maps.insertion_area)
            word = f"called {LABEL_NAMES[label]}"
            for kind in ("insertion", "deletion"):
                own, other = (getattr(x, f"{kind}_area").mean() for x in (found.maps, found.random))
                gain, se = (getattr(found, f"{kind}_gain{end}") for end in ("", "_se"))
                rows.append(_row(f"{kind} area", word, n, float(own), float(other), gain, se))
        rho = self.correlation
        rows.append(_row("rank correlation, random weights", "all", len(rho), rho.mean(), 0.0))
        if self.masks:
            shares = self.masks.masks.float().mean((1, 2))
            for name, score in (
                ("pointing game", self.masks.pointing),
                ("energy in mask", self.masks.energy),
            ):
                gains = (score.values - shares).double().numpy()
                n, se = len(gains), gains.std(ddof=1) / math.sqrt(len(gains))
                rows.append(_row(name, "bad", n, score.mean, score.chance, gains.mean(), se))
        return pd.DataFrame(rows)

    @property
    def shown_table(self) -> pd.DataFrame:
        """`table` as text for a notebook."""
        better = {"deletion area": "low", "rank correlation, random weights": "near 0"}
        rows = []
        for row in self.table.itertuples():
            gain = "" if np.isnan(row.gain) else f"{row.gain:.3f} [{row.low:.3f}, {row.high:.3f}]"
            rows.append(
                {
                    "Measure": row.measure,
                    "Parts": f"{row.images} {row.parts}" if row.parts != "all" else row.images,
                    "Better": better.get(row.measure, "high"),
                    "Maps": f"{row.maps:.3f}",
                    "Chance": f"{row.chance:.3f}",
                    "Gain over chance": gain,
                }
            )
        return pd.DataFrame(rows)


def measure(shown: Shown, n_images: int = 48, seed: int = 0) -> MapNumbers:
    """Insertion and deletion against random maps, sanity check, and where there are masks, how the
    maps lie on the defects. `n_images` (4 or more) are drawn with `seed`."""
    if n_images < 4:
        raise ValueError(f"n_images is {n_images}, the curves need 4 or more")
    sample = draw_sample(shown.parts, shown.threshold, n_images, seed)
    device = next(shown.model.parameters()).device
    curves = {}
    for label in LABEL_NAMES:
        ids = sample.id[sample.called == label]
        if len(ids) < 2:
            continue  # no standard error of one part; the table has no row for this class
        maps = shown.maps(ids, label).to(device)
        with autocast(device, judging_precision(shown.model, device)):
            curves[label] = compare_with_random(
                shown.model, shown.images(ids), maps, label, STEPS, seed=seed
            )
    images, classes = shown.images(sample.id), torch.tensor(sample.called.to_numpy())
    layer = feature_layer(shown.model)
    draws = [
        sanity_check(shown.model, images, classes.to(device), layer, seed + i)
        for i in range(RANDOM_WEIGHTS)
    ]
    return MapNumbers(
        sample, curves, torch.stack(draws).mean(dim=0).numpy(), _on_masks(shown, seed)
    )


def draw_sample(parts: pd.DataFrame, threshold: float, n: int, seed: int) -> pd.DataFrame:
    """`n` random parts, half called good and half called bad as far as there are as many."""
    parts = parts.assign(called=called(parts, threshold))
    order = seeding.numpy_stream(seed, "parts behind the maps").permutation(len(parts))
    shuffled = parts.iloc[order]
    place = shuffled.groupby("called").cumcount().sort_values(kind="stable")
    return shuffled.loc[place.index[:n]].sort_values("called", kind="stable", ignore_index=True)


def find_mask(image: Path) -> Path | None:
    """The PNG that marks an image's defect: `masks/<its folders>/<its name>.png` beside one of the
    folders that it lies in, as `helpers.datasets.chips` writes it; None where there is none."""
    for parent in list(image.parents)[:PARENTS]:
        folders = image.relative_to(parent).parts[:-1]
        for depth in range(len(folders) + 1):
            mask = parent.joinpath("masks", *folders[:depth], f"{image.stem}.png")
            if mask.is_file():
                return mask
    return None


def read_mask(path: Path, size_px: int) -> np.ndarray:
    """A mask at the model's size (H, W), true where any of a pixel's area is marked, so that a
    hairline survives."""
    with Image.open(path) as image:
        marked = Image.fromarray((np.asarray(image.convert("L")) > 0).astype(np.uint8) * 255)
    return np.asarray(marked.resize((size_px, size_px), Image.Resampling.BOX)) > 0


def caption(shown: Shown, numbers: MapNumbers) -> str:
    """What must be known to read the table."""
    text = (
        f"{shown.caption} Gain: 95 % interval over the parts; areas from {STEPS} steps on a "
        "blurred image, against random maps of 7 x 7 cells; random weights drawn "
        f"{RANDOM_WEIGHTS} times."
    )
    return text if numbers.masks else f"{text} The source has no masks of the defects."


def _on_masks(shown: Shown, seed: int) -> OnMasks | None:
    bad = shown.parts[shown.parts.label == 1]
    files = bad.path.map(lambda path: find_mask(Path(path)))
    bad, files = bad[files.notna()], files[files.notna()]
    order = seeding.numpy_stream(seed, "parts with masks").permutation(len(bad))[:MOST_MASKS]
    bad, files = bad.iloc[order], files.iloc[order]
    masks = [read_mask(file, shown.cache.size_px) for file in files]
    marked = np.array([mask.any() for mask in masks], dtype=bool)
    if marked.sum() < 2:
        return None
    stacked = torch.from_numpy(np.stack(masks)[marked])
    ids = bad.id[marked].reset_index(drop=True)
    maps = shown.maps(ids, 1)
    return OnMasks(ids, stacked, pointing_game(maps, stacked), energy_in_mask(maps, stacked))


def _row(
    measure: str,
    parts: str,
    images: int,
    maps: float,
    chance: float,
    gain: float = math.nan,
    se: float = math.nan,
) -> dict[str, str | int | float]:
    half = stats.t.ppf(0.975, images - 1) * se
    numbers = {"maps": maps, "chance": chance, "gain": gain, "low": gain - half}
    return {"measure": measure, "parts": parts, "images": images, **numbers, "high": gain + half}
