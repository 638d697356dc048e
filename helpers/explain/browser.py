"""A browser of a run's labelled parts: choose model, label and order; see image, map and overlay.

A live notebook shows ipywidgets; papermill, nbconvert and scripts get a figure of the first page.
"""

from __future__ import annotations

import html
import io
import math
from typing import TYPE_CHECKING, Any

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
from helpers.runs.names import display_name

if TYPE_CHECKING:
    from ipywidgets import VBox

PER_PAGE = 5


def browse(run_paths: RunPaths, model: str = "", widgets: bool | None = None) -> VBox | Figure:
    """Return the browser, widgets or a figure, to be the last expression of a notebook's cell.

    `model` is the first to show; "" is the best on validation. A model without a network is shown
    with the maps of the best one that has a network. If `widgets` is None, `has_front_end` decides.
    """
    if has_front_end() if widgets is None else widgets:
        return Browser(run_paths, model).box
    subject = open_subject(run_paths, model, own_scores=True)
    figure = page(subject, in_order(subject.parts)[:PER_PAGE])
    figure.suptitle(f"{subject.title}: worst mistakes first", fontsize=11)
    plt.close(figure)  # a notebook would show it a second time at the cell's end
    return figure


def has_front_end() -> bool:
    """Return True if somebody can click: only Jupyter and VS Code send the cell's id along."""
    try:
        from IPython import get_ipython

        parent = get_ipython().kernel.get_parent("shell")
    except (ImportError, AttributeError):  # no IPython, or IPython without a kernel
        return False
    return bool((parent.get("metadata") or {}).get("cellId"))


def page(subject: Subject, parts: pd.DataFrame, map_of: int | None = None) -> Figure:
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


class Browser:
    """The widgets; a notebook shows `box`."""

    def __init__(self, run_paths: RunPaths, model: str = "") -> None:
        from ipywidgets import HTML, Dropdown, HBox, Image, IntSlider, VBox

        self._run_paths = run_paths
        first = open_subject(run_paths, model, own_scores=True)
        self._subjects = {first.wanted: first}
        names = sorted(path.stem for path in run_paths.predictions_root.glob("*.csv"))
        models = [(display_name(name), name) for name in names]
        labels = [(word, label) for label, word in LABEL_NAMES.items()]
        self.model = Dropdown(options=models, value=first.wanted, description="model")
        self.label = Dropdown(options=[("all", None), *labels], description="label")
        self.order = Dropdown(options=list(ORDERS), description="order")
        self.map_of = Dropdown(options=[("class called", None), *labels], description="map for")
        self.page = IntSlider(1, 1, 1, description="page", continuous_update=False)
        self.text, self.image = HTML(), Image(format="png")
        choices = (self.model, self.label, self.order, self.map_of)
        for widget in (*choices, self.page):
            widget.observe(self._show, "value")
        self.box = VBox([HBox(choices[:2]), HBox(choices[2:]), self.page, self.text, self.image])
        self._show()

    def _show(self, change: Any = None) -> None:
        """Show the chosen page, after any other choice the first one."""
        if change and change.owner is not self.page and self.page.value != 1:
            self.page.value = 1  # which calls this method again
            return
        name = self.model.value
        if name not in self._subjects:
            self._subjects[name] = open_subject(self._run_paths, name, own_scores=True)
        subject = self._subjects[name]
        self.parts = in_order(subject.parts, self.label.value, self.order.value)
        self.page.max = max(1, math.ceil(len(self.parts) / PER_PAGE))
        self.on_page = self.parts[(self.page.value - 1) * PER_PAGE :][:PER_PAGE]
        self.text.value = html.escape(subject.caption)
        if self.on_page.empty:
            self.text.value += "<br>No part has this label."
            self.image.value = b""
            return
        figure, content = page(subject, self.on_page, self.map_of.value), io.BytesIO()
        figure.savefig(content, format="png", dpi=80, bbox_inches="tight")
        plt.close(figure)
        self.image.value = content.getvalue()
