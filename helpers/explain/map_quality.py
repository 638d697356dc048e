"""Measure whether a model's Grad-CAM maps mean something, and draw insertion and deletion curves.

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
from PIL import Image, ImageOps
from scipy import stats
from torch import Tensor

from helpers.core import seeding
from helpers.core.style import LABEL_NAMES, PALETTE
from helpers.datasets.decoding import Fit
from helpers.explain import map_measures
from helpers.explain.map_measures import area, randomised_copy, rank_correlation
from helpers.explain.selection import half_of_each
from helpers.explain.subject import Subject
from helpers.training.inference import autocast, judging_precision

STEPS = 10  # of a curve; the time grows with it
RANDOM_WEIGHTS = 3  # draws of random weights: one alone may happen to agree or disagree
MOST_MASKS = 300  # parts with masks that are looked at
KINDS = ("insertion", "deletion")
CORRELATION = "rank correlation, random weights"  # a measure of `MapQuality.table`
RANDOM_COLOUR = "0.35"


@dataclass(frozen=True)
class MapQuality:
    """All measures of one subject's maps.

    `table` has one row per measure: `maps`, `chance`, and the `gain` with its 95 % interval. A gain
    above 0 is better than chance. The rank correlation has none: low is good.
    """

    subject: Subject
    sample: pd.DataFrame  # the parts behind curves and correlation
    curves: dict[int, tuple[dict[str, Tensor], ...]]  # by class: the maps', the random maps'
    masked: pd.DataFrame  # bad parts with a mask
    masks: list[np.ndarray]  # theirs, (H, W) true on the defect; empty if the source has none
    table: pd.DataFrame
    text_table: pd.DataFrame  # `table` as text for a notebook
    caption: str  # what must be known to read the table


def measure(subject: Subject, n_images: int, seed: int = 0) -> MapQuality:
    """Measure the maps of a subject, for example `measure(open_subject(run_paths)).text_table`.

    `n_images` parts, drawn with `seed`, half of them called bad if there are enough, give insertion
    and deletion against random maps, and the rank correlation with maps of random weights. If the
    source has masks of the defects, up to 300 bad parts tell how the maps for "bad" match them.
    """
    order = seeding.numpy_stream(seed, "parts behind the maps").permutation(len(subject.parts))
    sample = half_of_each(subject.parts.iloc[order], "called", n_images).reset_index(drop=True)
    device = next(subject.model.parameters()).device
    rows: list[tuple] = []
    curves = {}
    for label, word in LABEL_NAMES.items():
        ids = sample.id[sample.called == label]
        if len(ids) < 2:
            continue  # one part has no standard error; the table has no row for this class
        images, own = subject.images(ids), subject.maps(ids, label).to(device)
        with autocast(device, judging_precision(subject.model, device)):
            hidden = map_measures.blurred(images)
            curves[label] = tuple(
                map_measures.insertion_deletion(
                    subject.model, images, hidden, maps, label, STEPS, seed
                )
                for maps in (own, map_measures.random_maps(own, seed))
            )
        for kind in KINDS:
            reached, chance = (area(both[kind]) for both in curves[label])  # (B,)
            gain = reached - chance if kind == "insertion" else chance - reached
            rows.append(_row(f"{kind} area", f"called {word}", reached, chance, gain))

    classes = torch.tensor(sample.called.to_numpy())
    trained = subject.maps(sample.id, classes)
    draws = []
    for i in range(RANDOM_WEIGHTS):
        random = replace(subject, model=randomised_copy(subject.model, seed + i))
        draws.append(rank_correlation(trained, random.maps(sample.id, classes)))
    rho = torch.stack(draws).nanmean(dim=0).numpy()  # mean of the draws
    for label, word in LABEL_NAMES.items():
        if (own := (sample.called == label).to_numpy()).any():
            known = rho[own & ~np.isnan(rho)]  # a pair with an empty map has no ranks
            mean = known.mean() if len(known) else math.nan
            row = (CORRELATION, f"called {word}", len(known), mean, 0.0, math.nan, math.nan)
            rows.append(row)

    bad = subject.parts[subject.parts.label == 1]
    bad = bad.assign(file=[find_mask(Path(path)) for path in bad.path])
    bad = bad[bad.file.notna()]
    bad = bad.iloc[seeding.numpy_stream(seed, "parts with masks").permutation(len(bad))]
    read = [
        read_mask(file, subject.cache.size_px, subject.cache.fit) for file in bad.file[:MOST_MASKS]
    ]
    marked = [i for i, mask in enumerate(read) if mask.any()]
    masked, masks = bad.iloc[marked], [read[i] for i in marked]
    if len(masks) < 2:
        masks = []
    else:
        stacked = torch.from_numpy(np.stack(masks))
        scores = map_measures.pointing_game(subject.maps(masked.id, 1), stacked)
        covered = stacked.float().mean((1, 2))
        rows.append(_row("pointing game", "bad", scores, covered, scores - covered))

    columns = ["measure", "parts", "images", "maps", "chance", "gain", "error"]
    table = pd.DataFrame(rows, columns=columns)
    half = stats.t.ppf(0.975, table.images - 1) * table.pop("error")
    table = table.assign(low=table.gain - half, high=table.gain + half)
    caption = (
        f"{subject.caption} Gain: 95 % interval over the parts; areas from {STEPS} steps on a "
        "blurred image, against random maps of 7 x 7 cells; random weights drawn "
        f"{RANDOM_WEIGHTS} times."
    )
    if not masks:
        caption += " The source has no masks of the defects."
    return MapQuality(subject, sample, curves, masked, masks, table, _as_text(table), caption)


def _row(measure: str, parts: str, reached: Tensor, chance: Tensor, gain: Tensor) -> tuple:
    means = (values.mean().item() for values in (reached, chance, gain))
    return (measure, parts, len(gain), *means, gain.std().item() / math.sqrt(len(gain)))


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    better = {"deletion area": "low", CORRELATION: "near 0"}
    text = table.map(lambda value: f"{value:.3f}" if isinstance(value, float) else str(value))
    text = text.replace("nan", "-")
    gain = text.gain + " [" + text.low + ", " + text.high + "]"
    return pd.DataFrame(
        {
            "Measure": table.measure,
            "Parts": text.images + " " + text.parts,
            "Better": table.measure.map(better).fillna("high"),
            "Maps": text.maps,
            "Chance": text.chance,
            "Gain over chance": gain.where(table.gain.notna(), ""),
        }
    )


def find_mask(image: Path) -> Path | None:
    """Return the PNG that marks an image's defect, or None: `masks/<folders>/<name>.png` beside one
    of the image's folders, as `helpers.datasets.chips` writes it."""
    for parent in list(image.parents)[:3]:
        folders = image.relative_to(parent).parts[:-1]
        for depth in range(len(folders) + 1):
            mask = parent.joinpath("masks", *folders[:depth], f"{image.stem}.png")
            if mask.is_file():
                return mask
    return None


