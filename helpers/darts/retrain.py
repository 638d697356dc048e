"""Networks of genotypes trained from random weights: the report's last two rows, and a random cell.

The recipe is Table 1's with DARTS's ImageNet extras (arXiv 1806.09055, appendix A.4): auxiliary
loss, label smoothing, clipped gradients. A random cell of the same space with the same budget, and
several seeds, are what such results are compared with (Lindauer and Hutter, arXiv 1909.02453).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from helpers.core import files, seeding
from helpers.core.paths import RunPaths
from helpers.darts.genotypes import Genotype
from helpers.darts.named import NamedCell, named_cells
from helpers.darts.network import DerivedNetwork, build_derived, derived_spec
from helpers.datasets.cache import ImageCache
from helpers.models.complexity import count_macs, count_parameters
from helpers.runs.names import display_name
from helpers.runs.settings import RetrainSettings
from helpers.runs.stages import Stage, load_run
from helpers.training.loop import Hooks
from helpers.training.trained import (
    NUM_CLASSES,
    Trained,
    average_seeds,
    further_seed_of,
    load_history,
    load_seeds,
    names_of_seeds,
    train_once,
)

REFERENCES = ("cnn", "fbp")  # the models of 03 that the networks are compared with
BASELINES, FINETUNING = "02_features_baselines", "03_finetuning"


class DropPathSchedule(Hooks):
    """Drop path growing linearly: `drop_path` * epoch / epochs, epochs counted from 0."""

    def __init__(self, network: DerivedNetwork, drop_path: float) -> None:
        self.network, self.drop_path = network, drop_path

    def epoch_starts(self, epoch: int, epochs: int) -> None:
        """Set the epoch's probability."""
        self.network.set_drop_path(self.drop_path * epoch / epochs)


def cells_of(stage: Stage) -> list[NamedCell]:
    """The cells that the stage's GENOTYPES name; see `named_cells` for what is refused."""
    settings: RetrainSettings = stage.settings
    return named_cells(settings.genotypes, stage.paths.genotype("searched"), settings.random_cells)


def make_network(
    settings: RetrainSettings, genotype: Genotype, cache: ImageCache, seed: int
) -> DerivedNetwork:
    """The network of a genotype with initial weights that depend on the seed alone."""
    spec = derived_spec(
        genotype,
        settings.retrain_channels,
        settings.retrain_layers,
        NUM_CLASSES,
        cache.size_px,
        cache.channels,
        auxiliary=settings.auxiliary,
    )
    with seeding.torch_stream(seed, "initial weights network"):
        return build_derived(spec)


def train_genotype(
    stage: Stage,
    name: str,
    genotype: Genotype,
    split: pd.DataFrame,
    cache: ImageCache,
    seed: int,
    facts: dict[str, Any] | None = None,
) -> Trained:
    """Train the network of a genotype from scratch, once; killed at any time it goes on.

    Writes the checkpoint, predictions and learning curve `name`; `facts` (JSON-able) are kept
    beside the curve.
    """
    settings: RetrainSettings = stage.settings
    network = make_network(settings, genotype, cache, seed)
    head = network.auxiliary_head
    about = {
        "seed": seed,
        "network": f"C={settings.retrain_channels}, L={settings.retrain_layers}",
        "image_size_px": cache.size_px,
        # of the network that predicts: the auxiliary head is there for training alone
        "parameters": count_parameters(network) - (count_parameters(head) if head else 0),
        "macs": count_macs(network, cache.size_px, cache.channels),
        "test_flips": settings.flip_test,
        "ema_decay": settings.ema_decay,
    }
    return train_once(
        stage,
        name,
        network,
        split,
        cache,
        settings.training,
        seed,
        settings.flip_test,
        hooks=DropPathSchedule(network, settings.drop_path),
        extra={"network": network.spec.options, "drop_path": settings.drop_path},
        facts=about | (facts or {}),
    )


