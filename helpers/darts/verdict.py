"""Count what a search decided: the choices that lead by more than they would by noise alone.

The strength of an operation on an edge is softmax(alpha), with partial channels times softmax(beta)
over the inputs of the node. A cell keeps two inputs for each node, and an operation on each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from helpers.core.finding import Finding
from helpers.darts.architect import BETA_RATE, BETAS
from helpers.darts.genotypes import strengths
from helpers.darts.operations import OPS
from helpers.darts.settings import SearchSettings
from helpers.darts.space import EDGES, KINDS

SEARCHES, QUANTILE = 100, 0.95  # simulated noise searches, and the share of them below the limit
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


def noise_limit(history: History, settings: SearchSettings) -> float:
    """Simulate searches of pure noise; return the 95 % quantile of their largest leads.

    The gradients of alpha and beta are random, but have the same mean in every epoch, because the
    same images come back. Their size does not matter, since Adam normalises it. Weight decay, which
    makes leads smaller, is left out.
    """
    steps = math.ceil(history[-1]["images"] / settings.batch_size)  # of an epoch
    edges = len(history[-1]["alpha_normal"])
    draws = torch.Generator().manual_seed(0)
    shape = (SEARCHES, len(KINDS), edges, len(OPS) + 2)  # the last column is beta
    values = torch.nn.Parameter(torch.zeros(shape))
    adam = torch.optim.Adam([values], settings.alpha_lr, BETAS)
    mean = torch.randn(shape, generator=draws) / math.sqrt(steps)  # of all images
    for _ in range(settings.epochs - settings.alpha_warmup):
        noise = torch.randn((steps, *shape), generator=draws)
        for gradient in noise - noise.mean(dim=0) + mean:
            values.grad = gradient
            adam.step()
    largest = []
    for kinds in values.detach():
        record: dict[str, Any] = {}
        for kind, columns in zip(KINDS, kinds, strict=True):
            record[f"alpha_{kind}"] = columns[:, :-1]
            record[f"beta_{kind}"] = BETA_RATE * columns[:, -1] if settings.partial > 1 else None
        largest.append(max(choice.lead for choice in choices(record)))
    return float(np.quantile(largest, QUANTILE))


def null_limit(null: History, settings: SearchSettings) -> float:
    """Return the larger of the limit of noise and the largest lead of a null search.

    `null` is the history of the same search with permuted labels in alpha's half. Such labels move
    alpha too. It is a single draw: with nothing to find, up to one search in two exceeds the limit.
    """
    return max(noise_limit(null, settings), *(choice.lead for choice in choices(null[-1])))


def decided(history: History, limit: float) -> list[Choice]:
    """Return the choices of the last epoch that lead by more than the limit."""
    return [choice for choice in choices(history[-1]) if choice.lead > limit]


def finding(history: History, limit: float) -> Finding:
    """Return how many choices the search decided, by `null_limit`, with a verdict.

    "The cells" needs half of the choices above the limit, "a part" a quarter. A quarter still
    happens by luck (in two of 20 pairs of permuted searches on ELPV, `tests/benchmarks`).
    """
    made, sure = len(choices(history[-1])), len(decided(history, limit))
    verdict = "next to nothing decided" if sure else "nothing decided"
    if 4 * sure >= made:
        verdict = "the cells decided" if 2 * sure >= made else "a part of the cells decided"
    return Finding(f"choices beyond chance, of {made}", sure, verdict=verdict, unit="")
