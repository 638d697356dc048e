"""Choose a cell by what the finished supernet loses without an operation, and without an edge.

Source: Wang et al. 2021, arXiv 2108.04392 (DARTS-PT): the size of alpha does not say what an
operation is worth. The paper decides one edge after the other and fine-tunes the supernet after
each. Here nothing is trained in between: all choices are measured on one supernet. The loss is
measured, since the accuracy has too many ties on a few hundred images.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from helpers.core import files, tensors
from helpers.darts import genotypes, search
from helpers.darts.genotypes import Genotype
from helpers.darts.gradients import Batch
from helpers.darts.space import KINDS, OPERATIONS
from helpers.darts.supernet import Supernet
from helpers.runs.stages import Stage
from helpers.training.features import image_batches
from helpers.training.inference import placed


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
    columns, found = range(1, 1 + len(OPERATIONS)), {}
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
        found[kind] = {"operations": operations, "edges": alone, "leads": leads}
    return found


def genotype_by_perturbation(stage: Stage, found: search.Search) -> tuple[Genotype, dict[str, Any]]:
    """Choose a cell from the supernet of the finished search, once; return it and its provenance.

    The worths, in the provenance as `worth`, are those of the first PERTURBATION_IMAGES images of
    alpha's part, as one batch. The supernet's w is that of the last epoch, its alpha that of the
    epoch which the guard has rolled back to, if it has. The cell has no limit of skip connections.
    Writes genotypes/searched_perturbation.json.
    """
    settings, paths = stage.settings, stage.paths
    weights = paths.checkpoint("supernet", settings.seed)
    cache = stage.images(settings.image_size_px)
    part = search.halves(stage.split, settings.seed, settings.search_images)[1]
    part = part.head(settings.perturbation_images)  # in random order
    epoch = found.provenance["epoch_used"]
    inputs = {
        "images": cache.content,
        "epoch": epoch,
        "part": part[["id", "label"]].values.tolist(),
        "supernet": files.file_digest(weights),
        "worths": ["operations", "edges", "leads"],
    }

    def select(genotype: Path) -> None:
        started = time.monotonic()
        state, _ = tensors.load_tensors(weights)
        net = search.make_supernet(settings, cache)
        used = found.history[epoch - 1]
        kept = {n: torch.tensor(used[n]) for n, _ in net.named_parameters() if n in used}
        net.load_state_dict(state | kept)
        batches = image_batches(cache, part, net, settings.batch_size)
        net = placed(net, batches.device)
        labels = torch.tensor(batches.labels, device=batches.device)
        worth = worths(net, (torch.cat(list(batches.ordered())), labels))
        cells = (
            genotypes.strongest_edges(worth[kind]["operations"], worth[kind]["edges"])
            for kind in KINDS
        )
        seconds = time.monotonic() - started
        about = {
            "method": f"{found.provenance['method']}, by perturbation",
            "images": len(part),
            "worth": worth,
            "selection_seconds": round(seconds, 1),
            "seconds": round(found.provenance["seconds"] + seconds, 1),
            "device": found.provenance["device"],
            "search": found.provenance,
        }
        genotypes.save(genotype, Genotype(*cells), about)

    path = paths.genotype("searched_perturbation")
    stage.once("perturbation", inputs, select, sizes=["perturbation_images"], genotype=path)
    return genotypes.load(path)
