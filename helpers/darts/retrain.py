"""Networks of genotypes trained from random weights: the report's last two rows, and a random cell.

The recipe is that of Table 1 with DARTS's ImageNet extras (arXiv 1806.09055, appendix A.4):
auxiliary loss, label smoothing, clipped gradients. Such results are compared with a random cell of
the same space and budget, and over several seeds (Lindauer and Hutter, arXiv 1909.02453).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from helpers.core import seeding
from helpers.core.paths import RunPaths
from helpers.darts.genotypes import Genotype
from helpers.darts.named import NamedCell, named_cells
from helpers.darts.network import DerivedNetwork, build_derived, derived_spec
from helpers.datasets.cache import ImageCache
from helpers.models.complexity import count_macs, count_parameters
from helpers.models.spec import ModelSpec
from helpers.runs.names import display_name
from helpers.runs.settings import RetrainSettings
from helpers.runs.stages import Stage, load_run
from helpers.training.loop import Hooks
from helpers.training.trained import NUM_CLASSES, Recipe, Trained, load_trained, train_model

REFERENCES = ("cnn", "fbp")  # the models of 03 that the networks are compared with
BASELINES, FINETUNING = "02_features_baselines", "03_finetuning"


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
    return named_cells(settings.genotypes, stage.paths.genotype("searched"), settings.random_cells)


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
    """Train the network of every cell from random weights, once for each seed."""
    settings: RetrainSettings = stage.settings
    cache = stage.images(settings.retrain_image_size_px)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    recipes = [recipe_of(settings, cell.name, cell.genotype, cache, cell.cost) for cell in cells]
    return [one for recipe in recipes for one in train_model(stage, recipe, cache, seeds)]


def recipe_of(
    settings: RetrainSettings,
    name: str,
    genotype: Genotype,
    cache: ImageCache,
    cost: dict[str, Any] | None = None,
) -> Recipe:
    """Return how the network of a genotype is trained; `cost` tells what finding the cell took."""

    def facts(network: DerivedNetwork) -> dict[str, Any]:
        head = network.auxiliary_head
        return {
            "cell": name,
            "network": f"C={settings.retrain_channels}, L={settings.retrain_layers}",
            "image_size_px": cache.size_px,
            # of the network that predicts: the auxiliary head serves the training alone
            "parameters": count_parameters(network) - (count_parameters(head) if head else 0),
            "macs": count_macs(network, cache.size_px, cache.channels),
            "test_flips": settings.flip_test,
            "ema_decay": settings.ema_decay,
            **(cost or {}),
        }

    spec = network_spec(settings, genotype, cache)
    return Recipe(
        name,
        lambda seed: make_network(settings, genotype, cache, seed),
        settings.training,
        {"architecture": "derived", "network": spec.options, "drop_path": settings.drop_path},
        flips=settings.flip_test,
        hooks=lambda network: DropPathSchedule(network, settings.drop_path),
        facts=facts,
    )


def references(run_paths: RunPaths) -> list[Trained]:
    """Return the trainings of the two-layer CNN and of FBP that the run has, all their seeds."""
    return [trained for name in REFERENCES for trained in load_trained(run_paths, name)]


def describe(network: DerivedNetwork, image_size_px: int) -> pd.DataFrame:
    """Return parameters and multiply-adds of stem, cells and classifier, their sum at the end."""
    table = pd.DataFrame(network.cell_table(image_size_px))
    total = {"part": "all", "parameters": table.parameters.sum(), "macs": table.macs.sum()}
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    sizes = ["channels", "height_px", "width_px"]
    table[sizes] = table[sizes].astype("Int64")
    return table.fillna({"kind": ""})


def equal_epochs(models: Sequence[Trained]) -> pd.DataFrame:
    """Return each model's best validation AUC within the epochs that all have had, and in all.

    A model with several seeds has the mean over them.
    """
    common = min(len(model.history) for model in models)
    rows = []
    for model in models:
        aucs = [record["val_auc"] for record in model.history]
        rows.append(
            {
                "model": display_name(model.model),
                f"val AUC, first {common} epochs": max(aucs[:common]),
                "val AUC, all": max(aucs),
                "epochs": len(aucs),
            }
        )
    table = pd.DataFrame(rows)
    means = dict.fromkeys(table.columns[1:-1], "mean")
    return table.groupby("model", sort=False, as_index=False).agg({**means, "epochs": "max"})


def summary(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each trained cell, CNN and FBP: size, AUC, and the whole cost in seconds.

    `table` is the results table. Cells trained by an earlier call are listed too, with the settings
    of their own training. The seconds of retraining are the sum over the seeds.
    """
    by_name = table.set_index("model")
    # a cell that another search has found again was not trained again, but cost something else
    costs = {cell.name: cell.cost for cell in cells_of(stage)}
    rows = []
    for name in by_name.index:
        models = load_trained(stage.paths, name)
        if models and (name in REFERENCES or "cell" in models[0].facts):
            rows.append(_summary_row(name, models, by_name, costs.get(name, {})))
    return pd.DataFrame(rows)