def read_mask(path: Path, size_px: int, fit: Fit) -> np.ndarray:
    """Return a mask at the model's size (H, W): true if any of a pixel's area is marked, so that a
    hairline survives. It becomes a square as the images do; a border is not marked."""
    with Image.open(path) as image:
        marked = Image.fromarray((np.asarray(image.convert("L")) > 0).astype(np.uint8) * 255)
    if fit == "pad":
        longest = max(marked.size)
        marked = ImageOps.pad(marked, (longest, longest))
    return np.asarray(marked.resize((size_px, size_px), Image.Resampling.BOX)) > 0


def curves_figure(quality: MapQuality, title: str = "") -> Figure:
    """Draw insertion and deletion curves (Petsiuk et al. 2018), mean and 95 % band, of the parts
    called good and of those called bad, with those of random maps."""
    panels = [(label, kind) for label in quality.curves for kind in KINDS]
    n = len(quality.curves)
    figure, axes = plt.subplots(n, 2, figsize=(9.5, 3.6 * n + 0.6), squeeze=False, sharey=True)
    shares = np.linspace(0, 1, STEPS + 1)
    for ax, (label, kind) in zip(axes.flat, panels, strict=True):
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
    figure.supylabel("probability of the class called", fontsize=11)
    figure.suptitle(title, fontsize=12, wrap=True)
    ours = Line2D([], [], color="black", marker="o", label="Grad-CAM")
    random = Line2D([], [], color=RANDOM_COLOUR, marker="s", linestyle="--", label="random maps")
    figure.legend(
        handles=[ours, random],
        loc="outside lower center",
        borderaxespad=2,
        ncols=2,
        fontsize=9,
        frameon=False,
    )
    return figure
