"""Discrete DARTS cells: derived from alpha, random, published, in files; found by name.

The random cells are the population that a search has to beat (Li and Talwalkar 2019, arXiv
1902.07638; Lindauer and Hutter, arXiv 1909.02453; Yang et al. 2020, arXiv 1912.12522).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from helpers.core import files, paths
from helpers.darts import space
from helpers.darts.space import EDGES, KINDS, NODE_STATES, OPS, GenotypeError
from helpers.models.record import Model

Edge = tuple[str, int]  # (operation, input state) of an edge of a discrete cell


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell: 8 (operation, input state) pairs, two for each node.

    They are stored sorted by input, so that equal genotypes build networks with equal parameter
    names. A cell outside the search space raises GenotypeError.
    """

    normal: tuple[Edge, ...]
    reduce: tuple[Edge, ...]

    def __post_init__(self) -> None:
        for kind in KINDS:
            object.__setattr__(self, kind, _checked_edges(kind, getattr(self, kind)))

    def edges(self, kind: str) -> tuple[tuple[str, int, int], ...]:
        """Return (operation, source state, target state) of the 8 edges of the `kind` cell."""
        pairs = getattr(self, kind)
        return tuple((op, source, 2 + row // 2) for row, (op, source) in enumerate(pairs))


def _checked_edges(kind: str, edges: Any) -> tuple[Edge, ...]:
    """Return the edges sorted within each node; raise GenotypeError if one is not in the space."""
    count = 2 * len(NODE_STATES)
    if not isinstance(edges, list | tuple) or len(edges) != count:
        wanted = f"{count} (operation, input) pairs, two for each node"
        raise GenotypeError(f"{kind}: expected {wanted}, got {edges!r}")
    checked: list[Edge] = []
    for row, edge in enumerate(edges):
        node = 2 + row // 2
        operation, source = edge if isinstance(edge, list | tuple) and len(edge) == 2 else ("", 0)
        if operation not in tuple(OPS) or type(source) is not int or not 0 <= source < node:
            wanted = f"an operation ({', '.join(OPS)}) and an earlier state (0 to {node - 1})"
            raise GenotypeError(f"{kind}[{row}]: expected {wanted}, got {edge!r}")
        if row % 2 and source == checked[-1][1]:
            both = f"both edges of node {node} come from state {source}"
            raise GenotypeError(f"{kind}: {both}: choose two inputs")
        checked.append((operation, source))
    nodes = (sorted(checked[row : row + 2], key=lambda edge: edge[1]) for row in range(0, count, 2))
    return tuple(edge for node in nodes for edge in node)


def count_skips(genotype: Genotype) -> int:
    """Count the skip connections of the normal cell; more than 2 are a warning sign."""
    return sum(operation == "skip_connect" for operation, _ in genotype.normal)


def all_edges(genotype: Genotype) -> set[tuple[str, str, int, int]]:
    """Return (kind of cell, operation, source state, target state) of all 16 edges."""
    return {(kind, *edge) for kind in KINDS for edge in genotype.edges(kind)}


def derive_genotype(
    alpha_normal: Any,
    alpha_reduce: Any,
    max_skips: int = -1,
    beta_normal: Any = None,
    beta_reduce: Any = None,
) -> Genotype:
    """Derive the discrete cells from alpha (14, 1 + operations) of each kind (DARTS, section 2.4).

    Each node keeps the two edges whose best non-none weight is largest (see `strengths`). While the
    normal cell has more than `max_skips` skip connections (-1: any number), the weakest one loses
    its weight and the cell is derived again (P-DARTS, arXiv 1904.12760, section 3.3).
    """
    weights, skip = strengths(alpha_normal, beta_normal), [*OPS].index("skip_connect")
    reduce = strongest_edges(strengths(alpha_reduce, beta_reduce))
    while True:
        genotype = Genotype(strongest_edges(weights), reduce)
        if max_skips < 0 or count_skips(genotype) <= max_skips:
            return genotype
        edges = genotype.edges("normal")
        rows = [
            EDGES.index((source, node)) for name, source, node in edges if name == "skip_connect"
        ]
        # Below every softmax weight: the operation cannot come back even if the others are 0.
        weights[min(rows, key=lambda row: weights[row][skip])][skip] = -1.0


def strengths(alpha: Any, beta: Any) -> list[list[float]]:
    """Return the weights of the operations on each edge (14, operations).

    They are the softmax over none and all operations, times that of beta (14,) over the edges into
    a node if there is one (PC-DARTS, arXiv 1907.05737, equation 5).
    """
    weights, names = torch.as_tensor(alpha).double().softmax(dim=1), space.primitives()
    if (columns := weights.shape[1]) != len(names):
        wrong = f"alpha has {columns} columns, but there are {len(names)}: {', '.join(names)}"
        raise GenotypeError(f"{wrong}. Was it searched with other operations?")
    if beta is not None:
        weights = weights * space.softmax_by_node(torch.as_tensor(beta).double())[:, None]
    return weights[:, 1:].tolist()


def strongest_edges(weights: list[list[float]]) -> tuple[Edge, ...]:
    """Return each node's two strongest edges, each with its strongest operation.

    The strength of an edge is its largest weight. Ties go to the lower index.
    """
    edges: list[Edge] = []
    for node in NODE_STATES:
        rows = [row for row, (_, target) in enumerate(EDGES) if target == node]
        for row in sorted(rows, key=lambda row: -max(weights[row]))[:2]:
            best = weights[row].index(max(weights[row]))
            edges.append(([*OPS][best], EDGES[row][0]))
    return tuple(edges)


def random_genotype(seed: int) -> Genotype:
    """Draw one of the 180 * 49^4 distinct cells of each kind, all equally probable."""
    draw = random.Random(seed)
    inputs = [s for _ in KINDS for node in NODE_STATES for s in draw.sample(range(node), 2)]
    edges = tuple((draw.choice(tuple(OPS)), source) for source in inputs)
    return Genotype(edges[:8], edges[8:])


def to_json(genotype: Genotype) -> dict[str, Any]:
    """Return the genotype as a dict of lists."""
    return json.loads(json.dumps(asdict(genotype)))


def from_json(data: Any) -> Genotype:
    """Return the genotype in a dict from `to_json`; GenotypeError names the field that is wrong."""
    if not isinstance(data, Mapping) or {*data} != {*KINDS}:
        got = [*data] if isinstance(data, Mapping) else data
        raise GenotypeError(f"expected an object with {', '.join(KINDS)}, got {got!r}")
    return Genotype(**data)


def described(genotype: Genotype, provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the content of a file that `load` reads: the genotype and how it was found."""
    return {"genotype": to_json(genotype), "provenance": dict(provenance)}


def load(path: Path) -> tuple[Genotype, dict[str, Any]]:
    """Load a genotype and its provenance from a file: see `described`, or a genotype alone."""
    content, provenance = files.load_json(path), {}
    if isinstance(content, dict) and "genotype" in content:
        content, provenance = content["genotype"], content.get("provenance", {})
    if not isinstance(provenance, dict):
        raise GenotypeError(f"{path}: provenance: not an object")
    try:
        return from_json(content), provenance
    except GenotypeError as error:
        raise GenotypeError(f"{path}: genotype: {error}") from error


def _published(*cells: str) -> Genotype:
    """Return the normal and the reduction cell in "operation.input", with bars between nodes."""
    names = dict(zip(("mp", "ap", "sk", "s3", "s5", "d3", "d5"), space.STANDARD, strict=True))
    pairs = ([edge.split(".") for edge in cell.replace("|", " ").split()] for cell in cells)
    return Genotype(*(tuple((names[op], int(source)) for op, source in cell) for cell in pairs))


PUBLISHED = {
    # arXiv 1806.09055: first order, second order
    "DARTS_V1": _published(
        "s3.1 s3.0|sk.0 s3.1|sk.0 s3.1|s3.0 sk.2", "mp.0 mp.1|sk.2 mp.0|mp.0 sk.2|sk.2 ap.0"
    ),
    "DARTS_V2": _published(
        "s3.0 s3.1|s3.0 s3.1|s3.1 sk.0|sk.0 d3.2", "mp.0 mp.1|sk.2 mp.1|mp.0 sk.2|sk.2 mp.1"
    ),
    # arXiv 1907.05737: searched on CIFAR-10, on ImageNet
    "PC_DARTS_CIFAR": _published(
        "s3.1 sk.0|s3.0 d3.1|s5.0 s3.1|ap.0 d3.1", "s5.1 mp.0|s5.1 s5.2|s3.0 s3.3|s3.1 s3.2"
    ),
    "PC_DARTS_IMAGENET": _published(
        "sk.1 s3.0|s3.0 sk.1|s3.1 s3.3|s3.1 d5.4", "s3.0 sk.1|d5.2 mp.1|s3.2 s3.1|s5.0 s3.3"
    ),
    # arXiv 1904.12760
    "PDARTS": _published(
        "sk.0 d3.1|sk.0 s3.1|s3.1 s3.3|s3.0 d5.4", "ap.0 s5.1|s3.0 d5.2|mp.0 d3.1|d3.1 d5.3"
    ),
}

SEARCHED = "searched"  # the cell that a run finds itself


@dataclass(frozen=True)
class NamedCell:
    """A cell and its model."""

    model: Model
    genotype: Genotype
    search_seconds: float | None = None  # of finding it, if known


def random_cell(seed: int) -> NamedCell:
    """Draw a cell; the same seed gives the same cell."""
    return NamedCell(Model("random_cell", number=seed), random_genotype(seed), search_seconds=0.0)


def model_of(name: str) -> Model:
    """Return the model of a published cell, of the searched one, or of a file's cell."""
    if name in PUBLISHED or name == SEARCHED:
        return Model("darts_searched" if name == SEARCHED else name.lower())
    stem, known = Path(name).stem, [*PUBLISHED, SEARCHED, "random"]
    if not name.endswith(".json"):
        other = f"known: {', '.join(known)}, or the path of a .json file with a cell"
        raise GenotypeError(f"GENOTYPES: no cell is called {name!r} ({other})")
    if len(stem) > paths.LONGEST_NAME:  # the model gets the name of the file
        most = f"a name has at most {paths.LONGEST_NAME} letters"
        raise GenotypeError(f"GENOTYPES: {name!r}: {most}: rename it")
    return Model("cell_" + re.sub(r"[^0-9A-Za-z]+", "_", stem).strip("_").lower())


def check_names(names: Sequence[str], random_cells: int) -> None:
    """Raise GenotypeError unless each name is that of a cell, or of a .json file that holds one."""
    models: list[Model] = []
    for name in names:
        if name == "random":
            models += [random_cell(seed).model for seed in range(random_cells)]
            continue
        models.append(model_of(name))
        if name.endswith(".json"):
            load(Path(name).expanduser())  # a bad one is refused before anything is trained
    if len({*models}) < len(models) or not models:
        called = ", ".join(repr(model.slug) for model in models) or "none"
        given = f"GENOTYPES={','.join(names)} with RANDOM_CELLS={random_cells}"
        wanted = "name at least one cell, each with a name of its own"
        raise GenotypeError(f"{given} gives the cells {called}: {wanted}")


def named_cells(names: Sequence[str], folder: Path, random_cells: int = 0) -> list[NamedCell]:
    """Return the cells with these names, in their order.

    A name is a key of PUBLISHED; "random" (`random_cells`, of seeds 0, 1, ...); "searched", whose
    cell is searched.json in `folder` and is skipped if it is not there; or a file.
    """
    check_names(names, random_cells)
    cells: list[NamedCell] = []
    for name in names:
        file = folder / "searched.json" if name == SEARCHED else Path(name).expanduser()
        if name in PUBLISHED:
            cells.append(NamedCell(model_of(name), PUBLISHED[name]))
        elif name == "random":
            cells += map(random_cell, range(random_cells))
        elif name == SEARCHED and not file.is_file():
            wanted = "run notebooks/04_darts_search.ipynb first to have it trained here"
            print(f"the cell {name!r} is skipped: {wanted}")
        else:
            genotype, about = load(file)
            seconds = about.get("seconds")  # a user may have written the file
            known = isinstance(seconds, int | float) and seconds >= 0
            cells.append(NamedCell(model_of(name), genotype, seconds if known else None))
    if not cells:
        raise GenotypeError("GENOTYPES: no cell is left to train")
    return cells
