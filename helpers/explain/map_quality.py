"""Measure whether a model's Grad-CAM maps mean something, and draw the figures of these numbers.

Every number is shown with the one that maps without any knowledge would reach.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image
from scipy import stats
from torch import Tensor

from helpers.core import seeding
from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.explain.map_measures import (
    area,
    energy_in_mask,
    insertion_deletion,
    pointing_game,
    random_maps,
    randomised_copy,
    rank_correlation,
)
from helpers.explain.maps import draw_image, draw_overlay, grid, part_title
from helpers.explain.selection import draw_sample, half_of_each
from helpers.explain.subject import Subject
from helpers.training.inference import autocast, judging_precision

STEPS = 10  # of a curve; the time grows with it
RANDOM_WEIGHTS = 3  # draws of random weights: one alone may happen to agree or disagree
MOST_MASKS = 300  # parts with masks that are looked at
PARENTS = 3  # folders above an image that may hold its `masks` folder
KINDS = ("insertion", "deletion")
CORRELATION = "rank correlation, random weights"  # the measure's name in the table
BETTER = {"deletion area": "low", CORRELATION: "near 0"}  # all others: high
RANDOM_COLOUR = "0.35"
DEFECT_COLOUR = "#ffb000"  # dashed, so that it differs from the map's line in gray too


@dataclass(frozen=True)
class OnMasks:
    """Scores of the maps for "bad" on the defects of the parts `ids`."""

    ids: pd.Series
    masks: Tensor  # (N, H, W), true on the defect
    scores: dict[str, Tensor]  # "pointing game" and "energy in mask" (N,)


@dataclass(frozen=True)
class MapQuality:
    """All measures of one subject's maps."""

    subject: Subject
    seed: int
    sample: pd.DataFrame  # the parts behind curves and correlation
    curves: dict[int, tuple[dict[str, Tensor], dict[str, Tensor]]]  # maps', random maps'; by class
    correlation: np.ndarray  # (len(sample),) with the maps of random weights, mean of the draws
    masks: OnMasks | None  # None if the source has no masks

    @property
    def table(self) -> pd.DataFrame:
        """One row per measure: `maps`, `chance` and the `gain` with its 95 % interval.

        A gain above 0 is better than chance. The rank correlation has none: low is good.
        """
        rows: list[tuple] = []
        for label, both in self.curves.items():
            for kind in KINDS:
                own, random = (area(curves[kind]) for curves in both)  # (B,)
                gain = own - random if kind == "insertion" else random - own
                n, means = len(gain), (own.mean().item(), random.mean().item())
                gains = (gain.mean().item(), gain.std().item() / math.sqrt(n))
                rows.append((f"{kind} area", f"called {LABEL_NAMES[label]}", n, *means, *gains))
        rho = self.correlation
        rows.append((CORRELATION, "all", len(rho), rho.mean(), 0.0, math.nan, math.nan))
        if self.masks:
            chance = self.masks.masks.float()
            for name, scores in self.masks.scores.items():
                beyond = (scores - chance.mean((1, 2))).double().numpy()
                n, means = len(beyond), (scores.mean().item(), chance.mean().item())
                gains = (beyond.mean(), beyond.std(ddof=1) / math.sqrt(n))
                rows.append((name, "bad", n, *means, *gains))
        columns = ["measure", "parts", "images", "maps", "chance", "gain", "error"]
        table = pd.DataFrame(rows, columns=columns)
        half = stats.t.ppf(0.975, table.images - 1) * table.pop("error")
        return table.assign(low=table.gain - half, high=table.gain + half)

    @property
    def text_table(self) -> pd.DataFrame:
        """`table` as text for a notebook."""
        rows = []
        for row in self.table.itertuples():
            gain = "" if np.isnan(row.gain) else f"{row.gain:.3f} [{row.low:.3f}, {row.high:.3f}]"
            parts = row.images if row.parts == "all" else f"{row.images} {row.parts}"
            better = BETTER.get(row.measure, "high")
            rows.append((row.measure, parts, better, f"{row.maps:.3f}", f"{row.chance:.3f}", gain))
        columns = ["Measure", "Parts", "Better", "Maps", "Chance", "Gain over chance"]
        return pd.DataFrame(rows, columns=columns)

    @property
    def caption(self) -> str:
        """What must be known to read the table."""
        text = (
            f"{self.subject.caption} Gain: 95 % interval over the parts; areas from {STEPS} steps "
            "on a blurred image, against random maps of 7 x 7 cells; random weights drawn "
            f"{RANDOM_WEIGHTS} times."
        )
        return text if self.masks else f"{text} The source has no masks of the defects."


