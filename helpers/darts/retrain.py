"""Networks of genotypes trained from random weights: the report's last two rows, and a random cell.

The recipe is that of Table 1 with DARTS's ImageNet extras (arXiv 1806.09055, appendix A.4):
auxiliary loss, label smoothing, clipped gradients. Such results are compared with a random cell of
the same space and budget, and over several seeds (Lindauer and Hutter, arXiv 1909.02453).

A tiny network is worth having for what it costs on the line: every row with a network has its
parameters, multiply-adds and milliseconds per image beside its AUC.
"""

from __future__ import annotations

import dataclasses
import math
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from helpers.core import devices, files, seeding
from helpers.core.paths import RunPaths
from helpers.darts.genotypes import Genotype
from helpers.darts.named import NamedCell, named_cells
from helpers.darts.network import DerivedNetwork, build_derived, derived_spec
from helpers.datasets.cache import ImageCache
from helpers.models.backbones import load_model
from helpers.models.complexity import count_macs, count_parameters, trace
from helpers.models.spec import ModelSpec
from helpers.runs.costs import checkpoints
from helpers.runs.members import Member
from helpers.runs.names import DISTILLED, display_name
from helpers.runs.settings import RetrainSettings
from helpers.runs.stages import Stage, load_run
from helpers.training.distillation import Teacher, find_teacher
from helpers.training.inference import milliseconds_per_image
from helpers.training.loop import Hooks
from helpers.training.trained import NUM_CLASSES, Recipe, Trained, load_trained, train_models

REFERENCES = ("cnn", "fbp")  # the models of 03 that the networks are compared with
BATCH = 32  # images that are timed together


class DropPathSchedule(Hooks):
    """Let drop path grow linearly: `drop_path` * epoch / epochs, epochs counted from 0."""

    def __init__(self, network: DerivedNetwork, drop_path: float) -> None:
        self.network, self.drop_path = network, drop_path

    def epoch_starts(self, epoch: int, epochs: int) -> None:
        """Set the epoch's probability."""
        self.network.set_drop_path(self.drop_path * epoch / epochs)


def cells_of(stage: Stage) -> list[NamedCell]:
    """Return the cells that the stage's GENOTYPES name; `named_cells` says what is refused."""
    settings: RetrainSettings = stage.settings
    return named_cells(settings.genotypes, stage.paths.genotypes_root, settings.random_cells)


def network_spec(settings: RetrainSettings, genotype: Genotype, cache: ImageCache) -> ModelSpec:
    """Return the specification of a genotype's network at the stage's size."""
    return derived_spec(
        genotype,
        settings.retrain_channels,
        settings.retrain_layers,
        NUM_CLASSES,
        cache.size_px,
        cache.channels,
        auxiliary=settings.auxiliary,
    )


def make_network(
    settings: RetrainSettings, genotype: Genotype, cache: ImageCache, seed: int
) -> DerivedNetwork:
    """Return the network of a genotype with initial weights that depend on the seed alone."""
    with seeding.torch_stream(seed, "initial weights network"):
        return build_derived(network_spec(settings, genotype, cache))


def train_cells(stage: Stage, cells: Sequence[NamedCell]) -> list[Trained]:
    """Train the network of every cell from random weights, once for each seed.

    With DISTILL each cell is trained a second time, with the labels and a teacher.
    """
    settings: RetrainSettings = stage.settings
    cache = stage.images(settings.retrain_image_size_px)
    members = [Member(settings.seed + k) for k in range(settings.seeds)]
    teacher = find_teacher(stage) if settings.distill else None
    teachers = [None, teacher] if teacher else [None]
    recipes = [recipe_of(settings, cell, cache, taught) for cell in cells for taught in teachers]
    return train_models(stage, recipes, cache, members)


def recipe_of(
    settings: RetrainSettings, cell: NamedCell, cache: ImageCache, teacher: Teacher | None = None
) -> Recipe:
    """Return how the network of a cell is trained at the stage's size."""

    def facts(network: DerivedNetwork) -> dict[str, Any]:
        return {
            "cell": cell.name,
            "network": f"C={settings.retrain_channels}, L={settings.retrain_layers}",
            "test_views": settings.test_views,
            "ema_decay": settings.ema_decay,
            **cell.cost,
        }

    options = network_spec(settings, cell.genotype, cache).options
    return Recipe(
        cell.name + (DISTILLED if teacher else ""),
        lambda seed: make_network(settings, cell.genotype, cache, seed),
        settings.training,
        {"architecture": "derived", "network": options, "drop_path": settings.drop_path},
        views=settings.test_views,
        hooks=lambda network: DropPathSchedule(network, settings.drop_path),
        facts=facts,
        teacher=teacher,
    )


def references(run_paths: RunPaths) -> list[Trained]:
    """Return the trainings of the two-layer CNN and of FBP that the run has."""
    return [trained for name in REFERENCES for trained in load_trained(run_paths, name)]


