"""Say what a search decided: edge by edge, against selection by perturbation, and in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.special import softmax

from helpers.darts.draw import STATE_NAMES
from helpers.darts.genotypes import Genotype, from_json, new_edges
from helpers.darts.guard import Record, genotype_of
from helpers.darts.operations import softmax_by_node
from helpers.darts.space import EDGES, KINDS, NODE_STATES, OPERATIONS

CLEAR_LEAD = 1.5  # an edge is decided if its best operation outweighs the next by this factor
SURE = 2.0  # standard errors, by which perturbation's choice has to lead
UNDECIDED = float(np.log(8))  # entropy in nats of equal weights
CELL_EDGES = 16  # of both kinds of cell

History = Sequence[Record]


def edge_name(edge: tuple[int, int]) -> str:
    """Return "source → target", with the states named as in the drawings."""
    source, target = edge
    return f"{STATE_NAMES[source]} → {STATE_NAMES[target]}"


def leads(record: Record, kind: str) -> np.ndarray:
    """Return the factor by which the best operation of each edge but `none` outweighs the next."""
    second, first = np.sort(np.array(record[f"alpha_{kind}"])[:, 1:], axis=1)[:, -2:].T
    return np.exp(first - second)  # of softmax(alpha)


def edge_table(record: Record, worth: Mapping[str, Any]) -> pd.DataFrame:
    """Return a row for each edge of both kinds of cell: the arg max of alpha beside perturbation.

    `operation` is the best but `none`, with its `weight` and its `lead` over the next one;
    `perturbation` is that without which the loss rises most (`loss_rise`; `sure`: by `SURE`
    standard errors more than without the next; `edge_loss_rise`: without the edge). With partial
    channels `edge_weight` is softmax(beta), which multiplies the weights.

    Args:
        record: an epoch's entry in the history.
        worth: what `perturbation.worths` returned.
    """
    tables = []
    for kind in KINDS:
        weights = softmax(np.array(record[f"alpha_{kind}"]), axis=-1)[:, 1:]  # (14, 7)
        worths, beta = np.array(worth[kind]["operations"]), record[f"beta_{kind}"]
        lead = leads(record, kind)
        columns = {
            "kind": kind,
            "edge": [edge_name(edge) for edge in EDGES],
            "operation": np.array(OPERATIONS)[weights.argmax(axis=1)],
            "weight": weights.max(axis=1).round(3),
            "lead": lead.round(2),
            "decided": lead >= CLEAR_LEAD,
            "edge_weight": None if beta is None else softmax_by_node(torch.tensor(beta)).numpy(),
            "perturbation": np.array(OPERATIONS)[worths.argmax(axis=1)],
            "loss_rise": worths.max(axis=1),
            "sure": np.array(worth[kind]["leads"]) >= SURE,
            "edge_loss_rise": worth[kind]["edges"],
        }
        tables.append(pd.DataFrame(columns).dropna(axis=1, how="all"))
    return pd.concat(tables, ignore_index=True).round(5)


def verdict(history: History, used: int, table: pd.DataFrame) -> list[str]:
    """Return sentences: whether the search decided anything, then the signs.

    The signs are: at least half of all edges are decided; at half of the nodes with more than two
    inputs the two strongest lead clearly; at most two of the cell's edges changed in the last
    quarter of the epochs, which is not a sign by itself; perturbation agrees with the arg max more
    than halfway from what chance would give (Cohen's kappa above 1/2), and is sure of its choice on
    half of the edges.

    Args:
        used: the epoch that the cell is from, counted from 1.
        table: from `edge_table`, of that epoch.
    """
    end, total = history[used - 1], len(table)
    entropy = np.mean([end[f"entropy_{kind}"] for kind in KINDS])
    none = np.mean([softmax(np.array(end[f"alpha_{k}"]), axis=-1)[:, 0].mean() for k in KINDS])
    decided, inputs = int(table.decided.sum()), input_leads(end)
    chosen = int((inputs >= CLEAR_LEAD).sum())
    before = history[max(0, used * 3 // 4 - 1)]
    changed = new_edges(*(from_json(record["genotype"]) for record in (before, end)))
    counts = table.operation.value_counts() * table.perturbation.value_counts()
    same, chance = int((table.operation == table.perturbation).sum()), counts.sum() / total
    operations, agreed = 2 * decided >= total, same - chance > (total - chance) / 2
    confirmed = agreed and 2 * int(table.sure.sum()) >= total
    signs = [operations, 2 * chosen >= len(inputs), confirmed]
    part = "decided a part of the cell" if sum(signs) > 1 else "decided hardly anything"
    result = "decided the cell" if all(signs) and changed <= 2 else part
    return [
        f"The search {result}: one operation leads clearly on {decided} of {total} edges, and "
        f"selection by perturbation is sure of its choice on {table.sure.sum()}.",
        f"The two strongest inputs lead clearly at {chosen} of {len(inputs)} nodes.",
        f"{changed} of the cell's {CELL_EDGES} edges changed in the last quarter of the epochs.",
        f"Perturbation and arg max agree on {same} of {total} edges ({chance:.1f} by chance).",
        f"The mean entropy is {entropy:.2f} nats (undecided: {UNDECIDED:.2f}), the mean weight of "
        f"none {none:.2f} (undecided: {1 / 8:.3g}).",
    ]


def input_leads(record: Record) -> np.ndarray:
    """Return the factor by which the second strongest input of a node outweighs the third.

    One number for each node with more than two inputs, of both kinds of cell. The weight of an
    input is that of its best operation but `none`, times softmax(beta) if there is a beta.
    """
    found = []
    for kind in KINDS:
        best = softmax(np.array(record[f"alpha_{kind}"]), axis=-1)[:, 1:].max(axis=1)
        if (beta := record[f"beta_{kind}"]) is not None:
            best = best * softmax_by_node(torch.tensor(beta)).numpy()
        for node in NODE_STATES[1:]:
            *_, third, second, _ = np.sort(best[[target == node for _, target in EDGES]])
            found.append(second / third)
    return np.array(found)


def changes(
    history: History, provenance: Mapping[str, Any], cell: Genotype, perturbed: Genotype
) -> str:
    """Return sentences on what the guard and the selection by perturbation changed in the cell."""
    guarded = new_edges(genotype_of(history[-1], -1), cell)
    acts = "; ".join(provenance["guard"])
    guard = f"The guard replaced {guarded} of the cell's {CELL_EDGES} edges: {acts}. "
    unmeasured = all(record.get("eigenvalue") is None for record in history)
    half = "The guard's limit of skip connections changed nothing; no eigenvalue was measured. "
    return (guard if acts else half if unmeasured else "The guard changed nothing. ") + (
        f"Selection by perturbation would replace {new_edges(cell, perturbed)} of the cell's "
        f"{CELL_EDGES} edges."
    )
