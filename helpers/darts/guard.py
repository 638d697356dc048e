"""Watch over a search for signs of collapse: skip connections take over, alpha's valley narrows.

Sources: skip limit, P-DARTS (arXiv 1904.12760, section 3.3); roll back when the dominant eigenvalue
of d2L/dalpha2 grows, Zela et al. (arXiv 1909.09656, section 4.3, with the means of their code).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from helpers.core import processes
from helpers.darts.genotypes import Genotype, count_skips, derive_genotype, to_json
from helpers.darts.settings import (
    EIGENVALUE_MEAN,
    ROLLBACK_FROM,
    ROLLBACK_MEASUREMENTS,
    SearchSettings,
)
from helpers.darts.space import KINDS

Record = Mapping[str, Any]  # an epoch's entry in the history of the search


def architecture_record(net: Any, max_skips: int) -> dict[str, Any]:
    """Return alpha of an epoch as plain numbers, with its entropy and its cells.

    Entropies are means over the edges of a kind of the softmax's entropy in nats, from 0 (decided)
    to ln 8 = 2.08 (undecided). `skips` counts the normal cell's skip connections before the limit
    `max_skips` (-1: no limit).
    """
    record: dict[str, Any] = {}
    for kind in KINDS:
        weights = net.operation_weights(kind).detach().cpu().double()  # MPS has no doubles
        record[f"alpha_{kind}"] = getattr(net, f"alpha_{kind}").detach().cpu().tolist()
        record[f"entropy_{kind}"] = float(torch.special.entr(weights).sum(1).mean())
        beta = getattr(net, f"beta_{kind}")
        record[f"beta_{kind}"] = None if beta is None else beta.detach().cpu().tolist()
    record["skips"] = count_skips(genotype_of(record, -1))
    record["genotype"] = to_json(genotype_of(record, max_skips))
    return record


def genotype_of(record: Record, max_skips: int) -> Genotype:
    """Derive the cells from the alpha of an epoch."""
    names = ("alpha_normal", "alpha_reduce", "beta_normal", "beta_reduce")
    return derive_genotype(**{name: record[name] for name in names}, max_skips=max_skips)


def roll_back(history: Sequence[Record], growth: float) -> tuple[int, float, float] | None:
    """Return the position to roll back to, and the mean size there and now; None to go ahead.

    A measurement is noisy, so means of the sizes of EIGENVALUE_MEAN eigenvalues in a row are
    compared: the last mean, and the one that is ROLLBACK_MEASUREMENTS older, whose middle is the
    place to go back to. By then alpha has learned for ROLLBACK_FROM epochs. The mean may grow by
    the factor `growth`; 0 switches this off.
    """
    sizes = {i: abs(r["eigenvalue"]) for i, r in enumerate(history) if r["eigenvalue"] is not None}
    measured, half = list(sizes), EIGENVALUE_MEAN // 2
    middle = len(measured) - 1 - half
    older = middle - ROLLBACK_MEASUREMENTS
    if growth <= 0 or older < half or measured[-1] != len(history) - 1:
        return None
    learned = [r for r in history[: measured[older] + 1] if r["alpha_loss"] is not None]
    around = (measured[i - half : i + half + 1] for i in (older, middle))
    before, now = (float(np.mean([sizes[i] for i in own])) for own in around)
    is_grown = len(learned) >= ROLLBACK_FROM and now > growth * before
    return (measured[older], before, now) if is_grown else None


def conclusion(
    history: list[dict[str, Any]], settings: SearchSettings
) -> tuple[Genotype, dict[str, Any]]:
    """Return the cell that the history of a search leads to, and how it was found (JSON-able)."""
    back = roll_back(history, settings.rollback_growth)
    used, before, now = back or (len(history) - 1, 0, 0)
    record, limit, acts = history[used], settings.max_skips, []
    if back:
        grown = f"eigenvalue grew from {before:.3g} to {now:.3g}"
        acts.append(f"{grown}: rolled back to epoch {used + 1}")
    if 0 <= limit < (skips := record["skips"]):
        acts.append(f"skip connections in the normal cell limited from {skips} to {limit}")
    name = "PC-DARTS" if settings.partial > 1 else "DARTS"
    provenance = {
        "method": f"{name}, {'second' if settings.order == 2 else 'first'} order",
        "settings": dataclasses.asdict(settings),
        "epochs_run": len(history),
        "epoch_used": used + 1,
        "guard": acts,
        "alpha_part_auc": record["val_auc"],
        "seconds": round(sum(r["total_seconds"] for r in history), 1),
        "device": processes.device_name(),
    }
    return genotype_of(record, limit), provenance
