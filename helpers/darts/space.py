"""The search space of DARTS cells: operations, edges, and what a discrete cell may hold.

States are numbered as in DARTS (Liu et al., arXiv 1806.09055): 0 and 1 are the cell's two inputs,
2 to 5 its four nodes. Each node of a discrete cell keeps two edges, each with one operation.
"""

from __future__ import annotations

from typing import Any

from helpers.darts.operations import PRIMITIVES

OPERATIONS = PRIMITIVES[1:]
"""What an edge of a discrete cell may be: every primitive except `none`."""

NODES = 4
NODE_STATES = tuple(range(2, 2 + NODES))
EDGES = tuple((source, node) for node in NODE_STATES for source in range(node))
"""(source, target) states of the 14 candidate edges, in the order of alpha's rows."""

KINDS = ("normal", "reduction")

Edge = tuple[str, int]
"""(operation, input state) of an edge of a discrete cell."""


class GenotypeError(ValueError):
    """A genotype, or a file that should hold one, is not valid; the message names the culprit."""


def checked_kind(kind: str) -> str:
    """The kind, or a GenotypeError that names the two that there are."""
    if kind not in KINDS:
        raise GenotypeError(f"unknown cell kind {kind!r}; use one of {', '.join(KINDS)}")
    return kind


def is_int(value: Any) -> bool:
    """True for whole numbers; True and False are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def checked_edges(field: str, edges: Any) -> tuple[Edge, ...]:
    """The edges as sorted (op, input) pairs, or a GenotypeError that names the field."""
    if not isinstance(edges, (list, tuple)) or len(edges) != 2 * NODES:
        got = len(edges) if isinstance(edges, (list, tuple)) else repr(edges)
        raise GenotypeError(
            f"{field}: expected {2 * NODES} (operation, input) pairs, two for each of the "
            f"{NODES} nodes, got {got}"
        )
    checked = [_checked_edge(f"{field}[{i}]", edge, 2 + i // 2) for i, edge in enumerate(edges)]
    for node in NODE_STATES:
        pair = sorted(checked[2 * node - 4 : 2 * node - 2], key=lambda edge: edge[1])
        if pair[0][1] == pair[1][1]:
            raise GenotypeError(
                f"{field}: both edges of node {node} come from state {pair[0][1]}; "
                "a node's two edges need two different inputs"
            )
        checked[2 * node - 4 : 2 * node - 2] = pair
    return tuple(checked)


def _checked_edge(place: str, edge: Any, node: int) -> Edge:
    if not isinstance(edge, (list, tuple)) or len(edge) != 2:
        raise GenotypeError(f"{place}: expected an (operation, input) pair, got {edge!r}")
    operation, source = edge
    if operation == "none":
        raise GenotypeError(
            f"{place}: 'none' is no edge of a discrete cell; choose one of {', '.join(OPERATIONS)}"
        )
    if operation not in OPERATIONS:
        raise GenotypeError(
            f"{place}: unknown operation {operation!r}; choose one of {', '.join(OPERATIONS)}"
        )
    if not is_int(source) or not 0 <= source < node:
        raise GenotypeError(
            f"{place}: input {source!r} of node {node} is not an earlier state (0 to {node - 1})"
        )
    return operation, source


def checked_concat(field: str, concat: Any) -> tuple[int, ...]:
    """The concatenated states, or a GenotypeError that names the field."""
    valid = isinstance(concat, (list, tuple)) and len(concat) > 0
    if not valid or not all(is_int(s) and s in NODE_STATES for s in concat):
        raise GenotypeError(
            f"{field}: expected some of the node states {', '.join(map(str, NODE_STATES))}, "
            f"got {concat!r}"
        )
    if len(set(concat)) != len(concat):
        raise GenotypeError(f"{field}: a state is named twice in {concat!r}")
    return tuple(sorted(concat))
