"""Find cells by name (published, found by a run, random, in files), and choose one by halving.

Successive halving: Jamieson and Talwalkar 2016, arXiv 1502.07943; for architectures Li and
Talwalkar 2019, arXiv 1902.07638. The random cells are the population that a search has to beat
(Yang et al. 2020, arXiv 1912.12522).
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from helpers.core import paths
from helpers.darts.genotypes import PUBLISHED, Genotype, load, random_genotype
from helpers.darts.space import GenotypeError
from helpers.models.record import Model

# cells that a run finds itself: their model, and how to get them
FOUND = {
    "searched": ("darts_searched", "run notebooks/04_darts_search.ipynb first"),
    "halving": ("darts_halving", "set HALVING_EPOCHS, which compares cells"),
}
ETA = 3  # a third of the candidates continues, with three times the epochs
DRAWS = 5  # random cells to draw for each that takes part, to find some of similar size
Rung = Sequence[tuple[float, float]]  # validation AUC and seconds of each training


@dataclass(frozen=True)
class NamedCell:
    """A cell and its model."""

    model: Model
    genotype: Genotype
    search_seconds: float | None = None  # of finding it, if known


def check_names(names: Sequence[str], random_cells: int) -> None:
    """Raise GenotypeError unless each name is that of a cell, or of a .json file that holds one."""
    known = [*PUBLISHED, *FOUND, "random"]
    slugs: list[str] = []
    for name in names:
        if name == "random":
            slugs += [random_cell(seed).model.slug for seed in range(random_cells)]
            continue
        if name not in known and not name.endswith(".json"):
            other = f"known: {', '.join(known)}, or the path of a .json file with a cell"
            raise GenotypeError(f"GENOTYPES: no cell is called {name!r} ({other})")
        if len(Path(name).stem) > paths.LONGEST_NAME:  # the model gets the name of the file
            most = f"a name has at most {paths.LONGEST_NAME} letters"
            raise GenotypeError(f"GENOTYPES: {name!r}: {most}: rename it")
        if name not in known:
            load(Path(name).expanduser())  # a bad one is refused before anything is trained
        slugs.append(model_of(name).slug)
    if len({*slugs}) < len(slugs) or not slugs:
        raise GenotypeError(
            f"GENOTYPES={','.join(names)} with RANDOM_CELLS={random_cells} gives the cells "
            f"{', '.join(map(repr, slugs)) or 'none'}: name some, and no two that are called alike"
        )


def model_of(name: str) -> Model:
    """Return the model of a published cell, of one that a run finds, or of a file's cell."""
    if name.endswith(".json"):
        stem = re.sub(r"[^0-9A-Za-z]+", "_", Path(name).stem).strip("_").lower()
        return Model(f"cell_{stem}")
    return Model(FOUND[name][0] if name in FOUND else name.lower())


def named_cells(names: Sequence[str], folder: Path, random_cells: int = 0) -> list[NamedCell]:
    """Return the cells with these names, in their order.

    A name is a key of PUBLISHED; "random" (`random_cells`, of seeds 0, 1, ...); a key of FOUND,
    whose cell is NAME.json in `folder` and is skipped if it is not there; or a file.
    """
    check_names(names, random_cells)
    cells: list[NamedCell] = []
    for name in names:
        file = folder / f"{name}.json" if name in FOUND else Path(name).expanduser()
        if name in PUBLISHED:
            cells.append(NamedCell(model_of(name), PUBLISHED[name]))
        elif name == "random":
            cells += map(random_cell, range(random_cells))
        elif name in FOUND and not file.is_file():
            print(f"the cell {name!r} is skipped: {FOUND[name][1]} to have it trained here")
        else:
            genotype, about = load(file)
            seconds = about.get("seconds")  # a user may have written the file
            known = isinstance(seconds, int | float) and seconds >= 0
            cells.append(NamedCell(model_of(name), genotype, seconds if known else None))
    if not cells:
        raise GenotypeError("GENOTYPES: no cell is left to train")
    return cells


def random_cell(seed: int) -> NamedCell:
    """Draw a cell; the same seed gives the same cell."""
    return NamedCell(Model("random_cell", number=seed), random_genotype(seed), search_seconds=0.0)


def candidates(
    searched: Sequence[NamedCell],
    given: Sequence[NamedCell],
    count: int,
    size_of: Callable[[Genotype], int],
) -> dict[str, list[NamedCell]]:
    """Return the cells to compare by kind: "searched", "file" (`given`), "published", "random".

    The `count` random cells are those of `DRAWS` times as many whose size is nearest to the mean
    of the searched cells: a larger network is often better, however its cell was found.
    """
    drawn = [random_cell(seed) for seed in range(DRAWS * count if searched else count)]
    if searched:
        mean = statistics.fmean(size_of(cell.genotype) for cell in searched)
        drawn.sort(key=lambda cell: abs(math.log(size_of(cell.genotype) / mean)))
        drawn = sorted(drawn[:count], key=lambda cell: cell.model.number or 0)
    published = [NamedCell(model_of(name), cell) for name, cell in PUBLISHED.items()]
    kinds = {"searched": [*searched], "file": [*given], "published": published, "random": drawn}
    return {kind: cells for kind, cells in kinds.items() if cells}


def halve(
    by_kind: Mapping[str, Sequence[NamedCell]],
    epochs: int,
    train_rung: Callable[[Sequence[NamedCell], int], Rung],
    most: int,
) -> tuple[NamedCell, pd.DataFrame]:
    """Train all cells for `epochs`, the best third for three times as many, until one is left.

    `train_rung(cells, epochs)` trains the network of each from scratch: the learning rate falls
    until the last epoch, so a short training is not the start of a long one. If the next rung would
    have more than `most` epochs, the best of this one wins. Ties go to the first. Return the
    winner, and a row for each training; `kept`: it continues, or has won.
    """
    kind_of = {cell.model.slug: kind for kind, cells in by_kind.items() for cell in cells}
    left = {cell.model.slug: cell for cells in by_kind.values() for cell in cells}
    rungs = []
    while len(left) > 1:
        rung = pd.DataFrame({"epochs": epochs, "model": [*left]})
        rung["title"] = [cell.model.title for cell in left.values()]
        rung["kind"] = rung.model.map(kind_of)
        rung[["val_auc", "seconds"]] = train_rung([*left.values()], epochs)
        best = rung.sort_values("val_auc", ascending=False, kind="stable").model
        kept = len(best) // ETA if ETA * epochs <= most else 1
        left = {slug: left[slug] for slug in best.iloc[: max(1, kept)]}
        rungs.append(rung.assign(kept=rung.model.isin(left)))
        epochs *= ETA
    (winner,) = left.values()
    return winner, pd.concat(rungs, ignore_index=True)
