"""Costs of networks beside their AUC: size, speed, and seconds of search and training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from torch import nn

from helpers.core import tables
from helpers.models.backbones import build
from helpers.models.complexity import count_macs, count_parameters
from helpers.models.record import Model
from helpers.models.spec import ModelSpec
from helpers.training.fit import Fitted
from helpers.training.inference import milliseconds_per_image

BATCH = 32  # images that are timed together


def cost(spec: ModelSpec, precision: str = "auto") -> dict[str, float]:
    """Return what the network of a specification costs per image, whatever its weights.

    Keys: parameters, macs (multiply-adds), image_size_px, and on this machine's CPU, for one view,
    ms_single (images come one at a time) and ms_batch (32 at a time).
    """
    network = build(spec).eval()
    if isinstance(getattr(network, "auxiliary_head", None), nn.Module):
        network.register_module("auxiliary_head", None)  # serves the training alone
    size, channels = spec.image_size_px, spec.in_channels
    return {
        "parameters": count_parameters(network),
        "macs": count_macs(network, size, channels),
        "image_size_px": size,
        "ms_single": milliseconds_per_image(network, 1, precision),
        "ms_batch": milliseconds_per_image(network, BATCH, precision),
    }


def summary(
    table: pd.DataFrame,
    trainings: Mapping[str, Sequence[Fitted]],
    costs: Mapping[str, Mapping[str, float]],
    searches: Mapping[str, Mapping[str, Any]],
) -> pd.DataFrame:
    """Return one row for each trained network: size, speed, AUC, and the whole cost in seconds.

    The seconds of retraining are the sum over a model's trainings; those of a distilled network's
    teachers are in the teachers' row.

    Args:
        table: the results table, with the model's slug in the column `model`.
        trainings: by slug.
        costs: see `cost`, by slug.
        searches: what finding a model's cell has cost, by slug: `search_seconds`, `search_device`
            and `origin`, if known.
    """
    by_name = table.set_index("model")
    parts = ("", "_low", "_high", "_mean", "_std")
    aucs = [f"{side}_auc{part}" for side in ("val", "test") for part in parts]
    rows = []
    for name, numbers in by_name[[c for c in aucs if c in by_name]].iterrows():
        if not (fits := trainings.get(str(name), ())):
            continue
        search = searches.get(str(name), {})
        seconds, search_s = sum(fit.seconds for fit in fits), search.get("search_seconds")
        rows.append(
            {
                "model": name,
                "network": fits[0].network.spec.name,
                **costs[str(name)],
                "epochs": len(fits[0].history),
                "trainings": len(fits),
                "test_views": fits[0].network.facts.views,
                **numbers,
                "search_s": search_s,
                "retraining_s": round(seconds, 2),
                "total_s": round(seconds + (search_s or 0.0), 2),
                "device": fits[0].device,
                "search_device": search.get("search_device", ""),
                "cell": search.get("origin", ""),
            }
        )
    return pd.DataFrame(rows)


def cost_table(summary: pd.DataFrame, models: Sequence[Model]) -> pd.DataFrame:
    """Return the summary in words, the best AUC first: sizes with units, "-" if unknown.

    The AUC is that on test or, if test labels are hidden, on validation, in per cent. It is that
    of one network, as the sizes are: the mean and its standard deviation over several trainings.
    """
    tested = "test_auc" in summary and summary.test_auc.notna().any()
    auc = "test_auc" if tested else "val_auc"
    titles = {model.slug: model.title for model in models}
    one = summary.get(f"{auc}_mean", summary[auc]).fillna(summary[auc])
    rows = summary.assign(title=summary.model.map(titles), one=one)
    columns = {
        "Model": "{title}",
        f"{'Test' if tested else 'Val'} AUC, one training": "{one:%}",
        "±": f"{{{auc}_std:%}}",
        "Trainings": "{trainings}",
        "Parameters, trained or frozen": "{parameters:,.0f}",
        "Multiply-adds": "{macs:n}",
        "ms, one image": "{ms_single:.3g}",
        f"ms, batch of {BATCH}": "{ms_batch:.3g}",
        "Image px": "{image_size_px:.0f}",
        "Epochs": "{epochs}",
        "Views": "{test_views:.0f}",
        "Search, s": "{search_s:.0f}",
        "Training, s": "{retraining_s:.0f}",
    }
    return tables.filled(rows.sort_values("one", ascending=False), columns)
