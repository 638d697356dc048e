"""A threshold to move: what passes, what escapes, and which parts change sides."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML

from helpers.core import slider
from helpers.core.style import LABEL_NAMES, PALETTE, draw_images
from helpers.datasets.cache import ImageCache
from helpers.results import decision, operating_point
from helpers.results.predictions import Scored
from helpers.results.settings import DecisionSettings

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES = 20
SHOWN = 4  # bad and good parts that change sides, in a frame


def threshold_slider(
    scored: Scored, cache: ImageCache, settings: DecisionSettings, bad_rate: float
) -> HTML:
    """Return a slider over thresholds; the promised one is shown first, and marked in each frame.

    From frame to frame more bad parts escape. There is no bin between pass and reject.
    """
    labels, scores = scored.labels_scores()
    promised = decision.decisions(scored, settings, bad_rate)["expected"].bins.pass_below
    of_bad = np.sort(scores[labels == 1])
    escaped = np.geomspace(1, len(of_bad), FRAMES).round().astype(int) - 1
    thresholds = np.unique([*of_bad[escaped], promised])
    images, frames, before = cache.rows(pd.Series(scored.ids())), [], 0.0
    for threshold in thresholds:
        words = "The promised threshold. " if threshold == promised else ""
        words += sentence(scored, threshold, settings, bad_rate)
        moved = (scores >= before) & (scores < threshold)
        figure = plt.figure(figsize=(10, 4.6))
        above, below = figure.subfigures(2, 1, height_ratios=(1.5, 1))
        draw_scores(above.subplots(), labels, scores, threshold, promised)
        for side, label in zip(below.subfigures(1, 2), (1, 0), strict=True):
            of_class = images[moved & (labels == label)]
            more = " more" if before else ""  # there is no step to the left of the first
            title = f"{len(of_class)}{more} {LABEL_NAMES[label]} parts pass"
            side.suptitle(title + (" than one step to the left" if before else ""), fontsize=12)
            pixels = cache.take(of_class[:SHOWN])
            draw_images(side.subplots(1, SHOWN), pixels, [""] * len(pixels))
        frames.append(f"<p>{html.escape(words)}</p>{slider.picture(figure, words)}")
        before = threshold
    return slider.slider(frames, int(np.searchsorted(thresholds, promised)), "threshold")


def sentence(scored: Scored, threshold: float, settings: DecisionSettings, bad_rate: float) -> str:
    """Say what passes below a threshold and what escapes, on the line too, and what that costs."""
    point = operating_point.escape_and_overkill(*scored.labels_scores(), threshold)
    escapes, overkill = point.escape_rate.estimate, point.overkill_rate.estimate
    asked = settings.max_escape_rate
    ppm = operating_point.outgoing_ppm(escapes, overkill, bad_rate)
    text = f"Pass below {threshold:.3g}: {point.n_escaped} of {point.n_bad} bad parts escape "
    text += f"({100 * asked:g} % asked: {'kept' if escapes <= asked else 'missed'} here), "
    text += f"{point.n_good - point.n_overkilled} of {point.n_good} good ones pass, "
    text += f"{point.n_overkilled} are rejected; {ppm:,.0f} ppm of what passes is bad on a line "
    text += f"with {100 * bad_rate:.3g} % bad parts"
    if settings.escape_cost:
        line = decision.line_of(settings, bad_rate)
        cost = float(operating_point.expected_cost(escapes, overkill, 0.0, line))
        text += f", and 1,000 parts cost {1000 * cost:,.0f}"
    return f"{text}."


def draw_scores(
    ax: Axes, labels: np.ndarray, scores: np.ndarray, threshold: float, promised: float
) -> None:
    """Draw the scores of good and bad parts, and on gray those that pass."""
    for label, name in LABEL_NAMES.items():
        bins = np.linspace(0, 1, 51)
        ax.hist(scores[labels == label], bins, color=PALETTE[name], alpha=0.6, label=name)
    ax.axvspan(0, threshold, color="0.8", zorder=0)
    ax.axvline(threshold, color="black")
    ax.axvline(promised, color="black", ls=":", label="promised threshold")
    ax.set(xlim=(0, 1), xlabel="score; parts on gray pass", ylabel="parts")
    ax.legend(loc="upper center", fontsize=12)
