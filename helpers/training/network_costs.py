"""Costs of networks beside their AUC: size, speed, and seconds of search and training."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from helpers.core import style
from helpers.models.backbones import build
from helpers.models.compiled import WORTH_IT_FROM
from helpers.models.record import Model
from helpers.models.spec import ModelSpec, Network, count_macs, count_parameters
from helpers.training.fit import Fitted
from helpers.training.inference import Scorer

BATCH = 32  # images that are timed together
COLUMNS = {  # of the table for the eye
    "Model": "{title}",
    "AUC, one training": "{auc:%}",
    "±": "{std:%}",
    "Trainings": "{trainings}",
    "Parameters, trained or frozen": "{parameters:,.0f}",
    "Multiply-adds": "{macs:n}",
    "ms, one image": "{ms_single:.3g}",
    f"ms, batch of {BATCH}": "{ms_batch:.3g}",
    "Image px": "{image_size_px:.0f}",
    "Epochs": "{epochs}",
    "Views": "{test_views:.0f}",
    "Search, s": "{search_s:.0f}",
    "Training, s": "{training_s:.0f}",
}


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


def milliseconds_per_image(
    model: Network, batch_size: int, precision: str = "auto", repeats: int = 7
) -> float:
    """Measure the median milliseconds per image on this machine's CPU, of images in memory.

    The first batch, in which the network is compiled, is not timed.
    """
    spec, seconds = model.spec, []
    scorer = Scorer(model, torch.device("cpu"), precision, images=WORTH_IT_FROM)
    images = torch.zeros(batch_size, spec.in_channels, spec.image_size_px, spec.image_size_px)
    images = images.contiguous(memory_format=torch.channels_last)
    for _ in range(1 + repeats):
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


def cost_table(summary: pd.DataFrame, models: Sequence[Model]) -> pd.DataFrame:
    """Return the summary in words, the best AUC of one network (the mean of all) first."""
    side = "test" if "test_auc" in summary and summary.test_auc.notna().any() else "val"
    rows = summary.assign(
        title=summary.model.map({model.slug: model.title for model in models}),
        auc=summary.get(f"{side}_auc_mean", summary[f"{side}_auc"]).fillna(summary[f"{side}_auc"]),
        std=summary.get(f"{side}_auc_std"),
    )
    shown = style.filled(rows.sort_values("auc", ascending=False), COLUMNS)
    shown = shown.loc[:, (shown != style.MISSING).any()]
    by = summary.judged_by.iloc[0].capitalize()
    return shown.rename(columns={"AUC, one training": f"{by} AUC, one training"})
