"""Find cells by name: published ones, those that the run found, random ones, and files."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from helpers.core import paths
from helpers.darts.genotypes import PUBLISHED, Genotype, load, random_genotype
from helpers.darts.space import GenotypeError
from helpers.models.names import DISTILLED

_MODELS = {
    "DARTS_V2": "darts_imagenet",  # the report calls it "DARTS ImageNet"
    "searched": "darts_searched",
    "searched_perturbation": "darts_perturbation",
    "halving": "darts_halving",
}
BY_SEARCH = ("searched", "searched_perturbation")  # the cells that 04 writes
# cells that the run finds itself, by the names of their files, and how to get them
FOUND = dict.fromkeys(BY_SEARCH, "run notebooks/04_darts_search.ipynb first")
FOUND |= {"halving": "set HALVING_EPOCHS, which compares cells"}


@dataclass(frozen=True)
class NamedCell:
    """A cell, the name of its models, and the cost of finding it."""

    name: str  # of the predictions file
    genotype: Genotype
    # its origin; if this series searched it, search_seconds and search_device too
    cost: dict[str, Any] = field(default_factory=dict)


def check_names(names: Sequence[str], random_cells: int) -> None:
    """Refuse a name that is neither that of a cell nor of a .json file that holds one.

    Away from Kaggle, a file below Kaggle's inputs need not exist: a push names it.

    Raises:
        GenotypeError: the name, and the nearest one that exists; or what is wrong in the file; or
            two cells have one name, or there is no cell.
        ArtifactError: the file does not hold JSON.
    """
    known = [*PUBLISHED, *FOUND, "random"]
    if not names:
        raise GenotypeError(f"GENOTYPES is empty; name some of {', '.join(known)}")
    for name in names:
        if name.endswith(".json"):
            file = Path(os.path.expanduser(name))
            elsewhere = file.is_relative_to(paths.KAGGLE_INPUT) and not paths.on_kaggle()
            if not os.path.isfile(file) and not elsewhere:
                raise GenotypeError(f"GENOTYPES: {name!r} is not a file")
            taken = model_names([name], 0)[0].endswith(DISTILLED)
            if taken or len(Path(name).stem) > paths.LONGEST_NAME:
                raise GenotypeError(
                    f"GENOTYPES: {name!r}: the model gets the name of the file, which may have at "
                    f"most {paths.LONGEST_NAME} letters and not end in {DISTILLED!r}: rename it"
                )
            if os.path.isfile(file):
                load(file)  # a damaged one is refused before anything is trained
        elif name not in known:
            lower = {k.lower(): k for k in known}
            close = difflib.get_close_matches(name.lower(), list(lower), n=1)
            hint = f"; did you mean {lower[close[0]]}?" if close else ""
            raise GenotypeError(
                f"GENOTYPES: no cell is called {name!r}{hint} (known: {', '.join(known)}, or the "
                "path of a .json file with a cell)"
            )
    models = model_names(names, random_cells)
    for model in models:
        if models.count(model) > 1:
            raise GenotypeError(
                f"GENOTYPES: two cells would both be called {model!r}: name the cell once, or "
                "rename one of the files"
            )
    if not models:
        raise GenotypeError("GENOTYPES=random with RANDOM_CELLS=0: no cell is left to train")


def model_names(names: Sequence[str], random_cells: int) -> list[str]:
    """Return the names of the models of these cells, in their order."""
    models = []
    for name in names:
        if name == "random":
            models += [f"random_cell_{seed}" for seed in range(random_cells)]
        elif name.endswith(".json"):
            stem = re.sub(r"[^0-9A-Za-z]+", "_", Path(name).stem).strip("_").lower()
            models.append(f"cell_{stem}")
        else:
            models.append(_MODELS.get(name, name.lower()))
    return models


def named_cells(names: Sequence[str], folder: Path, random_cells: int) -> list[NamedCell]:
    """Return the cells with these names, in their order.

    Args:
        names: keys of PUBLISHED or FOUND, "random" (as many as `random_cells`, drawn with the seeds
            0, 1, ...) or paths of genotype files.
        folder: the run's own cells. A name of FOUND is skipped with a message if its file is not
            there.

    Raises:
        GenotypeError: an unknown name, a damaged file, two cells with one name, or no cell left.
    """
    check_names(names, random_cells)
    cells: list[NamedCell] = []
    for name in names:
        models = model_names([name], random_cells)
        if name in PUBLISHED:
            origin = {"origin": f"published as {name}"}
            cells.append(NamedCell(models[0], PUBLISHED[name], origin))
        elif name == "random":
            cells += [random_cell(seed) for seed in range(random_cells)]
        elif name not in FOUND:
            cells.append(_from_file(models[0], Path(name).expanduser()))
        elif (path := folder / f"{name}.json").is_file():
            cells.append(_from_file(models[0], path))
        else:
            print(
                f"the cell {name!r} is skipped: {path.name} is not in the run's genotypes/; "
                f"{FOUND[name]} to have it trained here"
            )
    if not cells:
        raise GenotypeError("GENOTYPES: no cell is left to train")
    return cells


def random_cell(seed: int) -> NamedCell:
    """Draw a cell; the same seed gives the same cell."""
    cost = {"origin": f"drawn at random, seed {seed}", "search_seconds": 0.0}
    return NamedCell(f"random_cell_{seed}", random_genotype(seed), cost)


def _from_file(name: str, path: Path) -> NamedCell:
    genotype, about = load(path)
    given, device = about.get("seconds"), str(about.get("device", ""))
    seconds = given if isinstance(given, int | float) and given >= 0 else None  # unknown
    origin = str(about.get("method", path.name))
    cost = {"origin": origin, "search_seconds": seconds, "search_device": device}
    return NamedCell(name, genotype, cost)
