"""Draw README's pictures from a run: a strip of four panels, and a thumbnail of each notebook."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from sklearn.metrics import roc_curve

from helpers.core.files import atomic_path
from helpers.core.metrics import roc_auc
from helpers.core.paths import RunPaths
from helpers.core.style import draw_image, percent, use_style
from helpers.darts import draw, genotypes
from helpers.explain.maps import draw_overlay
from helpers.explain.selection import surest_of_each_class
from helpers.explain.subject import attribution, open_subject
from helpers.models.names import base_name, display_name, model_colours
from helpers.results.curves import CLASSICAL, DASHES
from helpers.runs.run_models import read_all_predictions

# a figure of each notebook, and its part that can be read when small: left, top, right, bottom
THUMBNAILS = {
    "01": ("01_samples", (0, 0.14, 0.39, 0.92)),
    "02": ("02_auc", (0, 0.07, 1, 0.85)),
    "03": ("03_learning_curves", (0.582, 0.09, 0.868, 0.87)),
    "04": ("04_cells", (0, 0.1, 0.55, 0.9)),
    "05": ("05_auc_cost", (0, 0.066, 0.685, 0.51)),
    "06": ("06_gallery", (0.33, 0.084, 0.745, 0.36)),
    "07": ("07_journey", (0.34, 0.05, 1, 0.825)),
}
THUMBNAIL_PX = (240, 160)


def write_pictures(run_paths: RunPaths, folder: Path) -> list[Path]:
    """Write strip.png and NN.png of each notebook into `folder`, and return their paths."""
    use_style()
    figure = strip(run_paths)
    with atomic_path(folder / "strip.png") as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight")
    plt.close(figure)
    for number, (name, part) in THUMBNAILS.items():
        with Image.open(run_paths.figure(name)) as picture:
            cut = picture.convert("RGB").crop(tuple(np.multiply(part, picture.size * 2)))
        small = ImageOps.pad(cut, THUMBNAIL_PX, Image.Resampling.LANCZOS, "white")
        with atomic_path(folder / f"{number}.png") as temporary:
            small.save(temporary, format="png", optimize=True)
    return [folder / f"{name}.png" for name in ("strip", *THUMBNAILS)]


def strip(run_paths: RunPaths) -> Figure:
    """Return a figure of a bad part, its Grad-CAM map, the searched cell, and the ROC curves.

    Raises:
        ExplainError: the run has no network, or no bad part.
        ArtifactError: the run has no searched cell.
    """
    subject = open_subject(run_paths)
    cell, _ = genotypes.load(run_paths.genotype("searched"))
    figure, axes = plt.subplots(
        1, 4, figsize=(15, 3.6), width_ratios=[1, 1, 2.1, 1.2], layout="constrained"
    )
    part = surest_of_each_class(subject).iloc[[1]]
    pixels, heat = subject.pixels(part.id)[0], subject.maps(part.id, 1)[0]
    draw_image(axes[0], pixels, "a bad part")
    draw_overlay(axes[1], pixels, heat, "what the network looks at\n(line: half of the maximum)")
    draw.draw_cell(cell, "normal", axes[2], "the cell that the search found")
    axes[2].title.set_fontsize(9)
    ax, scored = axes[3], read_all_predictions(run_paths)
    kinds = (  # the best of each by validation AUC is drawn
        [name for name in scored if base_name(name) in CLASSICAL],
        [name for name in scored if base_name(name) == "fbp"],
        [name for name in scored if name == "darts_searched"],  # the cell drawn
    )
    colours, aucs = model_colours(scored), list[float]()
    for names, dashes in zip(kinds, DASHES, strict=False):
        if not names:
            continue
        best = max(names, key=lambda name: roc_auc(*scored[name].labels_scores("val")))
        labels, scores = scored[best].labels_scores()
        false_alarms, found, _ = roc_curve(labels, scores)
        aucs.append(roc_auc(labels, scores))
        text = f"{display_name(best)}: {percent(aucs[-1])}"
        ax.plot(false_alarms, found, ls=dashes, color=colours[best], label=text)
    first = next(iter(scored.values()))
    side = "validation" if first.judged_on == "val" else "test"
    ax.set(xlabel="good parts called bad", ylabel="bad parts found")
    if min(aucs, default=0.0) > 0.75:  # only where the curves differ
        ax.set(xlim=(-0.01, 0.6), ylim=(0.4, 1.005))
    ax.set_title(f"ROC curves on {side}, and their AUC", fontsize=9)
    ax.legend(loc="lower right", fontsize=8)
    credit = attribution(run_paths)
    figure.text(0, -0.01, f"run {run_paths.name}; {credit}", va="top", fontsize=8, color="0.35")
    return figure
