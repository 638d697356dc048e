"""A browser of labelled parts: choose model, label and order; see image, map and overlay."""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from helpers.core.paths import RunPaths
from helpers.core.style import LABEL_NAMES, draw_image
from helpers.explain.maps import draw_map, draw_overlay, grid, map_title, part_title
from helpers.explain.selection import ORDERS, in_order
from helpers.explain.subject import Subject, open_subject
from helpers.models.names import display_name

if TYPE_CHECKING:
    from ipywidgets import interactive

PER_PAGE = 5


def browse(run_paths: RunPaths, model: str = "") -> interactive:
    """Return the browser as widgets, to be displayed in a live notebook.

    `model` is the first to show; "" is the best on validation. A model without a network is shown
    with the maps of the best one that has a network.
    """
    from ipywidgets import IntSlider, interactive

    opened = cache(partial(open_subject, run_paths, own_scores=True))
    first = opened(model)
    others = sorted(path.stem for path in run_paths.predictions_root.glob("*.csv"))
    names = dict.fromkeys([first.wanted, *others])
    labels = [(word, label) for label, word in LABEL_NAMES.items()]

    def show(model: str, label: int | None, order: str, map_of: int | None, page: int) -> Figure:
        subject = opened(model)
        parts = in_order(subject.parts, label, order)
        if parts.empty:
            print("No part has this label.")
            return plt.Figure()
        pages = math.ceil(len(parts) / PER_PAGE)
        number = min(page, pages)
        print(f"{subject.caption} Page {number} of {pages}.")
        figure = draw_page(subject, parts[(number - 1) * PER_PAGE :][:PER_PAGE], map_of)
        plt.close(figure)  # a notebook would show it a second time
        return figure

    return interactive(
        show,
        {"auto_display": True},
        model=[(display_name(name), name) for name in names],
        label=[("all", None), *labels],
        order=list(ORDERS),
        map_of=[("class called", None), *labels],
        page=IntSlider(1, 1, math.ceil(len(first.parts) / PER_PAGE), continuous_update=False),
    )


def has_front_end() -> bool:
    """Return True if somebody can click: only Jupyter and VS Code send the cell's id along."""
    try:
        from IPython import get_ipython

        parent = get_ipython().kernel.get_parent("shell")
    except (ImportError, AttributeError):  # no IPython, or IPython without a kernel
        return False
    return bool((parent.get("metadata") or {}).get("cellId"))


def draw_page(subject: Subject, parts: pd.DataFrame, map_of: int | None = None) -> Figure:
    """Draw parts above their maps and overlays for the class `map_of`; None: the class called."""
    classes = parts.assign(of=parts.called if map_of is None else map_of).of.to_numpy(np.int64)
    maps, pixels = subject.maps(parts.id, torch.tensor(classes)), subject.pixels(parts.id)
    figure, axes = grid(3, PER_PAGE, (2.2 * PER_PAGE + 0.7, 7.6))
    for i, part in enumerate(parts.itertuples()):
        verdict = f"called {LABEL_NAMES[part.called]}: {'right' if part.right else 'wrong'}"
        draw_image(axes[0, i], pixels[i], f"{part_title(part)}\n{verdict}")
        draw_map(axes[1, i], maps[i], map_title(classes[i], maps[i]))
        draw_overlay(axes[2, i], pixels[i], maps[i])
    return figure