def describe(network: DerivedNetwork, image_size_px: int | tuple[int, int]) -> pd.DataFrame:
    """Return the size and cost of stem, cells and classifier, and the sums at the end.

    Columns: part, kind, channels, height_px and width_px of the output, parameters, and macs
    (convolutions and linear layers, one image). The auxiliary head is left out.
    """
    layers = trace(network, image_size_px, network.in_channels)
    parts = [("stem", "", ["stem0", "stem1"])]
    for index, cell in enumerate(network.cells):
        kind = "reduction" if cell.reduction else "normal"
        parts.append((f"cell {index}", kind, [f"cells.{index}"]))
    parts.append(("classifier", "", ["classifier"]))
    rows: list[tuple[Any, ...]] = []
    for part, kind, names in parts:
        size = (*layers[names[-1]].shape, 1, 1)[1:4]
        parameters = sum(count_parameters(network.get_submodule(name)) for name in names)
        inside = tuple(f"{name}." for name in names)
        macs = sum(layer.macs for name, layer in layers.items() if f"{name}.".startswith(inside))
        rows.append((part, kind, *size, parameters, macs))
    rows.append(("all", "", None, None, None, *(sum(row[i] for row in rows) for i in (5, 6))))
    sizes = ["channels", "height_px", "width_px"]
    table = pd.DataFrame(rows, columns=["part", "kind", *sizes, "parameters", "macs"])
    return table.astype(dict.fromkeys(sizes, "Int64"))


def equal_epochs(models: Sequence[Trained]) -> pd.DataFrame:
    """Return each model's best validation AUC within the epochs that all have had, and in all.

    A model of several trainings has the mean over them.
    """
    common = min(len(model.history) for model in models)
    aucs = [(model.model, [record["val_auc"] for record in model.history]) for model in models]
    first, whole = f"val AUC, first {common} epochs", "val AUC, all"
    table = pd.DataFrame(
        [(display_name(name), max(own[:common]), max(own), len(own)) for name, own in aucs],
        columns=["model", first, whole, "epochs"],
    )
    how = {first: "mean", whole: "mean", "epochs": "max"}
    return table.groupby("model", sort=False, as_index=False).agg(how)


def summary(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each trained network: size, speed, AUC, and the whole cost in seconds.

    `table` is the results table. Cells trained by an earlier call are listed too, with the settings
    of their own training. The seconds of retraining are the sum over a model's trainings; those of
    a distilled network's teachers are in the teachers' row.
    """
    by_name = table.set_index("model")
    parts = ("", "_low", "_high", "_mean", "_std")
    aucs = [f"{side}_auc{part}" for side in ("val", "test") for part in parts]
    # a cell that another search has found again was not trained again, but cost something else
    costs = {cell.name: cell.cost for cell in cells_of(stage)}
    rows = []
    for name, own in by_name[[c for c in aucs if c in by_name]].iterrows():
        models = load_trained(stage.paths, str(name))
        cost = network_cost(stage, str(name)) if models else None
        if cost is None:
            continue
        first = models[0]
        facts = first.facts | costs.get(str(name).removesuffix(DISTILLED), {})
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
                "retraining_s": round(seconds, 1),
                "total_s": round(seconds + (search_s or 0.0), 1),
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
        if isinstance(network, DerivedNetwork):
            network.auxiliary_head = None  # serves the training alone
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


def backbone_note(run_paths: RunPaths) -> dict[str, str]:
    """Return the backbone of the rows of 02 and 03, for captions; empty without such rows."""
    stages = load_run(run_paths).get("stages", {})
    found = [stages.get(s, {}).get("backbone") for s in ("03_finetuning", "02_features_baselines")]
    return next(({"backbone": name} for name in found if name), {})


def cost_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary in words: sizes with units, AUC in per cent, empty if unknown."""

    def words(column: str, form: str, unit: float = 1.0) -> pd.Series:
        values = summary.get(column, pd.Series(math.nan, summary.index)).astype(float) / unit
        return values.map(lambda value: "" if pd.isna(value) else form.format(value)).astype(str)

    def auc(column: str) -> pd.Series:
        return words(column, "{:.1f}", 0.01) + words(f"{column}_std", " ± {:.1f}", 0.01)

    return pd.DataFrame(
        {
            "Model": summary.model.map(display_name),
            "Cell": summary.cell,
            "Network": summary.network,
            "Parameters": words("parameters", "{:,.0f}"),
            "Multiply-adds": words("macs", "{:.3g} M", 1e6),
            "ms, one image": words("ms_single", "{:.3g}"),
            f"ms, batch of {BATCH}": words("ms_batch", "{:.3g}"),
            "Image px": words("image_size_px", "{:.0f}"),
            "Epochs": summary.epochs,
            "Trainings": summary.trainings,
            "Val AUC": auc("val_auc"),
            "Test AUC": auc("test_auc"),
            "Test views": words("test_views", "{:.0f}"),
            "Search s": words("search_s", "{:.0f}"),
            "Training s": words("retraining_s", "{:.0f}"),
            "Total s": words("total_s", "{:.0f}"),
            "Device": summary.device,
        }
    )