def measure(subject: Subject, n_images: int = 48, seed: int = 0) -> MapQuality:
    """Measure the maps of a subject, for example `measure(open_subject(run_paths)).text_table`.

    `n_images` parts (4 or more), drawn with `seed`, give insertion and deletion against random
    maps, and the rank correlation with maps of random weights. If the source has masks of the
    defects, up to 300 bad parts tell how the maps for "bad" match them.
    """
    if n_images < 4:
        raise ValueError(f"n_images is {n_images}, the curves need 4 or more")
    sample = draw_sample(subject.parts, n_images, seed)
    device = next(subject.model.parameters()).device
    curves = {}
    for label in LABEL_NAMES:
        ids = sample.id[sample.called == label]
        if len(ids) < 2:
            continue  # one part has no standard error; the table has no row for this class
        images, own = subject.images(ids), subject.maps(ids, label).to(device)
        with autocast(device, judging_precision(subject.model, device)):
            curves[label] = (
                insertion_deletion(subject.model, images, own, label, STEPS, seed),
                insertion_deletion(
                    subject.model, images, random_maps(own, seed), label, STEPS, seed
                ),
            )
    classes = torch.tensor(sample.called.to_numpy())
    trained = subject.maps(sample.id, classes)
    draws = [
        rank_correlation(trained, _with_random_weights(subject, seed + i).maps(sample.id, classes))
        for i in range(RANDOM_WEIGHTS)
    ]
    correlation = torch.stack(draws).mean(dim=0).numpy()
    return MapQuality(subject, seed, sample, curves, correlation, _on_masks(subject, seed))


def find_mask(image: Path) -> Path | None:
    """Return the PNG that marks an image's defect, or None.

    It is `masks/<folders of the image>/<name of the image>.png` beside one of these folders, as
    `helpers.datasets.chips` writes it.
    """
    for parent in list(image.parents)[:PARENTS]:
        folders = image.relative_to(parent).parts[:-1]
        for depth in range(len(folders) + 1):
            mask = parent.joinpath("masks", *folders[:depth], f"{image.stem}.png")
            if mask.is_file():
                return mask
    return None


def read_mask(path: Path, size_px: int) -> np.ndarray:
    """Return a mask at the model's size (H, W): true if any of a pixel's area is marked, so that a
    hairline survives."""
    with Image.open(path) as image:
        marked = Image.fromarray((np.asarray(image.convert("L")) > 0).astype(np.uint8) * 255)
    return np.asarray(marked.resize((size_px, size_px), Image.Resampling.BOX)) > 0


def curves_figure(quality: MapQuality) -> Figure:
    """Draw insertion and deletion curves (Petsiuk et al. 2018), mean and 95 % band, of the parts
    called good and of those called bad, with those of random maps."""
    panels = [(label, kind) for label in quality.curves for kind in KINDS]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(3.1 * len(panels) + 1.6, 3.8), squeeze=False, sharey=True
    )
    shares = np.linspace(0, 1, STEPS + 1)
    for ax, (label, kind) in zip(axes[0], panels, strict=True):
        word, areas = LABEL_NAMES[label], []
        looks = ((PALETTE[word], "o-"), (RANDOM_COLOUR, "s--"))
        for both, (colour, style) in zip(quality.curves[label], looks, strict=True):
            curves = both[kind]  # (B, STEPS + 1)
            mean, half = curves.mean(dim=0), 1.96 * curves.std(dim=0) / len(curves) ** 0.5
            ax.plot(shares, mean, style, color=colour, markersize=4)
            ax.fill_between(shares, mean - half, mean + half, color=colour, alpha=0.2, linewidth=0)
            areas.append(area(curves).mean())
        verb, wish = ("put in", "high") if kind == "insertion" else ("taken out", "low")
        ax.set_title(f"{kind}, {len(curves)} parts called {word}", fontsize=10)
        text = f"area {areas[0]:.3f}, random {areas[1]:.3f}\n({wish} is good)"
        ax.set_xlabel(f"share of pixels {verb}\n{text}", fontsize=10)
        ax.set_ylim(0, 1.02)
    axes[0, 0].set_ylabel("probability of the class called")
    lines = [
        Line2D([], [], color="black", marker="o", label="Grad-CAM"),
        Line2D([], [], color=RANDOM_COLOUR, marker="s", linestyle="--", label="random maps"),
    ]
    axes[0, -1].legend(handles=lines, fontsize=9, loc="upper left", bbox_to_anchor=(1.02, 1))
    return figure


