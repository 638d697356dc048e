"""A browser of a run's labelled parts: model, class and order, with image, map and overlay.

In a live notebook it is made of ipywidgets; run headlessly (papermill, nbconvert, a script) it is
the static picture of its first page.
"""

from __future__ import annotations

import html
import io
import math
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from helpers.core.paths import RunPaths
from helpers.core.style import LABEL_NAMES
from helpers.explain import maps as map_figures
from helpers.explain import shown as explain
from helpers.runs.names import display_name

if TYPE_CHECKING:
    from ipywidgets import VBox


PER_PAGE = 5
SCREEN_DPI = 80
CLASSES = {"all": None, "good": 0, "bad": 1}
ORDERS = (
    "worst mistakes first",
    "highest score first",
    "lowest score first",
    "least certain first",
)
MAPS = ("class called", "good", "bad")


def browse(run_paths: RunPaths, model: str = "", widgets: bool | None = None) -> VBox | Figure:
    """The browser as the last expression of a cell: a widget, or headlessly a figure.

    Args:
        run_paths: the run.
        model: where it begins; "" is the best on validation. A model without a network is
            shown with the maps of the best one that has a network; a line says so.
        widgets: True or False, or None to find out whether there is a front end (`has_front_end`).
    """
    if has_front_end() if widgets is None else widgets:
        return Browser(run_paths, model).box
    shown = explain.open_model(run_paths, model, own_scores=True)
    figure = page(shown, in_order(shown.parts, shown.threshold)[:PER_PAGE])
    figure.suptitle(f"{shown.title}: {ORDERS[0]}", fontsize=11)
    plt.close(figure)  # a notebook would show it a second time at the cell's end
    return figure


def has_front_end() -> bool:
    """Whether a live notebook ran this cell: Jupyter and VS Code send the cell's id with the
    request, papermill, nbconvert and other headless clients don't."""
    try:
        from IPython import get_ipython

        parent = get_ipython().kernel.get_parent("shell")
    except (ImportError, AttributeError):  # no IPython, or IPython without a kernel
        return False
    return bool((parent.get("metadata") or {}).get("cellId"))


def in_order(
    parts: pd.DataFrame, threshold: float, label: int | None = None, order: str = ORDERS[0]
) -> pd.DataFrame:
    """The parts of one label (all if None) in one of `ORDERS`, with the class each was `called`.

    Mistakes come first by how far the score is from the label, then the rightly called ones.

    Raises:
        ValueError: unknown order.
    """
    if order not in ORDERS:
        raise ValueError(f"order {order!r} is not one of: {', '.join(ORDERS)}")
    parts = parts.assign(called=explain.called(parts, threshold))
    parts = parts if label is None else parts[parts.label == label]
    score = parts.defect_score
    right = parts.called == parts.label
    keys = {
        ORDERS[0]: [right, -(parts.label - score).abs()],
        ORDERS[1]: [-score],
        ORDERS[2]: [score],
        ORDERS[3]: [(score - threshold).abs()],
    }[order]
    by = [np.arange(len(parts)), *reversed([key.to_numpy() for key in keys])]
    return parts.iloc[np.lexsort(by)].reset_index(drop=True)


def page(shown: explain.Shown, parts: pd.DataFrame, map_of: str = MAPS[0]) -> Figure:
    """Some parts (columns `id`, `label`, `defect_score`, `called`) above their map and overlay.

    `map_of` is one of `MAPS`: for the class that each part was called, for good, or for bad.
    """
    classes = parts.called.to_numpy(dtype=np.int64)
    if map_of != MAPS[0]:
        classes = np.full(len(parts), CLASSES[map_of])
    maps, pixels = shown.maps(parts.id, torch.tensor(classes)), shown.pixels(parts.id)
    columns = max(PER_PAGE, len(parts))
    figure, axes = plt.subplots(
        3, columns, figsize=(2.2 * columns + 0.7, 7.6), squeeze=False, layout="compressed"
    )
    for ax in axes.ravel():
        ax.set_axis_off()
    for i, part in enumerate(parts.itertuples()):
        verdict = "right" if part.called == part.label else "wrong"
        title = f"{explain.part_title(part)}\ncalled {LABEL_NAMES[part.called]}: {verdict}"
        map_figures.draw_image(axes[0, i], pixels[i], title)
        map_figures.draw_map(axes[1, i], maps[i], map_figures.map_title(classes[i], maps[i]))
        map_figures.draw_overlay(axes[2, i], pixels[i], maps[i])
    map_figures.colour_bar(figure, axes)
    return figure


class Browser:
    """The widgets: `box` is what a notebook shows."""

    def __init__(self, run_paths: RunPaths, model: str = "") -> None:
        import ipywidgets

        self._run_paths = run_paths
        self._opened: dict[str, explain.Shown] = {}
        names = sorted(path.stem for path in run_paths.predictions_root.glob("*.csv"))
        first = self._open(model)
        self._opened[first.wanted] = first
        wide = {"style": {"description_width": "initial"}}
        named = [(display_name(name), name) for name in names]
        self.model = ipywidgets.Dropdown(options=named, value=first.wanted, description="model")
        self.label = ipywidgets.Dropdown(options=list(CLASSES), description="label")
        self.order = ipywidgets.Dropdown(options=list(ORDERS), description="order")
        self.map_of = ipywidgets.Dropdown(options=list(MAPS), description="map for")
        self.page = ipywidgets.IntSlider(
            1, 1, 1, description="page", continuous_update=False, **wide
        )
        self.text = ipywidgets.HTML()
        self.image = ipywidgets.Image(format="png")
        choices = (self.model, self.label, self.order, self.map_of)
        for choice in choices:
            choice.observe(self._restart, "value")
        self.page.observe(self._draw, "value")
        rows = [ipywidgets.HBox(choices[:2]), ipywidgets.HBox(choices[2:]), self.page]
        self.box = ipywidgets.VBox([*rows, self.text, self.image])
        self._restart()

    @property
    def parts(self) -> pd.DataFrame:
        """The parts of the chosen model and label, in the chosen order."""
        shown = self._open(self.model.value)
        label = CLASSES[self.label.value]
        return in_order(shown.parts, shown.threshold, label, self.order.value)

    @property
    def on_page(self) -> pd.DataFrame:
        """The parts that are shown now."""
        start = (self.page.value - 1) * PER_PAGE
        return self.parts.iloc[start : start + PER_PAGE]

    def _open(self, name: str) -> explain.Shown:
        if name not in self._opened:
            self._opened[name] = explain.open_model(self._run_paths, name, own_scores=True)
        return self._opened[name]

    def _restart(self, _change: object = None) -> None:
        """Another choice begins at its first page."""
        pages = max(1, math.ceil(len(self.parts) / PER_PAGE))
        self.page.max = pages
        if self.page.value != 1:
            self.page.value = 1  # draws
        else:
            self._draw()

    def _draw(self, _change: object = None) -> None:
        shown, parts = self._open(self.model.value), self.on_page
        self.text.value = html.escape(shown.caption)
        if parts.empty:
            self.text.value += "<br>No part of this label."
            self.image.value = b""
            return
        figure = page(shown, parts, self.map_of.value)
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=SCREEN_DPI, bbox_inches="tight")
        plt.close(figure)
        self.image.value = content.getvalue()