def train_cells(
    stage: Stage, cells: Sequence[NamedCell], split: pd.DataFrame, cache: ImageCache
) -> list[Trained]:
    """Train every cell with every seed: `name` for the first, `name_seed1`, ... for the others.

    Of several seeds the mean of the scores is a model too, `name_averaged`.
    """
    settings: RetrainSettings = stage.settings
    found = []
    for cell in cells:
        names = names_of_seeds(stage.paths, cell.name, settings.seeds)
        for number, name in enumerate(names):
            facts = {"cell": cell.name, **cell.cost}
            seed = settings.seed + number
            found.append(train_genotype(stage, name, cell.genotype, split, cache, seed, facts))
        average_seeds(stage, names, split)
    return found


def references(run_paths: RunPaths) -> list[Trained]:
    """The two-layer CNN and FBP of 03, those that have been trained, with all of their seeds."""
    return [model for name in REFERENCES for model in load_seeds(run_paths, name)]


def describe(network: DerivedNetwork, image_size_px: int) -> pd.DataFrame:
    """Parameters and multiply-adds of stem, cells and classifier, and their sum at the end."""
    table = pd.DataFrame(network.cell_table(image_size_px))
    total = {"part": "all", "parameters": table.parameters.sum(), "macs": table.macs.sum()}
    table = pd.concat([table, pd.DataFrame([total])], ignore_index=True)
    sizes = ["channels", "height_px", "width_px"]
    table[sizes] = table[sizes].astype("Int64")
    return table.fillna({"kind": ""})


def equal_epochs(models: Sequence[Trained]) -> pd.DataFrame:
    """Each model's best validation AUC within as many epochs as all have had, and in all.

    Of several seeds the mean.
    """
    common = min(len(model.history) for model in models)
    rows = []
    for model in models:
        aucs = [record["val_auc"] for record in model.history]
        rows.append(
            {
                "model": display_name(further_seed_of(model.name) or model.name),
                f"val AUC, first {common} epochs": max(aucs[:common]),
                "val AUC, all": max(aucs),
                "epochs": len(aucs),
            }
        )
    table = pd.DataFrame(rows)
    means = dict.fromkeys(table.columns[1:-1], "mean")
    return table.groupby("model", sort=False, as_index=False).agg({**means, "epochs": "max"})


def summary(stage: Stage, table: pd.DataFrame) -> pd.DataFrame:
    """One row for each trained cell, CNN and FBP: size, AUC, and the whole cost in seconds.

    `table` is `results.results_table`. Also cells trained by an earlier call are listed, with the
    settings of their own training. Several seeds make one row: AUC as mean and standard deviation,
    seconds of retraining as their sum.
    """
    by_name = table.set_index("model")
    groups = {name: found for name in REFERENCES if (found := load_seeds(stage.paths, name))}
    for path in sorted(stage.paths.metrics("any").parent.glob("*_history.json")):
        name = path.stem.removesuffix("_history")
        record = files.load_json(path)
        cell = record.get("facts", {}).get("cell") if isinstance(record, dict) else None
        if cell and stage.paths.predictions(name).is_file():
            groups.setdefault(cell, []).append(load_history(name, path))
    order = [name for name in by_name.index if name in groups]
    # a cell that another search has found again was not trained again, but cost something else
    costs = {cell.name: cell.cost for cell in cells_of(stage)}
    rows = [_summary_row(name, groups[name], by_name, costs.get(name, {})) for name in order]
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
    """The backbone of the rows that 02 and 03 have left, for captions; empty without them."""
    stages = load_run(run_paths).get("stages", {})
    found = [stages.get(name, {}).get("backbone") for name in (FINETUNING, BASELINES)]
    return next(({"backbone": name} for name in found if name), {})


def cost_table(summary: pd.DataFrame) -> pd.DataFrame:
    """The summary in words: sizes with units, AUC in per cent, empty where nothing is known."""
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
