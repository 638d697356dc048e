"""Choose a cell by how much the loss of a supernet rises without each operation and edge.

Source: Wang et al. 2021, arXiv 2108.04392 (DARTS-PT): the size of alpha does not say what an
operation is worth. The paper decides one edge after the other and fine-tunes the supernet after
each. Here nothing is trained in between: all choices are measured on one supernet. The loss is
measured, since the accuracy has too many ties on a few hundred images.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from helpers.darts.architect import Batch
from helpers.darts.genotypes import Genotype, strongest_edges
from helpers.darts.search import halves, make_supernet
from helpers.darts.settings import SearchSettings
from helpers.darts.space import KINDS, OPERATIONS
from helpers.darts.supernet import Supernet
from helpers.datasets.cache import ImageCache
from helpers.training.batches import image_batches
from helpers.training.inference import placed


def without(net: Supernet, kind: str, edge: int, operation: int | None = None) -> dict[str, Tensor]:
    """Return alpha (and beta) by name, with one operation of an edge removed, or all if None.

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

    By kind of cell: "operations" (edges, 7) in the order of OPERATIONS, and "edges" (edges,). An
    operation or edge is removed from all cells of its kind, which share alpha.
    """
    images, targets = batch

    def loss(changed: dict[str, Tensor]) -> float:
        return float(F.cross_entropy(functional_call(net, changed, (images,)), targets))

    whole, edges = loss({}), range(len(net.operation_weights("normal")))
    columns, by_kind = range(1, 1 + len(OPERATIONS)), {}
    for kind in KINDS:
        operations = [[loss(without(net, kind, e, o)) - whole for o in columns] for e in edges]
        alone = [loss(without(net, kind, e)) - whole for e in edges]
        by_kind[kind] = {"operations": operations, "edges": alone}
    return by_kind


@dataclass(frozen=True)
class Selection:
    """The worth of each operation and edge of a supernet, and the cell that follows from it."""

    worth: dict[str, Any]  # see `worths`
    images: int  # on which it was measured
    seconds: float

    @property
    def genotype(self) -> Genotype:
        """Return each node's two best edges, each with its best operation; skips have no limit."""
        worths = (self.worth[kind] for kind in KINDS)
        return Genotype(*(strongest_edges(w["operations"], w["edges"]) for w in worths))


def select_by_perturbation(
    weights: dict[str, Tensor], images: ImageCache, table: pd.DataFrame, settings: SearchSettings
) -> Selection:
    """Choose a cell from the supernet of a finished search, given its weights and arguments.

    The worths are those of the first `perturbation_images` images of alpha's half, as one batch.
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
