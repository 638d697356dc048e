"""Scores, probabilities and validation numbers of a model, in the precision of the device."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import roc_auc_score
from torch import nn

from helpers import processes, seeding
from helpers.batches import Batches


@torch.no_grad()
def predict_scores(
    model: nn.Module, batches: Batches, precision: str = "auto", flips: bool = False
) -> np.ndarray:
    """Raw class scores (N, K) float32 of all rows; with `flips`, (4, N, K) of the mirror images.

    Where there are several processes all have to call it: they divide the batches, and each gets
    all scores, as one process would compute them.
    """
    model.eval()
    device = next(model.parameters()).device
    views: list[tuple[int, ...]] = [()] if not flips else [(), (-1,), (-2,), (-2, -1)]
    out = []
    shared = [processes.share()] if processes.count() > 1 else []
    with autocast(device, precision):
        for inputs in batches.ordered(*shared):
            out.append(
                torch.stack([_scores(model(inputs.flip(v) if v else inputs)) for v in views])
            )
    if shared:
        out = processes.gather_dealt([scores.float().cpu() for scores in out])
    scores = torch.cat(out, dim=1).float().cpu().numpy()
    return scores if flips else scores[0]


def predict(
    model: nn.Module, batches: Batches, precision: str = "auto", flips: bool = False
) -> np.ndarray:
    """The probability of bad (N,) of all rows; with `flips`, averaged over four mirror images."""
    scores = torch.from_numpy(predict_scores(model, batches, precision, flips)).double()
    probability = scores.softmax(dim=-1)[..., 1:].sum(dim=-1)  # all classes but good
    return (probability.mean(dim=0) if flips else probability).clamp(0, 1).numpy()


def evaluate(model: nn.Module, batches: Batches, precision: str = "auto") -> dict[str, float]:
    """Validation loss, AUC of bad against good, and accuracy (fractions)."""
    scores = predict_scores(model, batches, precision)
    labels = torch.tensor(batches.labels)
    tensor = torch.from_numpy(scores).double()
    bad = 1 - tensor.softmax(dim=1)[:, 0]
    return {
        "val_loss": float(F.cross_entropy(tensor, labels)),
        "val_auc": float(roc_auc_score(batches.labels > 0, bad)),
        "val_accuracy": float((tensor.argmax(dim=1) == labels).double().mean()),
    }


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Reduced precision by Accelerate's names: "bf16", "fp16", "no", or "auto" for the device's."""
    precision = precision_of(device, precision)
    if precision == "no":
        return contextlib.nullcontext()
    return torch.autocast(device.type, torch.bfloat16 if precision == "bf16" else torch.float16)


def precision_of(device: torch.device, precision: str) -> str:
    """The precision that "auto" means on a device; any other name as it is."""
    return seeding.default_precision(device) if precision == "auto" else precision


def _scores(output: Any) -> torch.Tensor:
    return output[0] if isinstance(output, tuple) else output
