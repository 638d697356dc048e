"""Discrete DARTS cells: how alphas become one, random ones, the published ones, JSON in and out."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from math import prod
from pathlib import Path
from typing import Any

import torch

from helpers.core.files import write_bytes
from helpers.darts.operations import PRIMITIVES, softmax_by_node
from helpers.darts.space import (
    EDGES,
    KINDS,
    NODE_STATES,
    OPERATIONS,
    Edge,
    GenotypeError,
    checked_concat,
    checked_edges,
    checked_kind,
    is_int,
)

_NODE_INPUTS = {node: tuple(combinations(range(node), 2)) for node in NODE_STATES}
CELL_COUNT = prod(len(_NODE_INPUTS[node]) * len(OPERATIONS) ** 2 for node in NODE_STATES)
"""Distinct discrete cells of one kind: 180 * 49^4 = 1,037,664,180."""

_FIELDS = ("normal", "normal_concat", "reduce", "reduce_concat")


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell; equal and equally hashed whatever the order of their edges.

    `normal` and `reduce` hold 8 (operation, input state) pairs, two for each of the nodes 2 to 5;
    the `_concat` fields name the nodes that make up the output. Edges are stored sorted by input,
    so that equal genotypes also build networks with equal parameter names.

    Raises GenotypeError for anything outside the search space.
    """

    normal: tuple[Edge, ...]
    normal_concat: tuple[int, ...]
    reduce: tuple[Edge, ...]
    reduce_concat: tuple[int, ...]

    def __post_init__(self) -> None:
        for field in ("normal", "reduce"):
            concat = f"{field}_concat"
            object.__setattr__(self, field, checked_edges(field, getattr(self, field)))
            object.__setattr__(self, concat, checked_concat(concat, getattr(self, concat)))

    def edges(self, kind: str) -> tuple[tuple[str, int, int], ...]:
        """(operation, source state, target state) of the 8 edges of the `kind` cell."""
        pairs = self.normal if checked_kind(kind) == "normal" else self.reduce
        return tuple((op, source, 2 + row // 2) for row, (op, source) in enumerate(pairs))

    def concat(self, kind: str) -> tuple[int, ...]:
        """States that the output of the `kind` cell concatenates."""
        return self.normal_concat if checked_kind(kind) == "normal" else self.reduce_concat


def count_skips(genotype: Genotype, kind: str = "normal") -> int:
    """Number of skip connections in the `kind` cell; more than 2 in the normal one is a warning."""
    return sum(operation == "skip_connect" for operation, _, _ in genotype.edges(kind))


# --- from alphas -----------------------------------------------------------------------------


def derive_genotype(
    alpha_normal: Any,
    alpha_reduce: Any,
    max_skips: int | None = None,
    beta_normal: Any = None,
    beta_reduce: Any = None,
) -> Genotype:
    """The discrete cells that the alphas stand for (DARTS, section 2.4).

    alpha_*: (14, 8), before the softmax, rows as in EDGES, columns as in PRIMITIVES. Per edge the
    softmax over all eight; per node the two edges whose best non-none weight is largest; on each
    of the two its best non-none operation. Ties go to the lower index.
    beta_*: (14,), before the softmax over the edges of a node; multiplies the edge's weights
    (PC-DARTS, arXiv 1907.05737, equation 5).
    max_skips: while the normal cell has more skip connections than this, the weakest of them
    loses its weight and the cell is derived again (P-DARTS, arXiv 1904.12760, section 3.3).

    Raises GenotypeError for a wrong shape, values that are not finite, or a negative `max_skips`.
    """
    if max_skips is not None and (not is_int(max_skips) or max_skips < 0):
        raise GenotypeError(f"max_skips: expected None or a count from 0, got {max_skips!r}")
    weights = _edge_weights("normal", alpha_normal, beta_normal)
    normal = _strongest_edges(weights)
    skip = OPERATIONS.index("skip_connect")
    while max_skips is not None:
        rows = [
            row
            for row, (source, node) in enumerate(EDGES)
            if ("skip_connect", source) in normal[2 * node - 4 : 2 * node - 2]
        ]
        if len(rows) <= max_skips:
            break
        # Below every softmax weight, so that the operation cannot come back even if others are 0.
        weights[min(rows, key=lambda row: weights[row][skip])][skip] = -1.0
        normal = _strongest_edges(weights)
    reduce = _strongest_edges(_edge_weights("reduce", alpha_reduce, beta_reduce))
    return Genotype(normal, NODE_STATES, reduce, NODE_STATES)


def _edge_weights(cell: str, alpha: Any, beta: Any) -> list[list[float]]:
    """(14, 7) weights of the operations other than none, softmax (and beta) applied."""
    alpha = _finite(f"alpha_{cell}", alpha, (len(EDGES), len(PRIMITIVES)))
    weights = alpha.softmax(dim=1)
    if beta is not None:
        beta = _finite(f"beta_{cell}", beta, (len(EDGES),))
        weights = weights * softmax_by_node(beta).unsqueeze(1)
    return weights[:, 1:].tolist()


def _finite(name: str, values: Any, shape: tuple[int, ...]) -> torch.Tensor:
    values = torch.as_tensor(values).detach().to("cpu", torch.float64)
    if tuple(values.shape) != shape:
        raise GenotypeError(f"{name}: expected shape {shape}, got {tuple(values.shape)}")
    if not values.isfinite().all():
        raise GenotypeError(f"{name}: holds values that are not finite; the search has diverged")
    return values


def _strongest_edges(weights: list[list[float]]) -> tuple[Edge, ...]:
    edges: list[Edge] = []
    for node in NODE_STATES:
        rows = [row for row, (_, target) in enumerate(EDGES) if target == node]
        for row in sorted(rows, key=lambda row: -max(weights[row]))[:2]:
            best = weights[row].index(max(weights[row]))
            edges.append((OPERATIONS[best], EDGES[row][0]))
    return tuple(edges)


# --- random cells ----------------------------------------------------------------------------


def cell_from_index(index: int) -> tuple[Edge, ...]:
    """The `index`-th of the CELL_COUNT distinct cells, as 8 edges; each index is another cell."""
    if not is_int(index) or not 0 <= index < CELL_COUNT:
        raise GenotypeError(f"cell index {index!r} is not in 0 to {CELL_COUNT - 1}")
    edges: list[Edge] = []
    for node in NODE_STATES:
        index, pair = divmod(index, len(_NODE_INPUTS[node]))
        for source in _NODE_INPUTS[node][pair]:
            index, operation = divmod(index, len(OPERATIONS))
            edges.append((OPERATIONS[operation], source))
    return tuple(edges)


def random_genotype(seed: int) -> Genotype:
    """A genotype drawn uniformly from the distinct cells, the same for the same seed.

    The baseline that a search has to beat (Lindauer and Hutter, arXiv 1909.02453).
    """
    if not is_int(seed):  # Random(None) would take the clock's
        raise GenotypeError(f"seed: expected a whole number, got {seed!r}")
    draw = random.Random(seed)
    normal, reduce = (cell_from_index(draw.randrange(CELL_COUNT)) for _ in KINDS)
    return Genotype(normal, NODE_STATES, reduce, NODE_STATES)


# --- JSON ------------------------------------------------------------------------------------


def to_json(genotype: Genotype) -> dict[str, Any]:
    """The genotype as a dict of lists, ready for `json.dump`."""
    return {
        "normal": [list(edge) for edge in genotype.normal],
        "normal_concat": list(genotype.normal_concat),
        "reduce": [list(edge) for edge in genotype.reduce],
        "reduce_concat": list(genotype.reduce_concat),
    }


def from_json(data: Any) -> Genotype:
    """The genotype in a dict made by `to_json`; GenotypeError names the field that is wrong."""
    if not isinstance(data, Mapping):
        raise GenotypeError(f"expected an object with {', '.join(_FIELDS)}, got {data!r}")
    for field in _FIELDS:
        if field not in data:
            raise GenotypeError(f"{field}: missing")
    for field in data:
        if field not in _FIELDS:
            raise GenotypeError(f"{field}: unknown field; expected {', '.join(_FIELDS)}")
    return Genotype(*(data[field] for field in _FIELDS))


def save(path: str | Path, genotype: Genotype, provenance: Mapping[str, Any]) -> None:
    """Write the genotype and how it was found (`provenance`) as JSON, atomically.

    Raises GenotypeError when `provenance` holds something that JSON cannot, ArtifactError when the
    file cannot be written.
    """
    path = Path(path)
    content = {"genotype": to_json(genotype), "provenance": dict(provenance)}
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise GenotypeError(
            f"{path}: provenance cannot be written as JSON ({error}); "
            "use plain strings, finite numbers, lists and dicts"
        ) from error
    write_bytes(path, (text + "\n").encode())


def load(path: str | Path) -> tuple[Genotype, dict[str, Any]]:
    """(genotype, provenance) of a file written by `save`.

    Raises FileNotFoundError, or GenotypeError that names the file and the field.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except IsADirectoryError as error:
        raise GenotypeError(f"{path}: a folder, not a JSON file") from error
    except (ValueError, RecursionError) as error:  # also bytes that are not UTF-8
        raise GenotypeError(f"{path}: not a JSON file ({error})") from error
    if not isinstance(content, dict) or not isinstance(content.get("provenance"), dict):
        raise GenotypeError(f"{path}: provenance: missing, or not an object")
    try:
        return from_json(content.get("genotype")), content["provenance"]
    except GenotypeError as error:
        raise GenotypeError(f"{path}: genotype: {error}") from error


# --- published cells -------------------------------------------------------------------------

_SHORT = {
    "s3": "sep_conv_3x3",
    "s5": "sep_conv_5x5",
    "d3": "dil_conv_3x3",
    "d5": "dil_conv_5x5",
    "sk": "skip_connect",
    "mp": "max_pool_3x3",
    "ap": "avg_pool_3x3",
}


def _published(normal: str, reduce: str) -> Genotype:
    """From "operation.input" pairs, nodes separated by bars."""
    cells = [
        tuple(
            (_SHORT[operation], int(source))
            for operation, source in (edge.split(".") for edge in cell.replace("|", " ").split())
        )
        for cell in (normal, reduce)
    ]
    return Genotype(cells[0], NODE_STATES, cells[1], NODE_STATES)


PUBLISHED = {
    # arXiv 1806.09055: first order, second order
    "DARTS_V1": _published(
        normal="s3.1 s3.0 | sk.0 s3.1 | sk.0 s3.1 | s3.0 sk.2",
        reduce="mp.0 mp.1 | sk.2 mp.0 | mp.0 sk.2 | sk.2 ap.0",
    ),
    "DARTS_V2": _published(
        normal="s3.0 s3.1 | s3.0 s3.1 | s3.1 sk.0 | sk.0 d3.2",
        reduce="mp.0 mp.1 | sk.2 mp.1 | mp.0 sk.2 | sk.2 mp.1",
    ),
    # arXiv 1907.05737: searched on CIFAR-10, on ImageNet
    "PC_DARTS_CIFAR": _published(
        normal="s3.1 sk.0 | s3.0 d3.1 | s5.0 s3.1 | ap.0 d3.1",
        reduce="s5.1 mp.0 | s5.1 s5.2 | s3.0 s3.3 | s3.1 s3.2",
    ),
    "PC_DARTS_IMAGENET": _published(
        normal="sk.1 s3.0 | s3.0 sk.1 | s3.1 s3.3 | s3.1 d5.4",
        reduce="s3.0 sk.1 | d5.2 mp.1 | s3.2 s3.1 | s5.0 s3.3",
    ),
    # arXiv 1904.12760
    "PDARTS": _published(
        normal="sk.0 d3.1 | sk.0 s3.1 | s3.1 s3.3 | s3.0 d5.4",
        reduce="ap.0 s5.1 | s3.0 d5.2 | mp.0 d3.1 | d3.1 d5.3",
    ),
}
"""Cells by name, from the papers named above."""
