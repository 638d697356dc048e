"""Find cells by name: published ones, those that a run found, random ones, and files."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.core import paths
from helpers.darts.genotypes import PUBLISHED, Genotype, load, random_genotype
from helpers.darts.space import GenotypeError
from helpers.models.record import Model

# cells that a run finds itself: their model, and how to get them
SEARCHED, PERTURBED, HALVED = "searched", "searched_perturbation", "halving"
FOUND = {
    SEARCHED: ("darts_searched", "run notebooks/04_darts_search.ipynb first"),
    PERTURBED: ("darts_perturbation", "run notebooks/04_darts_search.ipynb first"),
    HALVED: ("darts_halving", "set HALVING_EPOCHS, which compares cells"),
}


@dataclass(frozen=True)
class NamedCell:
    """A cell, its model, and the cost of finding it."""

    model: Model
    genotype: Genotype
    # its origin; if this series searched it, search_seconds and search_device too
    cost: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the model's files."""
        return self.model.slug


def check_names(names: Sequence[str], random_cells: int) -> None:
    """Refuse a name that is neither that of a cell nor of a .json file that holds one.

    Away from Kaggle, a file below Kaggle's inputs need not exist: a push names it.

    Raises:
        GenotypeError: the name, and the nearest one that exists; or what is wrong in the file; or
            two cells have one name, or there is no cell.
        ArtifactError: the file does not hold JSON.
    """
    known = [*PUBLISHED, *FOUND, "random"]
    for name in names:
        if name.endswith(".json"):
            file = Path(name).expanduser()
            elsewhere = file.is_relative_to(paths.KAGGLE_INPUT) and not paths.on_kaggle()
            if len(file.stem) > paths.LONGEST_NAME:
                raise GenotypeError(
                    f"GENOTYPES: {name!r}: the model gets the name of the file, which may have at "
                    f"most {paths.LONGEST_NAME} letters: rename it"
                )
            if os.path.isfile(file):
                load(file)  # a damaged one is refused before anything is trained
            elif not elsewhere:
                raise GenotypeError(f"GENOTYPES: {name!r} is not a file")
        elif name not in known:
            lower = {k.lower(): k for k in known}
            close = difflib.get_close_matches(name.lower(), list(lower), n=1)
            hint = f"; did you mean {lower[close[0]]}?" if close else ""
            raise GenotypeError(
                f"GENOTYPES: no cell is called {name!r}{hint} (known: {', '.join(known)}, or the "
                "path of a .json file with a cell)"
            )
    slugs = [model.slug for model in models_of(names, random_cells)]
    if twice := [slug for slug in slugs if slugs.count(slug) > 1]:
        raise GenotypeError(
            f"GENOTYPES: two cells would both be called {twice[0]!r}: name the cell once, or "
            "rename one of the files"
        )
    if not slugs:
        raise GenotypeError(
            f"GENOTYPES={','.join(names)} with RANDOM_CELLS={random_cells} names no cell; name "
            f"some of {', '.join(known)}"
        )


def models_of(names: Sequence[str], random_cells: int) -> list[Model]:
    """Return the models of the cells with these names, in their order."""
    models = []
    for name in names:
        if name == "random":
            models += [random_cell(seed).model for seed in range(random_cells)]
        elif name.endswith(".json"):
            stem = re.sub(r"[^0-9A-Za-z]+", "_", Path(name).stem).strip("_").lower()
            models.append(Model(f"cell_{stem}"))
        else:
            models.append(Model(FOUND[name][0] if name in FOUND else name.lower()))
    return models


def named_cells(
    names: Sequence[str], of_run: Mapping[str, tuple[Genotype, dict[str, Any]]], random_cells: int
) -> list[NamedCell]:
    """Return the cells with these names, in their order.

    Args:
        names: keys of PUBLISHED or FOUND, "random" (as many as `random_cells`, drawn with the seeds
            0, 1, ...) or paths of genotype files.
        of_run: the cells that the run found, with their provenance, by name. A name of FOUND that
            is not there is skipped with a message.

    Raises:
        GenotypeError: an unknown name, a damaged file, two cells with one name, or no cell left.
    """
    check_names(names, random_cells)
    cells: list[NamedCell] = []
    for name in names:
        models = models_of([name], random_cells)
        if name in PUBLISHED:
            origin = {"origin": f"published as {name}"}
            cells.append(NamedCell(models[0], PUBLISHED[name], origin))
        elif name == "random":
            cells += [random_cell(seed) for seed in range(random_cells)]
        elif name in FOUND and name not in of_run:
            print(f"the cell {name!r} is skipped: {FOUND[name][1]} to have it trained here")
        else:
            genotype, about = of_run[name] if name in FOUND else load(Path(name).expanduser())
            cells.append(NamedCell(models[0], genotype, _cost(about, name)))
    if not cells:
        raise GenotypeError("GENOTYPES: no cell is left to train")
    return cells


def random_cell(seed: int) -> NamedCell:
    """Draw a cell; the same seed gives the same cell."""
    cost = {"origin": f"drawn at random, seed {seed}", "search_seconds": 0.0}
    return NamedCell(Model("random_cell", number=seed), random_genotype(seed), cost)


def _cost(about: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the cost in a provenance, which a user may have written."""
    given = about.get("seconds")
    return {
        "origin": str(about.get("method", Path(name).name)),
        "search_seconds": given if isinstance(given, int | float) and given >= 0 else None,
        "search_device": str(about.get("device", "")),
    }
