"""Successive halving over real short trainings: which of many cells deserves a long training.

All candidates are trained for a few epochs, the best third of them for three times as many, and so
on (Jamieson and Talwalkar 2016, arXiv 1502.07943; for architectures Li and Talwalkar 2019, arXiv
1902.07638). The random cells among them are the population that a search has to beat (Yang et al.
2020, arXiv 1912.12522).
"""

from __future__ import annotations

import dataclasses
import functools
import math
import statistics
from collections.abc import Callable, Sequence

import pandas as pd
import torch

from helpers.core import processes
from helpers.core.members import Member
from helpers.darts import genotypes
from helpers.darts.named import BY_SEARCH, NamedCell, check_names, named_cells, random_cell
from helpers.darts.retrain import make_network, recipe_of
from helpers.darts.settings import RetrainSettings
from helpers.datasets.cache import ImageCache
from helpers.models.complexity import count_parameters
from helpers.models.names import display_name
from helpers.runs.stages import Stage
from helpers.training.distillation import find_teacher
from helpers.training.trained import Trained, train_member

ETA = 3  # a third of the candidates continues, with three times the epochs
DRAWS = 5  # random cells to draw for each that takes part, to find some of similar size


def candidates(stage: Stage) -> dict[str, list[NamedCell]]:
    """Return the cells to compare by kind: searched in this run, file, published, and random.

    Those of kind "file" are in the .json files that GENOTYPES names. The random cells are those of
    several draws whose size is nearest to the mean of the searched ones: a larger network is often
    better, however it was found.
    """
    folder, count = stage.paths.genotypes_root, stage.settings.halving_cells
    cache = stage.images(stage.settings.retrain_image_size_px)
    names = [name for name in BY_SEARCH if (folder / f"{name}.json").is_file()]
    given = [name for name in stage.settings.genotypes if name.endswith(".json")]
    kinds = {"searched": names, "file": given, "published": list(genotypes.PUBLISHED)}
    cells = {kind: named_cells(own, folder, 0) for kind, own in kinds.items() if own}
    drawn = [random_cell(seed) for seed in range(DRAWS * count if names else count)]
    if names:
        size = functools.partial(parameters, stage.settings, cache=cache)
        mean = statistics.fmean(map(size, cells["searched"]))
        nearest = sorted(drawn, key=lambda cell: abs(math.log(size(cell) / mean)))[:count]
        drawn = [cell for cell in drawn if cell in nearest]
    return cells | {"random": drawn}


def parameters(settings: RetrainSettings, cell: NamedCell, cache: ImageCache) -> int:
    """Return the number of weights of a cell's network, without the auxiliary head."""
    settings = dataclasses.replace(settings, auxiliary=False)
    with torch.device("meta"):  # a network of shapes alone
        return count_parameters(make_network(settings, cell.genotype, cache, 0))


def run_halving(stage: Stage) -> pd.DataFrame:
    """Train the candidates in rungs, and write the winner's cell to genotypes/halving.json.

    A rung trains as notebook 05 does, except for the number of epochs, and from random weights
    again: the learning rate falls with the last epoch, so a short training is not the first part of
    a long one. The validation AUC of the last epoch decides, since the best epoch would favour
    unsteady curves. All files are in checkpoints/halving/: candidates are not rows of the results.

    Returns:
        A row for each training: epochs, model, val_auc, seconds, kept (the cell continues, or has
        won), kind, parameters (of the network that predicts, without the auxiliary head). The table
        is empty if HALVING_EPOCHS is 0.
    """
    settings: RetrainSettings = stage.settings
    if not settings.halving_epochs:
        return pd.DataFrame()
    # errors here or below come now, not after the halving
    check_names(settings.genotypes, settings.random_cells)
    if settings.distill:
        find_teacher(stage)
    by_kind = candidates(stage)
    cells = {cell.name: cell for own in by_kind.values() for cell in own}
    cache, member = stage.images(settings.retrain_image_size_px), Member(settings.seed)

    def train_rung(names: Sequence[str], epochs: int) -> list[Trained]:
        short = dataclasses.replace(settings, retrain_epochs=epochs)
        own = [dataclasses.replace(cells[n], name=f"halving/{epochs}_epochs/{n}") for n in names]
        recipes = [recipe_of(short, cell, cache) for cell in own]
        return [train_member(stage, recipe, cache, member) for recipe in recipes]

    longest = settings.retrain_epochs  # as long as the training that follows
    trials = successive_halving(list(cells), settings.halving_epochs, train_rung, longest)
    winner = cells[trials[trials.kept].model.iloc[-1]]
    method = f"best of {len(cells)} by successive halving: {display_name(winner.name)}"
    # perturbation's seconds include those of the search behind it
    searches = [cell.cost.get("search_seconds") or 0.0 for cell in by_kind.get("searched", ())]
    seconds = trials.seconds.sum() + max(searches, default=0.0)
    about = {"method": method, "seconds": round(seconds, 1), "device": processes.device_name()}
    save = functools.partial(genotypes.save, genotype=winner.genotype, provenance=about)
    inputs = [genotypes.to_json(winner.genotype), about]
    stage.once("halving", inputs, save, path=stage.paths.genotype("halving"))
    kinds = {cell.name: kind for kind, own in by_kind.items() for cell in own}
    sizes = {name: parameters(settings, cell, cache) for name, cell in cells.items()}
    return trials.assign(kind=trials.model.map(kinds), parameters=trials.model.map(sizes))


def successive_halving(
    names: Sequence[str],
    epochs: int,
    train_rung: Callable[[Sequence[str], int], list[Trained]],
    most: int,
) -> pd.DataFrame:
    """Train `names` for `epochs`, the best third for three times as many, until one is left.

    Args:
        names: the candidates. The first of equal ones wins.
        epochs: of the first rung.
        train_rung: trains the cells of these names for so many epochs from random weights, and
            returns their trainings in the same order.
        most: no rung has more epochs, except the first: the best of the rung before it has won.

    Returns:
        The table of `run_halving` without kind and parameters.
    """
    rungs = []
    while len(names) > 1:
        rows = [
            (epochs, name, one.history[-1]["val_auc"], one.seconds)
            for name, one in zip(names, train_rung(names, epochs), strict=True)
        ]
        rung = pd.DataFrame(rows, columns=["epochs", "model", "val_auc", "seconds"])
        best = rung.sort_values("val_auc", ascending=False, kind="stable").model
        kept = len(best) // ETA if ETA * epochs <= most else 1
        names = best.iloc[: max(1, kept)].tolist()
        rungs.append(rung.assign(kept=rung.model.isin(names)))
        epochs *= ETA
    return pd.concat(rungs, ignore_index=True)
