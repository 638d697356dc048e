"""Choose a cell by what the finished supernet loses without an operation, and without an edge.

A verdict says whether the search decided anything, by alpha and by this second selection.

Source: Wang et al. 2021, arXiv 2108.04392 (DARTS-PT): the size of alpha does not say what an
operation is worth. The paper decides one edge after the other and fine-tunes the supernet after
each. Here nothing is trained in between: all choices are measured on one supernet. The loss is
measured, since the accuracy has too many ties on a few hundred images.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from helpers.darts.architect import Batch
from helpers.darts.genotypes import Genotype, from_json, new_edges, strongest_edges
from helpers.darts.search import Record, halves, make_supernet
from helpers.darts.settings import SearchSettings
from helpers.darts.space import EDGES, KINDS, OPERATIONS
from helpers.darts.supernet import Supernet
from helpers.datasets.cache import ImageCache
from helpers.training.batches import image_batches
from helpers.training.inference import placed

CLEAR_LEAD = 1.5  # factor by which the best operation of an edge outweighs the next
SURE = 2.0  # standard errors, by which perturbation's choice has to lead
CELL_EDGES = 16  # of both kinds of cell


def without(net: Supernet, kind: str, edge: int, operation: int | None = None) -> dict[str, Tensor]:
    """Return alpha (and beta), by name, without an operation of an edge, or without all if None.

    `edge` and `operation` are a row and a column of alpha. The operation's weight goes to `none`,
    which adds nothing, so that all other weights stay as they are. If there is edge normalisation,
    the weight of a whole edge goes to the other edges of its node.
    """
    alpha, beta = (getattr(net, f"{name}_{kind}") for name in ("alpha", "beta"))
    alpha, taken = alpha.detach().clone(), slice(1, None) if operation is None else [operation]
    alpha[edge, 0] = torch.cat([alpha[edge, :1], alpha[edge, taken]]).logsumexp(dim=0)
    alpha[edge, taken] = -torch.inf
    changed = {f"alpha_{kind}": alpha}
    if beta is not None and operation is None:
        changed[f"beta_{kind}"] = beta.detach().clone()
        changed[f"beta_{kind}"][edge] = -torch.inf
    return changed


@torch.no_grad()
def worths(net: Supernet, batch: Batch) -> dict[str, Any]:
    """Return how much the loss of a batch rises without each operation, and without each edge.

    By kind of cell: "operations" (edges, 7) in the order of OPERATIONS, "edges" (edges,), and
    "leads" (edges,): the rise of the best operation minus that of the next one, in standard errors
    over the images. An operation or edge is taken from all cells of its kind, which share alpha.
    """
    images, targets = batch

    def losses(changed: dict[str, Tensor]) -> Tensor:
        logits = functional_call(net, changed, (images,))
        losses = F.cross_entropy(logits, targets, reduction="none")
        return losses.cpu().double()  # MPS has no doubles

    whole, edges = losses({}).mean(), range(len(net.operation_weights("normal")))
    columns, by_kind = range(1, 1 + len(OPERATIONS)), {}
    for kind in KINDS:
        operations, leads = [], []
        for edge in edges:
            cut = torch.stack([losses(without(net, kind, edge, o)) for o in columns])  # (7, N)
            best, second = cut.mean(dim=1).topk(2).indices
            ahead = cut[best] - cut[second]
            error = ahead.std() / len(ahead) ** 0.5
            leads.append(float(torch.nan_to_num(ahead.mean() / error)))
            operations.append((cut.mean(dim=1) - whole).tolist())
        alone = [float(losses(without(net, kind, edge)).mean() - whole) for edge in edges]
        by_kind[kind] = {"operations": operations, "edges": alone, "leads": leads}
    return by_kind


@dataclass(frozen=True)
class Selection:
    """What a supernet loses without each operation and edge, and the cell that follows from it."""

    worth: dict[str, Any]  # see `worths`
    images: int  # on which it was measured
    seconds: float

    @property
    def genotype(self) -> Genotype:
        """Each node's two edges of most worth, each with its operation of most worth; no limit."""
        worths = (self.worth[kind] for kind in KINDS)
        return Genotype(*(strongest_edges(w["operations"], w["edges"]) for w in worths))


def select_by_perturbation(
    weights: dict[str, Tensor], images: ImageCache, table: pd.DataFrame, settings: SearchSettings
) -> Selection:
    """Choose a cell from the supernet of a finished search, whose `weights` these are.

    The worths are those of the first `perturbation_images` images of alpha's half, as one batch.

    Args:
        table, settings: those of the search.
    """
    started = time.monotonic()
    half = halves(table, settings.seed, settings.search_images)[1]
    rows = half.head(settings.perturbation_images)  # in random order
    net = make_supernet(settings, images)
    net.load_state_dict(weights)
    batches = image_batches(images, rows, net, settings.batch_size)
    net = placed(net, batches.device)
    labels = torch.tensor(batches.labels, device=batches.device)
    worth = worths(net, (torch.cat(list(batches.ordered())), labels))
    return Selection(worth, len(rows), round(time.monotonic() - started, 1))


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


def verdict(history: Sequence[Record], worth: Mapping[str, Any]) -> str:
    """Return a sentence that says whether the search decided anything, and why.

    `worth` is what `worths` returned. The search decided the cell if one operation
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