def _summary_row(
    name: str, models: list[Trained], by_name: pd.DataFrame, cost: dict[str, Any]
) -> dict[str, Any]:
    first, facts = models[0], models[0].facts | cost
    seconds = sum(model.seconds for model in models)
    spent = [facts.get("search_seconds"), facts.get("selection_seconds")]
    parts = ("", "_low", "_high", "_mean", "_std")
    columns = [f"{side}_auc{part}" for side in ("val", "test") for part in parts]
    return {
        "model": name,
        "network": facts.get("network", ""),
        "parameters": facts.get("parameters", first.parameters),
        "macs": facts.get("macs"),
        "image_size_px": facts.get("image_size_px"),
        "epochs": len(first.history),
        "seeds": len(models),
        "test_flips": facts.get("test_flips"),
        **{column: by_name.loc[name].get(column) for column in columns if column in by_name},
        "search_s": spent[0],
        "selection_s": spent[1],
        "retraining_s": round(seconds, 1),
        "total_s": round(seconds + sum(value or 0.0 for value in spent), 1),
        "device": first.device,
        "search_device": facts.get("search_device", ""),
        "cell": facts.get("origin", ""),
    }


def backbone_note(run_paths: RunPaths) -> dict[str, str]:
    """Return the backbone of the rows of 02 and 03, for captions; empty without such rows."""
    stages = load_run(run_paths).get("stages", {})
    found = [stages.get(name, {}).get("backbone") for name in (FINETUNING, BASELINES)]
    return next(({"backbone": name} for name in found if name), {})


def cost_table(summary: pd.DataFrame) -> pd.DataFrame:
    """Return the summary in words: sizes with units, AUC in per cent, empty if unknown."""
    rows = []
    for row in summary.to_dict("records"):
        rows.append(
            {
                "Model": display_name(row["model"]),
                "Cell": row["cell"],
                "Network": row["network"],
                "Parameters": f"{row['parameters']:,}",
                "Multiply-adds": _text(row["macs"], "{:.3g} M", 1e6),
                "Image px": _text(row["image_size_px"], "{:.0f}"),
                "Epochs": row["epochs"],
                "Seeds": row["seeds"],
                "Val AUC": _auc_text(row, "val_auc"),
                "Test AUC": _auc_text(row, "test_auc"),
                "Test flips": {True: "yes", False: "no"}.get(row["test_flips"], ""),
                "Search s": _text(row["search_s"], "{:.0f}"),
                "Selection s": _text(row["selection_s"], "{:.0f}"),
                "Training s": f"{row['retraining_s']:.0f}",
                "Total s": f"{row['total_s']:.0f}",
                "Device": row["device"],
            }
        )
    return pd.DataFrame(rows)


def _text(value: Any, form: str, unit: float = 1.0) -> str:
    return "" if value is None or pd.isna(value) else form.format(value / unit)


def _auc_text(row: dict[str, Any], column: str) -> str:
    spread = _text(row.get(f"{column}_std"), " ± {:.1f}", 0.01)
    return _text(row.get(column), "{:.1f}", 0.01) + spread
