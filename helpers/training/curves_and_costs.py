"""Show trained networks: their learning curves, size, speed, and seconds of search and training."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.figure import Figure
from torch import nn

from helpers.core.style import percent_axis
from helpers.models.backbones import ModelSpec, Network, build, count_macs, count_parameters
from helpers.models.compiled import WORTH_IT_FROM
from helpers.models.record import Model
from helpers.training.fit import Fitted
from helpers.training.inference import Scorer

TITLES = {"val_loss": "validation loss", "val_auc": "validation AUC, %, one view"}
MARKERS = "P<>p*h^osDvX"  # and colours, by the order of names: a model keeps its own in 03 and 05
SMOOTHED = 0.1  # share of the epochs whose mean is a point of a learning curve
BATCH, REPEATS = 32, 7  # images that are timed together, and how often


def learning_curves(
    trained: Mapping[Model, Iterable[Fitted]], title: str = "", pale: Sequence[str] = ()
) -> Figure:
    """Draw loss and AUC of validation over epochs, one line per model, `pale` slugs gray.

    A point is the mean over a tenth of the epochs around it: single epochs of many models would
    hide each other. A line is the mean of a model's trainings.
    """
    shown = {model: [*fits] for model, fits in trained.items()}
    parts = [_smooth(fit).assign(model=m.title) for m, fits in shown.items() for fit in fits]
    curves = pd.concat(parts, ignore_index=True)
    palette, numbers = sns.color_palette("dark").as_hex(), dict[str, int]()
    for model in sorted(shown, key=lambda model: model.order):
        number = model.order[0]  # or the next free one, as for a second backbone
        while number in numbers.values():
            number += 1
        numbers[model.title] = number
    colours = {title: palette[number % len(palette)] for title, number in numbers.items()}
    colours |= {model.title: "0.65" for model in shown if model.slug in pale}
    markers = {title: MARKERS[number % len(MARKERS)] for title, number in numbers.items()}
    looks: dict[str, Any] = {"hue": "model", "style": "model", "dashes": False, "errorbar": None}
    looks |= {"palette": colours, "markers": markers}
    size = (10, max(3.6, 0.3 * len(shown)))  # space for the legend
    figure, axes = plt.subplots(1, len(TITLES), figsize=size)
    for ax, (column, words) in zip(axes, TITLES.items(), strict=True):
        sns.lineplot(curves, x="epoch", y=column, ax=ax, legend=ax is axes[-1], **looks)
        for line in ax.lines:  # some ten markers a line
            line.set_markevery(max(1, np.size(line.get_xdata()) // 10))
        ax.set(ylabel=words)
    percent_axis(axes[-1].yaxis)
    figure.suptitle(title, x=0.01, ha="left", fontsize=12)  # left of the legend
    handles = axes[-1].get_legend_handles_labels()
    axes[-1].get_legend().remove()
    figure.legend(*handles, loc="outside right upper")
    return figure


def _smooth(fit: Fitted) -> pd.DataFrame:
    curve = pd.DataFrame(fit.history)
    window = max(1, round(SMOOTHED * len(curve)))
    means = curve[[*TITLES]].rolling(window, center=True, min_periods=1).mean()
    return means.assign(epoch=curve.epoch)


def cost(spec: ModelSpec, precision: str = "auto") -> dict[str, float]:
    """Measure the cost of a network per image on this machine's CPU; its weights do not matter."""
    network = build(spec).eval()
    if isinstance(getattr(network, "auxiliary_head", None), nn.Module):
        network.register_module("auxiliary_head", None)  # serves the training alone
    return {
        "parameters": count_parameters(network),
        "macs": count_macs(network, spec.image_size_px, spec.in_channels),
        "image_size_px": spec.image_size_px,
        "ms_single": milliseconds_per_image(network, 1, precision),
        "ms_batch": milliseconds_per_image(network, BATCH, precision),
    }


def milliseconds_per_image(model: Network, batch_size: int, precision: str = "auto") -> float:
    """Measure the median milliseconds per image on this machine's CPU, of images in memory.

    The first batch, in which the network is compiled, is not timed.
    """
    spec, seconds = model.spec, []
    scorer = Scorer(model, torch.device("cpu"), precision, images=WORTH_IT_FROM)
    images = torch.zeros(batch_size, spec.in_channels, spec.image_size_px, spec.image_size_px)
    images = images.contiguous(memory_format=torch.channels_last)
    for _ in range(1 + REPEATS):
        started = time.perf_counter()
        scorer.score_batch(images)
        seconds.append(time.perf_counter() - started)
    return 1000 * float(np.median(seconds[1:])) / batch_size


def summary(
    table: pd.DataFrame,
    trainings: Mapping[str, Sequence[Fitted]],
    costs: Mapping[str, Mapping[str, Any]],
    searches: Mapping[str, float | None],
) -> pd.DataFrame:
    """Return a row for each trained network: its AUCs, size and speed, and the seconds in all.

    All are by slug; `searches` are the seconds of finding a model's cell, if known.
    """
    rows = [
        {
            "model": slug,
            "network": fits[0].network.spec.name,
            **costs[slug],
            "epochs": len(fits[0].history),
            "trainings": len(fits),
            "test_views": fits[0].network.facts.views,
            "search_s": searches.get(slug),
            "training_s": round(sum(fit.seconds for fit in fits), 2),
            "device": fits[0].device,
        }
        for slug, fits in trainings.items()
        if fits
    ]
    aucs = [name for name in table if name.startswith(("val_auc", "test_auc"))]
    return table[["model", "judged_by", *aucs]].merge(pd.DataFrame(rows), on="model")
