"""Find cells by name: published ones, the run's own search, random ones, and files."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from helpers.darts.genotypes import PUBLISHED, Genotype, load, random_genotype
from helpers.darts.space import GenotypeError

SEARCHED, RANDOM = "searched", "random"
# The report calls the published cell DARTS_V2 "DARTS ImageNet".
_MODEL_NAMES = {"DARTS_V2": "darts_imagenet"}


@dataclass(frozen=True)
class NamedCell:
    """A cell, the name of its models, and what finding it has cost."""

    name: str  # of the predictions file
    genotype: Genotype
    origin: str
    search_seconds: float | None = None  # None: spent elsewhere, as for a published cell
    selection_seconds: float | None = None  # of a search that trains candidates before it decides
    search_device: str = ""

    @property
    def cost(self) -> dict[str, Any]:
        """Return origin and cost as plain values."""
        names = ("origin", "search_seconds", "selection_seconds", "search_device")
        return {name: getattr(self, name) for name in names}


def check_names(names: Sequence[str]) -> None:
    """Refuse a name that is neither that of a cell nor a file.

    Raises:
        GenotypeError: the name, and the nearest one that exists.
    """
    known = [*PUBLISHED, SEARCHED, RANDOM]
    if not names:
        raise GenotypeError(f"GENOTYPES is empty; name some of {', '.join(known)}")
    for name in names:
        if name in known or Path(name).expanduser().is_file():
            continue
        if name.endswith(".json"):
            raise GenotypeError(f"GENOTYPES: {name!r} is not a file")
        lower = {k.lower(): k for k in known}
        close = difflib.get_close_matches(name.lower(), list(lower), n=1)
        hint = f"; did you mean {lower[close[0]]}?" if close else ""
        raise GenotypeError(
            f"GENOTYPES: no cell is called {name!r}{hint} (known: {', '.join(known)}, or the path "
            "of a JSON file as the search writes it)"
        )


def absolute(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names, with the paths of files made absolute for use from another folder."""
    files = ((name, Path(name).expanduser()) for name in names)
    return tuple(str(f.absolute()) if f.is_file() and n not in PUBLISHED else n for n, f in files)


def named_cells(names: Sequence[str], searched: Path, random_cells: int) -> list[NamedCell]:
    """Return the cells with these names, in their order.

    Args:
        names: keys of PUBLISHED, "searched", "random" (as many as `random_cells`, drawn with the
            seeds 0, 1, ...) or paths of genotype files.
        searched: the file of the run's own search. If it is missing, "searched" is skipped with a
            message.

    Raises:
        GenotypeError: an unknown name, a damaged file, two cells with one name, or no cell left.
    """
    check_names(names)
    cells: list[NamedCell] = []
    for name in names:
        if name in PUBLISHED:
            model = _MODEL_NAMES.get(name, name.lower())
            cells.append(NamedCell(model, PUBLISHED[name], f"published as {name}"))
        elif name == RANDOM:
            for seed in range(random_cells):
                origin, drawn = f"drawn at random, seed {seed}", random_genotype(seed)
                cells.append(NamedCell(f"random_cell_{seed}", drawn, origin, 0.0, 0.0))
        elif name != SEARCHED:
            stem = re.sub(r"[^0-9A-Za-z]+", "_", Path(name).stem).strip("_").lower()
            cells.append(_from_file(f"cell_{stem}", Path(name).expanduser()))
        elif searched.is_file():
            cells.append(_from_file("darts_searched", searched))
        else:
            print(
                f"the searched cell is skipped: {searched.name} is not in the run's genotypes/; "
                "run notebooks/04_darts_search.ipynb first to have it trained here"
            )
    taken = [cell.name for cell in cells]
    for name in taken:
        if taken.count(name) > 1:
            raise GenotypeError(f"GENOTYPES: two cells would both be called {name!r}; rename one")
    if not cells:
        raise GenotypeError("GENOTYPES: no cell is left to train")
    return cells


def _from_file(name: str, path: Path) -> NamedCell:
    genotype, provenance = load(path)
    seconds = [provenance.get(key) for key in ("seconds", "selection_seconds")]
    for value in seconds:
        if value is not None and not (type(value) in (int, float) and 0 <= value < math.inf):
            raise GenotypeError(f"{path}: provenance: {value!r} is not a number of seconds")
    search, selection = seconds
    if selection is None and search:
        selection = 0.0
    origin, device = provenance.get("method", path.name), provenance.get("device", "")
    return NamedCell(name, genotype, str(origin), search, selection, str(device))
