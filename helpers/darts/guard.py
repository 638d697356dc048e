"""Watches over a search for signs of collapse: skip connections take over, alpha's valley narrows.

Sources: skip limit, P-DARTS (arXiv 1904.12760, section 3.3); stop when the ranking is stable,
DARTS+ (arXiv 1909.06035, section 3.2); roll back when the dominant eigenvalue of d2L/dalpha2
grows, Zela et al. (arXiv 1909.09656, section 4.3).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from helpers.core import processes
from helpers.darts.genotypes import Genotype, count_skips, derive_genotype, to_json
from helpers.runs.settings import SearchSettings

MEASUREMENTS = 4  # the eigenvalue is compared with the one so many measurements before

Record = Mapping[str, Any]  # an epoch's entry in the search's history


def architecture_record(net: Any, max_skips: int | None) -> dict[str, Any]:
    """What an epoch's alpha says, as plain numbers: alpha, its entropy, none, and the derived cell.

    Entropies are means over a kind's edges of the softmax's entropy in nats, from 0 (decided) to
    ln 8 = 2.08 (undecided). `skips` counts the normal cell's skip connections before the limit.
    """
    record: dict[str, Any] = {}
    for kind in ("normal", "reduce"):
        weights = net.operation_weights(kind).detach().double().cpu()
        record[f"alpha_{kind}"] = getattr(net, f"alpha_{kind}").detach().cpu().tolist()
        record[f"entropy_{kind}"] = float(torch.special.entr(weights).sum(1).mean())
        record[f"none_{kind}"] = float(weights[:, 0].mean())
        beta = getattr(net, f"beta_{kind}")
        record[f"beta_{kind}"] = None if beta is None else beta.detach().cpu().tolist()
    record["skips"] = count_skips(genotype_of(record, None))
    record["genotype"] = to_json(genotype_of(record, max_skips))
    return record


def genotype_of(record: Record, max_skips: int | None) -> Genotype:
    """The cells that an epoch's alpha stands for."""
    return derive_genotype(
        record["alpha_normal"],
        record["alpha_reduce"],
        max_skips,
        record["beta_normal"],
        record["beta_reduce"],
    )


def is_stable(history: Sequence[Record], epochs: int) -> bool:
    """True when the derived cells have not changed for so many epochs; never for 0."""
    last = [record["genotype"] for record in history[-(epochs + 1) :]]
    return epochs > 0 and len(last) == epochs + 1 and all(g == last[0] for g in last)


def epoch_before_sharpening(history: Sequence[Record], growth: float) -> int | None:
    """The position to roll back to when the eigenvalue grew by `growth`; None when it did not.

    Compared are the last measurement and the one MEASUREMENTS before it. 0 switches the rule off.
    """
    measured = [i for i, record in enumerate(history) if record.get("eigenvalue") is not None]
    if growth <= 0 or len(measured) <= MEASUREMENTS or measured[-1] != len(history) - 1:
        return None
    before = measured[-1 - MEASUREMENTS]
    grown = abs(history[-1]["eigenvalue"]) > growth * abs(history[before]["eigenvalue"])
    return before if grown else None


def limit_of(settings: SearchSettings) -> int | None:
    """The skip limit as `derive_genotype` takes it."""
    return settings.max_skips if settings.max_skips >= 0 else None


def conclusion(
    history: list[dict[str, Any]], settings: SearchSettings
) -> tuple[Genotype, dict[str, Any]]:
    """The cell that a search's history leads to, and how it was found (JSON-able)."""
    back = epoch_before_sharpening(history, settings.rollback_growth)
    used = len(history) - 1 if back is None else back
    record, limit = history[used], limit_of(settings)
    genotype = genotype_of(record, limit)
    acts = []
    if back is not None:
        acts.append(
            f"eigenvalue grew from {record['eigenvalue']:.3g} to {history[-1]['eigenvalue']:.3g}: "
            f"rolled back to epoch {used + 1}"
        )
    elif settings.stop_when_stable and len(history) < settings.epochs:
        acts.append(f"genotype unchanged for {settings.stop_when_stable} epochs: stopped")
    if limit is not None and record["skips"] > limit:
        acts.append(
            f"skip connections in the normal cell limited from {record['skips']} to {limit}"
        )
    order = "second" if settings.order == 2 else "first"
    name = "PC-DARTS" if settings.partial > 1 else "DARTS"
    provenance = {
        "method": f"{name}, {order} order",
        "settings": dataclasses.asdict(settings),
        "epochs_run": len(history),
        "epoch_used": used + 1,
        "guard": acts,
        "alpha_part_auc": record["val_auc"],
        "seconds": round(sum(r["total_seconds"] for r in history), 1),
        "device": processes.device_name(),
    }
    return genotype, provenance
