"""Search cells in a run, compare them by halving, and train their networks; each piece once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import pandas as pd

from helpers.core import devices
from helpers.core.members import Member, judges
from helpers.darts import genotypes, named, network
from helpers.darts.genotypes import Genotype
from helpers.darts.named import HALVED, SEARCHED, NamedCell
from helpers.darts.search import Search
from helpers.darts.settings import RetrainSettings, SearchSettings
from helpers.datasets.cache import ImageCache
from helpers.runs import networks
from helpers.runs.networks import Job
from helpers.runs.run import Run
from helpers.training.fit import Fitted


def decisive(settings: SearchSettings, **others: Any) -> SearchSettings:
    """Return the settings, with those that do not affect a search reset, and `others` set."""
    default = SearchSettings()
    values = {name: getattr(default, name) for name in ("time_budget_min",)}
    return dataclasses.replace(settings, **values | others)


def save_cells(run: Run, searched: Search) -> None:
    """Write the cell of a search to genotypes/, with how it was found."""
    save(run, SEARCHED, searched.genotype, searched.provenance | {"run": run.paths.name})


def save(run: Run, name: str, genotype: Genotype, provenance: dict[str, Any]) -> None:
    """Write genotypes/<name>.json."""
    run.once(f"genotypes/{name}", genotypes.described, genotype, provenance)


def found_cells(run: Run) -> dict[str, tuple[Genotype, dict[str, Any]]]:
    """Return the cells that the run has found, with their provenance, by name."""
    files = {name: run.paths.genotype(name) for name in named.FOUND}
    return {name: genotypes.load(path) for name, path in files.items() if path.is_file()}


def named_cells(run: Run) -> list[NamedCell]:
    """Return the cells that GENOTYPES names; `named.named_cells` says what is refused."""
    settings: RetrainSettings = run.settings
    return named.named_cells(settings.genotypes, found_cells(run), settings.random_cells)


def costs(cells: Sequence[NamedCell]) -> dict[str, float | None]:
    """Return the search time of each cell (s; None if unknown), by the slug of its network."""
    return {cell.model.slug: cell.search_seconds for cell in cells}


def train(run: Run, cells: Sequence[NamedCell]) -> dict[str, list[Fitted]]:
    """Train the network of every cell from random weights, once for each seed, side by side."""
    settings: RetrainSettings = run.settings
    images = run.images(settings.retrain_image_size_px)
    members = judges(run.split, range(settings.seed, settings.seed + settings.seeds))
    jobs = [job(settings, cell, images, members) for cell in cells]
    return networks.train(run, jobs)


def job(
    settings: RetrainSettings,
    cell: NamedCell,
    images: ImageCache,
    members: Sequence[Member],
) -> Job:
    """Return the job that trains a cell's network: once per member."""
    shape = (images.size_px, images.channels)
    spec = network.network_spec(cell.genotype, settings.network, *shape)
    return Job(
        cell.model,
        members,
        functools.partial(network.build_network, spec),
        images,
        settings.training,
    )


def halve(run: Run) -> pd.DataFrame:
    """Train the candidates in rungs, and write the winner's cell to genotypes/halving.json.

    A rung trains as notebook 05 does, except for the number of epochs. The validation AUC of the
    last epoch decides, since the best epoch would favour unsteady curves. Candidates are not rows
    of the results. Of each cell the table has its title, kind and parameters too; it is empty if
    HALVING_EPOCHS is 0.
    """
    settings: RetrainSettings = run.settings
    if not settings.halving_epochs:
        return pd.DataFrame()
    named.check_names(settings.genotypes, settings.random_cells)  # before the halving
    images = run.images(settings.retrain_image_size_px)

    def size_of(genotype: Genotype) -> int:
        return network.parameters(genotype, settings.network, images.channels)

    def train_rung(names: Sequence[str], epochs: int) -> list[tuple[float, float]]:
        short = dataclasses.replace(settings, retrain_epochs=epochs, test_views=1)
        jobs = [job(short, cells[name], images, [Member(settings.seed)]) for name in names]
        fits = networks.train(run, jobs, folder=f"checkpoints/halving/{epochs}_epochs", add=False)
        return [(fits[name][0].history[-1]["val_auc"], fits[name][0].seconds) for name in names]

    given = [name for name in settings.genotypes if name.endswith(".json")]
    by_search = {name: cell for name, cell in found_cells(run).items() if name != HALVED}
    by_kind = named.candidates(
        named.named_cells([*by_search], by_search, 0) if by_search else [],
        named.named_cells(given, {}, 0) if given else [],
        settings.halving_cells,
        size_of,
    )
    cells = {cell.name: cell for group in by_kind.values() for cell in group}
    longest = settings.retrain_epochs  # as long as the training that follows
    trials = named.successive_halving([*cells], settings.halving_epochs, train_rung, longest)
    winner = cells[trials[trials.kept].model.iloc[-1]]
    searches = [cell.search_seconds or 0.0 for cell in by_kind.get("searched", [])]
    about = {
        "method": f"best of {len(cells)} by successive halving: {winner.model.title}",
        "seconds": round(trials.seconds.sum() + max(searches, default=0.0), 1),
        "device": devices.device_name(devices.default_device()),
    }
    save(run, HALVED, winner.genotype, about)
    kinds = {cell.name: kind for kind, group in by_kind.items() for cell in group}
    return trials.assign(
        title=trials.model.map({name: cell.model.title for name, cell in cells.items()}),
        kind=trials.model.map(kinds),
        parameters=trials.model.map({name: size_of(cell.genotype) for name, cell in cells.items()}),
    )
