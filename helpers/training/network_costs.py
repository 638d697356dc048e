"""Costs of networks beside their AUC: size, speed, and seconds of search and training."""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from helpers.core import devices, files
from helpers.core.paths import RunPaths
from helpers.models.backbones import load_model
from helpers.models.complexity import count_macs, count_parameters
from helpers.models.names import DISTILLED, display_name
from helpers.runs.costs import checkpoints
from helpers.runs.stages import Stage
from helpers.training.inference import milliseconds_per_image
from helpers.training.trained import Trained, load_trained

REFERENCES = ("cnn", "fbp")  # what networks of cells are compared with
BATCH = 32  # images that are timed together


def summary(
    stage: Stage, table: pd.DataFrame, searches: Mapping[str, Mapping[str, Any]]
) -> pd.DataFrame:
    """Return one row for each trained network: size, speed, AUC, and the whole cost in seconds.

    `table` is the results table, `searches` says by model what finding its cell has cost. Cells
    trained by an earlier call are listed too, with the settings of their own training. The seconds
    of retraining are the sum over a model's trainings; those of a distilled network's teachers are
    in the teachers' row.
    """
    by_name = table.set_index("model")
    parts = ("", "_low", "_high", "_mean", "_std")
    aucs = [f"{side}_auc{part}" for side in ("val", "test") for part in parts]
    rows = []
    for name, own in by_name[[c for c in aucs if c in by_name]].iterrows():
        models = load_trained(stage.paths, str(name))
        cost = network_cost(stage, str(name)) if models else None
        if cost is None:
            continue
        first = models[0]
        # a cell that another search has found again was not trained again, but cost something else
        facts = {**first.facts, **searches.get(str(name).removesuffix(DISTILLED), {})}
        seconds, search_s = sum(model.seconds for model in models), facts.get("search_seconds")
        rows.append(
            {
                "model": name,
                "network": facts.get("network", ""),
                **cost,
                "epochs": len(first.history),
                "trainings": len(models),
                "test_views": facts.get("test_views"),
                **own,
                "search_s": search_s,
                "retraining_s": round(seconds, 2),
                "total_s": round(seconds + (search_s or 0.0), 2),
                "device": first.device,
                "search_device": facts.get("search_device", ""),
                "cell": facts.get("origin", ""),
            }
        )
    return pd.DataFrame(rows)


def network_cost(stage: Stage, model: str) -> dict[str, Any] | None:
    """Return what one network of a model costs per image; None without a network.

    Networks of one architecture share a measurement, whatever their weights. Keys: parameters, macs
    (multiply-adds), image_size_px, and on this machine's CPU, for one view, ms_single (images come
    one at a time) and ms_batch (32 at a time).
    """
    found = checkpoints(stage.paths.trainings(model))
    if not found:
        return None
    network, precision = load_model(found[0]), stage.settings.precision
    name = files.fingerprint(dataclasses.asdict(network.spec))
    cpu = devices.device_name(torch.device("cpu"))
    inputs = {"network": name, "machine": [platform.node(), cpu], "precision": precision}

    def measure(cost: Path) -> None:
        if isinstance(getattr(network, "auxiliary_head", None), nn.Module):
            network.register_module("auxiliary_head", None)  # serves the training alone
        size, channels = network.spec.image_size_px, network.spec.in_channels
        record = {
            "parameters": count_parameters(network),
            "macs": count_macs(network, size, channels),
            "image_size_px": size,
            "ms_single": milliseconds_per_image(network, 1, precision),
            "ms_batch": milliseconds_per_image(network, BATCH, precision),
        }
        files.save_json(cost, record)

    path = stage.paths.metrics(f"cost_{name}")
    stage.once(f"cost of network {name}", inputs, measure, sizes=(), cost=path)
    return files.load_json(path)


def references(run_paths: RunPaths) -> list[Trained]:
    """Return the trainings of the two-layer CNN and of FBP that the run has."""
    return [trained for name in REFERENCES for trained in load_trained(run_paths, name)]


def cost_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary in words, the best AUC first: sizes with units, empty if unknown.

    The AUC is that on test or, if test labels are hidden, on validation, in per cent. It is that
    of one network, as the sizes are: mean ± standard deviation if there are several trainings.
    """
    tested = "test_auc" in summary and summary.test_auc.notna().any()
    auc = "test_auc" if tested else "val_auc"
    own, mean = (summary.get(c, pd.Series(math.nan, summary.index)) for c in (auc, f"{auc}_mean"))
    summary = summary.assign(one=mean.fillna(own)).sort_values("one", ascending=False)

    def words(column: str, form: str, unit: float = 1.0) -> pd.Series:
        values = summary.get(column, pd.Series(math.nan, summary.index)).astype(float) / unit
        return values.map(lambda value: "" if pd.isna(value) else form.format(value)).astype(str)

    several = words("trainings", "{:.0f} x ").where(summary.trainings > 1, "")
    return pd.DataFrame(
        {
            "Model": summary.model.map(display_name),
            f"{'Test' if tested else 'Val'} AUC, one training": words("one", "{:.1f}", 0.01)
            + words(f"{auc}_std", " ± {:.1f}", 0.01),
            "Parameters, trained or frozen": words("parameters", "{:,.0f}"),
            "Multiply-adds": words("macs", "{:.3g} M", 1e6),
            "ms, one image": words("ms_single", "{:.3g}"),
            f"ms, batch of {BATCH}": words("ms_batch", "{:.3g}"),
            "Image px": words("image_size_px", "{:.0f}"),
            "Epochs": several + summary.epochs.astype(str),
            "Views": words("test_views", "{:.0f}"),
            "Search, s": words("search_s", "{:.0f}"),
            "Training, s": words("retraining_s", "{:.0f}"),
        }
    )
