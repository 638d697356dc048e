"""Count what a search decided: the choices that lead by more than those of permuted labels.

The strength of an operation on an edge is softmax(alpha), with partial channels times softmax(beta)
over the inputs of the node. A cell keeps two inputs for each node, and an operation on each.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from helpers.core.finding import Finding
from helpers.darts.genotypes import strengths
from helpers.darts.operations import OPS
from helpers.darts.space import EDGES, KINDS

History = Sequence[Mapping[str, Any]]  # of `search.alternate`


class Choice(NamedTuple):
    """A choice of a cell, and log(its strength / that of the next best)."""

    kind: str  # of the cell
    edge: int | None  # row of alpha whose operation was chosen; None: a node's two inputs
    chosen: str  # the operation, or the states "0, 1"
    lead: float


def choices(record: Mapping[str, Any]) -> list[Choice]:
    """Return the choices that an epoch's alpha (and beta) makes, see `search.architecture`.

    For each kind of cell: the operation of every edge that is kept (before `max_skips`), and the
    inputs of every node that has more than two; their lead is the second input's on the third.
    """
    made, names = [], list(OPS)
    for kind in KINDS:
        strength = np.log(strengths(record[f"alpha_{kind}"], record[f"beta_{kind}"]))
        nodes = np.array([node for _, node in EDGES[: len(strength)]])
        best = strength.max(axis=1)
        for node in np.unique(nodes):
            rows = np.flatnonzero(nodes == node)
            rows = rows[np.argsort(-best[rows], kind="stable")]
            for row in sorted(rows[:2]):
                second, first = np.sort(strength[row])[-2:]
                operation = names[int(strength[row].argmax())]
                made.append(Choice(kind, int(row), operation, float(first - second)))
            if len(rows) > 2:
                kept = ", ".join(str(EDGES[row][0]) for row in sorted(rows[:2]))
                made.append(Choice(kind, None, kept, float(best[rows[1]] - best[rows[2]])))
    return made


def limit_of(null: History) -> float:
    """Return the largest lead of a null search (labels permuted): above it a choice counts.

    It is a single draw: with nothing to find, one search in two has a larger lead than its null.
    """
    return max(choice.lead for choice in choices(null[-1]))


def decided(history: History, limit: float) -> list[Choice]:
    """Return the choices of the last epoch that lead by more than the limit."""
    return [choice for choice in choices(history[-1]) if choice.lead > limit]


def finding(history: History, limit: float) -> Finding:
    """Return how many choices the search decided, with a verdict.

    "The cells" needs half of the choices above the limit, "a part" a quarter. A quarter still
    happens by luck (in two of 20 pairs of permuted searches on ELPV, `tests/benchmarks`).
    """
    made, sure = len(choices(history[-1])), len(decided(history, limit))
    verdict = "next to nothing decided" if sure else "nothing decided"
    if 4 * sure >= made:
        verdict = "the cells decided" if 2 * sure >= made else "a part of the cells decided"
    return Finding(f"choices beyond chance, of {made}", sure, verdict=verdict, unit="")
