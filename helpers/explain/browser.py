"""A browser of labelled parts for a live notebook: choose label and order, see parts and maps."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from helpers.core.style import LABEL_NAMES, draw_image
from helpers.explain.maps import draw_overlay, grid, map_title, part_title
from helpers.explain.selection import ORDERS, in_order
from helpers.explain.subject import Subject

if TYPE_CHECKING:
    from ipywidgets import interactive

PER_PAGE = 6


def browse(subject: Subject) -> interactive:
    """Return the browser as widgets, to be displayed in a live notebook."""
    from ipywidgets import IntSlider, interactive

    def show(label: int | None, order: str, page: int) -> Figure:
        parts = in_order(subject.parts, label, order)
        page = min(page, math.ceil(len(parts) / PER_PAGE))
        parts = parts[(page - 1) * PER_PAGE :][:PER_PAGE]
        maps, pixels = (
            subject.maps(parts.id, torch.tensor(parts.called.to_numpy())),
            subject.pixels(parts.id),
        )
        figure, axes = grid(2, PER_PAGE, (2 * PER_PAGE, 5), subject.caption)
        for i, part in enumerate(parts.itertuples()):
            draw_image(axes[0, i], pixels[i], part_title(part))
            draw_overlay(axes[1, i], pixels[i], maps[i], map_title(part.called, maps[i]))
        plt.close(figure)  # a notebook would show it a second time
        return figure

    labels = {
        word: label for label, word in LABEL_NAMES.items() if label in set(subject.parts.label)
    }
    return interactive(
        show,
        {"auto_display": True},
        label=[("all", None), *labels.items()],
        order=list(ORDERS),
        page=IntSlider(1, 1, math.ceil(len(subject.parts) / PER_PAGE), continuous_update=False),
    )


def has_front_end() -> bool:
    """Return True if somebody can click: only Jupyter and VS Code send the cell's id along."""
    try:
        from IPython import get_ipython

        parent = get_ipython().kernel.get_parent("shell")
    except (ImportError, AttributeError):  # no IPython, or IPython without a kernel
        return False
    return bool((parent.get("metadata") or {}).get("cellId"))
