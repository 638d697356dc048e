"""A threshold to move: what passes, what escapes, and which parts change sides."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML
from matplotlib.figure import Figure

from helpers.core import slider
from helpers.core.style import LABEL_NAMES, PALETTE, draw_images, percent
from helpers.datasets.cache import ImageCache
from helpers.results import decision, operating_point
from helpers.results.predictions import Scored
from helpers.results.settings import DecisionSettings

FRAMES = 20
SHOWN = 4  # bad and good parts that change sides, in a frame


def threshold_slider(
    scored: Scored, cache: ImageCache, settings: DecisionSettings, bad_rate: float
) -> HTML:
    """Return a slider over thresholds; the one that is promised, and built above, is shown first.

    From frame to frame more bad parts escape. There is no bin between pass and reject.
    """
    labels, scores = scored.labels_scores()
    promised = decision.decisions(scored, settings, bad_rate)["expected"].bins.pass_below
    of_bad = np.sort(scores[labels == 1])
    escaped = np.geomspace(1, len(of_bad), FRAMES).round().astype(int) - 1
    thresholds = np.unique([*of_bad[escaped], promised])
    images, frames, before = cache.rows(pd.Series(scored.ids())), [], 0.0
    for threshold in thresholds:
        words = sentences(scored, threshold, settings, bad_rate)
        moved = (scores >= before) & (scores < threshold)
        pixels = [cache.take(images[moved & (labels == c)][:SHOWN]) for c in (1, 0)]
        figure = figure_of(labels, scores, threshold, moved, pixels)
        frames.append(f"<p>{html.escape(words)}</p>{slider.picture(figure, words)}")
        before = threshold
    return slider.slider(frames, int(np.searchsorted(thresholds, promised)), "threshold")


def sentences(scored: Scored, threshold: float, settings: DecisionSettings, bad_rate: float) -> str:
    """Return sentences about a threshold: escapes, good parts that pass, the line, costs."""
    labels, scores = scored.labels_scores()
    point = operating_point.escape_and_overkill(labels, scores, threshold)
    escapes, overkill = point.escape_rate.estimate, point.overkill_rate.estimate
    leaving = operating_point.outgoing_ppm(escapes, overkill, bad_rate)
    text = f"Pass below {threshold:.3g}: {point.n_escaped} of {point.n_bad} bad parts escape "
    text += f"({percent(escapes)} %), and {point.n_good - point.n_overkilled} of {point.n_good} "
    text += f"good parts pass ({percent(1 - overkill)} %). If {100 * bad_rate:.3g} % of all are "
    text += f"bad, {leaving:,.0f} of a million that pass are bad, by {scored.judged_by} scores."
    if settings.escape_cost:
        line = decision.line_of(settings, bad_rate)
        cost = float(operating_point.expected_cost(escapes, overkill, 0.0, line))
        text += f" A thousand parts cost {1000 * cost:,.1f}."
    return text


def figure_of(
    labels: np.ndarray,
    scores: np.ndarray,
    threshold: float,
    moved: np.ndarray,
    pixels: Sequence[np.ndarray],
) -> Figure:
    """Draw the scores, and below them `pixels` (B, S, S, C) of bad and good parts that moved."""
    figure = plt.figure(figsize=(10, 4.4))
    halves: Any = figure.subfigures(2, 1, height_ratios=(1.5, 1))
    above, below = halves
    ax = above.subplots()
    for label, name in LABEL_NAMES.items():
        bins = np.linspace(0, 1, 51)
        ax.hist(scores[labels == label], bins, color=PALETTE[name], alpha=0.6, label=name)
    ax.axvspan(0, threshold, color="0.8", zorder=0)
    ax.axvline(threshold, color="black")
    ax.set(xlim=(0, 1), xlabel="score; parts on gray pass", ylabel="parts")
    ax.legend(loc="upper center")
    for side, images, (label, name) in zip(
        below.subfigures(1, 2), pixels, reversed(LABEL_NAMES.items()), strict=True
    ):
        count = (labels[moved] == label).sum()
        side.suptitle(f"{count} more {name} parts pass than one step to the left", fontsize=10)
        draw_images(side.subplots(1, SHOWN), images, [""] * len(images))
    return figure
