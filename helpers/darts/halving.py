"""Successive halving over real short trainings: which of many cells deserves a long training.

All candidates are trained for a few epochs, the best third of them for three times as many, and so
on (Jamieson and Talwalkar 2016, arXiv 1502.07943; for architectures Li and Talwalkar 2019, arXiv
1902.07638). The random cells among them are the population that a search has to beat (Yang et al.
2020, arXiv 1912.12522).
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

import pandas as pd

from helpers.darts.genotypes import PUBLISHED, Genotype
from helpers.darts.named import NamedCell, named_cells, random_cell

ETA = 3  # a third of the candidates continues, with three times the epochs
DRAWS = 5  # random cells to draw for each that takes part, to find some of similar size

Rung = Sequence[tuple[float, float]]  # validation AUC and seconds of each training


def candidates(
    searched: Sequence[NamedCell],
    given: Sequence[NamedCell],
    count: int,
    size_of: Callable[[Genotype], int],
) -> dict[str, list[NamedCell]]:
    """Return the cells to compare by kind: "searched", "file" (`given`), "published", "random".

    The `count` random cells are those of several draws whose size is nearest to the mean of the
    searched ones: a larger network is often better, however it was found.
    """
    drawn = [random_cell(seed) for seed in range(DRAWS * count if searched else count)]
    if searched:
        mean = statistics.fmean(size_of(cell.genotype) for cell in searched)
        nearest = sorted(drawn, key=lambda cell: abs(math.log(size_of(cell.genotype) / mean)))[
            :count
        ]
        drawn = [cell for cell in drawn if cell in nearest]
    published = named_cells(list(PUBLISHED), {}, 0)
    kinds = {"searched": [*searched], "file": [*given], "published": published, "random": drawn}
    return {kind: cells for kind, cells in kinds.items() if cells}


def successive_halving(
    names: Sequence[str],
    epochs: int,
    train_rung: Callable[[Sequence[str], int], Rung],
    most: int,
) -> pd.DataFrame:
    """Train `names` for `epochs`, the best third for three times as many, until one is left.

    `train_rung` returns the result of each name after so many epochs from random weights: the
    learning rate falls with the last epoch, so a short training is not the first part of a long
    one. No rung but the first has more than `most` epochs: the best of the rung before has won. The
    first of equal ones wins.

    Returns:
        A row for each training: epochs, model, val_auc, seconds, kept (it continues, or has won).
    """
    rungs = []
    while len(names) > 1:
        rows = [
            (epochs, name, *result)
            for name, result in zip(names, train_rung(names, epochs), strict=True)
        ]
        rung = pd.DataFrame(rows, columns=["epochs", "model", "val_auc", "seconds"])
        best = rung.sort_values("val_auc", ascending=False, kind="stable").model
        kept = len(best) // ETA if ETA * epochs <= most else 1
        names = best.iloc[: max(1, kept)].tolist()
        rungs.append(rung.assign(kept=rung.model.isin(names)))
        epochs *= ETA
    return pd.concat(rungs, ignore_index=True)
