"""Measure whether a network's Grad-CAM maps mean something, and draw the curves behind it.

Every number is shown with the one that maps without any knowledge would reach.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from scipy import stats
from torch import Tensor

from helpers.core import seeding
from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.explain import map_measures
from helpers.explain.map_measures import area, randomised_copy, rank_correlation
from helpers.explain.selection import half_of_each
from helpers.explain.subject import Subject
from helpers.training.inference import autocast, judging_precision

STEPS = 10  # of a curve; the time grows with it
RANDOM_WEIGHTS = 3  # draws of random weights: one alone may happen to agree or disagree
BETTER = {"insertion": 1, "deletion": -1}  # a large or a small area
CORRELATION = "rank correlation, random weights"  # a measure of `MapQuality.table`
RANDOM_COLOUR = "0.35"
TABLE = {  # templates of `tables.shown`
    "Measure": "{measure}",
    "Parts": "{images} called {called}",
    "Maps": "{maps:.3f}",
    "Chance": "{chance:.3f}",
    "Gain over chance": "{gain:.3f} [{low:.3f}, {high:.3f}]",
}


@dataclass(frozen=True)
class MapQuality:
    """All measures of one subject's maps.

    `table` has one row per measure and class: `measure, called, images`, the means `maps` and
    `chance`, and the `gain` with its 95 % interval `low`, `high`. A gain above 0 is better than
    chance. The rank correlation has none: near 0 is good.
    """

    sample: pd.DataFrame  # the parts
    curves: dict[int, tuple[dict[str, Tensor], ...]]  # by class: the maps', the random maps'
    table: pd.DataFrame


def measure(subject: Subject, n_images: int, seed: int = 0) -> MapQuality:
    """Measure the maps of `n_images` parts, drawn with `seed`, half of them called bad.

    Insertion and deletion are compared with random maps, and the maps with those of random weights.
    """
    order = seeding.numpy_stream(seed, "parts behind the maps").permutation(len(subject.parts))
    sample = half_of_each(subject.parts.iloc[order], "called", n_images).reset_index(drop=True)
    classes = torch.tensor(sample.called.to_numpy())
    trained = subject.maps(sample.id, classes)
    others = [
        replace(subject, model=randomised_copy(subject.model, seed + draw))
        for draw in range(RANDOM_WEIGHTS)
    ]
    draws = [rank_correlation(trained, other.maps(sample.id, classes)) for other in others]
    rho = torch.stack(draws).nanmean(dim=0)  # NaN for a pair with an empty map
    curves, rows = {}, list[dict]()
    for label, word in LABEL_NAMES.items():
        chosen = classes == label
        if chosen.sum() >= 2:  # one part has no standard error
            curves[label] = _curves(subject, sample.id[chosen.numpy()], label, seed)
            for kind, sign in BETTER.items():
                reached, chance = (area(both[kind]) for both in curves[label])  # (B,)
                gain = (sign * (reached - chance)).numpy()
                half = stats.t.ppf(0.975, len(gain) - 1) * stats.sem(gain)
                row = {"measure": f"{kind} area", "called": word, "images": len(gain)}
                row |= {"maps": reached.mean().item(), "chance": chance.mean().item()}
                row |= {"gain": gain.mean(), "low": gain.mean() - half, "high": gain.mean() + half}
                rows.append(row)
        if chosen.any():
            known = rho[chosen & ~rho.isnan()]
            row = {"measure": CORRELATION, "called": word, "images": len(known)}
            rows.append(row | {"maps": known.mean().item(), "chance": 0.0})
    return MapQuality(sample, curves, pd.DataFrame(rows))


def _curves(
    subject: Subject, ids: pd.Series, label: int, seed: int
) -> tuple[dict[str, Tensor], ...]:
    """Return the curves of the network's own maps and of random ones."""
    images, model = subject.images(ids), subject.model
    maps = subject.maps(ids, label).to(images.device)
    with autocast(images.device, judging_precision(model, images.device)):
        hidden = map_measures.blurred(images)
        return tuple(
            map_measures.insertion_deletion(model, images, hidden, heat, label, STEPS, seed)
            for heat in (maps, map_measures.random_maps(maps, seed))
        )


def curves_figure(quality: MapQuality, title: str = "") -> Figure:
    """Draw insertion and deletion curves (Petsiuk et al. 2018), mean and 95 % band, of the parts
    called good and of those called bad, with those of random maps."""
    n = len(quality.curves)
    figure, axes = plt.subplots(n, 2, figsize=(9.5, 3.6 * n + 0.6), squeeze=False, sharey=True)
    shares = np.linspace(0, 1, STEPS + 1)
    for row, (label, both) in zip(axes, quality.curves.items(), strict=True):
        word = LABEL_NAMES[label]
        looks = (("Grad-CAM", PALETTE[word], "o-"), ("random maps", RANDOM_COLOUR, "s--"))
        for ax, (kind, verb, wish) in zip(
            row, (("insertion", "put in", "high"), ("deletion", "taken out", "low")), strict=True
        ):
            for areas, (name, colour, style) in zip(both, looks, strict=True):
                curves = areas[kind]  # (B, STEPS + 1)
                mean, half = curves.mean(dim=0), 1.96 * curves.std(dim=0) / len(curves) ** 0.5
                text = f"{name}, area {area(curves).mean():.3f}"
                ax.plot(shares, mean, style, color=colour, markersize=4, label=text)
                ax.fill_between(shares, mean - half, mean + half, color=colour, alpha=0.2, lw=0)
            ax.set_title(f"{kind}, {len(curves)} parts called {word} ({wish} is good)", fontsize=10)
            ax.set_xlabel(f"share of pixels {verb}", fontsize=10)
            ax.set_ylim(0, 1.02)
            ax.legend(fontsize=9)
    figure.supylabel("probability of the class called", fontsize=11)
    figure.suptitle(title, fontsize=12, wrap=True)
    return figure