def random_weights_figure(quality: MapQuality, columns: int = 6) -> Figure:
    """Draw maps of the trained network above those of the same network with random weights (Adebayo
    et al. 2018), with their rank correlation: maps that stay the same show the image alone."""
    subject, parts = quality.subject, half_of_each(quality.sample, "called", columns)
    classes = torch.tensor(parts.called.to_numpy())
    trained, pixels = subject.maps(parts.id, classes), subject.pixels(parts.id)
    random = _with_random_weights(subject, quality.seed).maps(parts.id, classes)
    correlation = rank_correlation(trained, random)
    mean, n = quality.correlation.mean(), len(quality.sample)
    title = f"{subject.title}: rank correlation with random weights, mean of {n} parts {mean:.2f}"
    figure, axes = grid(2, columns, (2 * columns + 0.7, 5.3), title)
    for i, part in enumerate(parts.itertuples()):
        above = f'{part_title(part)}\nmap for "{LABEL_NAMES[part.called]}", trained'
        draw_overlay(axes[0, i], pixels[i], trained[i], above)
        below = f"random weights\nrank correlation {correlation[i]:.2f}"
        draw_overlay(axes[1, i], pixels[i], random[i], below)
    return figure


def masks_figure(quality: MapQuality, columns: int = 6) -> Figure:
    """Draw maps for "bad" on bad parts with the outline of the defect, from the part with the most
    energy in the mask to the one with the least, in equal steps of rank.

    Raises:
        ValueError: the source has no masks.
    """
    subject, found = quality.subject, quality.masks
    if found is None:
        raise ValueError("the source has no masks of the defects, there is nothing to show")
    energy, n = found.scores["energy in mask"], len(found.ids)
    order = energy.argsort(descending=True).numpy()
    chosen = order[np.linspace(0, n - 1, min(columns, n)).round().astype(int)]
    ids = found.ids.iloc[chosen]
    parts = subject.parts.set_index("id", drop=False).loc[ids]
    maps, pixels, masks = subject.maps(ids, 1), subject.pixels(ids), found.masks[chosen].numpy()
    what = f'maps for "bad" of {n} parts, from the most to the least on the defect (dashed)'
    figure, axes = grid(2, columns, (2 * columns + 0.7, 5.2), f"{subject.title}: {what}")
    for i, part in enumerate(parts.itertuples()):
        kind = "energy in mask" if maps[i].max() > 0 else "empty map, counts as"
        below = f"{kind} {energy[chosen[i]]:.3f}\nmask covers {masks[i].mean():.3f}"
        draw_image(axes[0, i], pixels[i], part_title(part))
        draw_overlay(axes[1, i], pixels[i], maps[i], below)
        for ax in axes[:, i]:
            ax.contour(masks[i], [0.5], colors=DEFECT_COLOUR, linewidths=1.4, linestyles="dashed")
    return figure


def _with_random_weights(subject: Subject, seed: int) -> Subject:
    return replace(subject, model=randomised_copy(subject.model, seed))


def _on_masks(subject: Subject, seed: int) -> OnMasks | None:
    bad = subject.parts[subject.parts.label == 1]
    bad = bad.assign(file=[find_mask(Path(path)) for path in bad.path])
    bad = bad[bad.file.notna()]
    bad = bad.iloc[seeding.numpy_stream(seed, "parts with masks").permutation(len(bad))]
    bad = bad[:MOST_MASKS]
    masks = [read_mask(file, subject.cache.size_px) for file in bad.file]
    marked = np.array([mask.any() for mask in masks], dtype=bool)
    if marked.sum() < 2:
        return None
    ids, stacked = bad.id[marked].reset_index(drop=True), torch.from_numpy(np.stack(masks)[marked])
    maps = subject.maps(ids, 1)
    scores = {
        "pointing game": pointing_game(maps, stacked),
        "energy in mask": energy_in_mask(maps, stacked),
    }
    return OnMasks(ids, stacked, scores)
