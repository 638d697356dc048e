"""Say in a sentence what a search decided."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from helpers.darts.genotypes import from_json, new_edges
from helpers.darts.search import Record
from helpers.darts.space import EDGES, KINDS

CLEAR_LEAD = 1.5  # factor by which the best operation of an edge outweighs the next
SURE = 2.0  # standard errors, by which perturbation's choice has to lead
CELL_EDGES = 16  # of both kinds of cell

History = Sequence[Record]


def clear_edges(record: Record) -> int:
    """Return on how many edges the best operation but `none` outweighs the next by CLEAR_LEAD."""
    count = 0
    for kind in KINDS:
        second, first = np.sort(np.array(record[f"alpha_{kind}"])[:, 1:], axis=1)[:, -2:].T
        count += int((np.exp(first - second) >= CLEAR_LEAD).sum())  # of softmax(alpha)
    return count


def confirmed_edges(record: Record, worth: Mapping[str, Any]) -> int:
    """Return on how many edges perturbation is sure that the best operation is that of alpha."""
    count = 0
    for kind in KINDS:
        best = np.array(record[f"alpha_{kind}"])[:, 1:].argmax(axis=1)
        same = np.array(worth[kind]["operations"]).argmax(axis=1) == best
        count += int((same & (np.array(worth[kind]["leads"]) >= SURE)).sum())
    return count


def verdict(history: History, worth: Mapping[str, Any]) -> str:
    """Return a sentence that says whether the search decided anything, and why.

    `worth` is what `perturbation.worths` returned. The search decided the cell if one operation
    leads clearly on at least half of all edges, perturbation confirms the operation on half of
    them, and at most two of the cell's edges changed in the last quarter of the epochs.
    """
    before, end = history[max(0, len(history) * 3 // 4 - 1)], history[-1]
    clear, confirmed, total = clear_edges(end), confirmed_edges(end, worth), 2 * len(EDGES)
    changed = new_edges(*(from_json(record["genotype"]) for record in (before, end)))
    signs = [2 * clear >= total, 2 * confirmed >= total]
    result = "decided a part of the cell" if any(signs) else "decided hardly anything"
    if all(signs) and changed <= 2:
        result = "decided the cell"
    return (
        f"The search {result}: one operation leads clearly on {clear} of the {total} edges of "
        "the search space, selection by perturbation is sure of the same operation on "
        f"{confirmed}, and {changed} of the cells' {CELL_EDGES} edges changed in the last quarter "
        "of the epochs."
    )
