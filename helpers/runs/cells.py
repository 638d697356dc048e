"""Search cells in a run, compare them by halving, and train their networks; each piece once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd

from helpers.darts import genotypes, named
from helpers.darts.genotypes import Genotype
from helpers.darts.named import PERTURBED, SEARCHED, NamedCell
from helpers.darts.perturbation import Selection
from helpers.darts.search import Search
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.datasets.split_file import keeps_groups_apart
from helpers.runs.stages import Run


def training_images(split: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a search sees; with groups if the split keeps these apart."""
    columns = ["id", "label", *(["group"] if keeps_groups_apart(split) else [])]
    return split.loc[split.split == "train", columns]


def decisive(settings: SearchSettings, **others: Any) -> SearchSettings:
    """Return settings that differ only if the search's result may differ."""
    default = SearchSettings()
    names = ("tensorboard", "time_budget_min", "perturbation_images")
    values = {name: getattr(default, name) for name in names}
    return dataclasses.replace(settings, **values | others)


def save_cells(run: Run, found: Search, chosen: Selection) -> None:
    """Write the cells of a search to genotypes/, each with how it was found."""
    about = found.provenance | {"run": run.paths.name}
    save(run, SEARCHED, found.genotype, about)
    perturbed = about | {
        "method": f"{about['method']}, by perturbation",
        "images": chosen.images,
        "selection_seconds": chosen.seconds,
        "seconds": round(about["seconds"] + chosen.seconds, 1),
    }
    save(run, PERTURBED, chosen.genotype, perturbed)


def save(run: Run, name: str, genotype: Genotype, provenance: dict[str, Any]) -> None:
    """Write genotypes/<name>.json."""
    run.once(f"genotypes/{name}", genotypes.described, genotypes.to_json(genotype), provenance)


def found_cells(run: Run) -> dict[str, tuple[Genotype, dict[str, Any]]]:
    """Return the cells that the run has found, with their provenance, by name."""
    files = {name: run.paths.genotype(name) for name in named.FOUND}
    return {name: genotypes.load(path) for name, path in files.items() if path.is_file()}


def named_cells(run: Run) -> list[NamedCell]:
    """Return the cells that GENOTYPES names; `named.named_cells` says what is refused."""
    settings: RetrainSettings = run.settings
    return named.named_cells(settings.genotypes, found_cells(run), settings.random_cells)
