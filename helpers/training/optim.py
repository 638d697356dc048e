"""Optimiser, learning-rate schedule and loss from a `TrainSettings`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from helpers.training.settings import TrainSettings

AUXILIARY_WEIGHT = 0.4  # DARTS (arXiv 1806.09055), appendix A.2: weight of the auxiliary tower


def make_optimizer(
    parameters: list[nn.Parameter], settings: TrainSettings, head: Iterable[nn.Parameter] = ()
) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW that leaves scales and shifts undecayed.

    Parameters that are in `head` learn at `head_lr_factor` times the rate.
    """
    # One kernel for all tensors. On a CPU it saves 1 % and a resumed search's bits differ.
    fused, decay = parameters[0].device.type == "cuda", settings.weight_decay
    inside = {id(parameter) for parameter in head}
    parts = [[p for p in parameters if (id(p) in inside) == own] for own in (False, True)]
    rates = (settings.lr, settings.lr * settings.head_lr_factor)
    groups: list[dict[str, Any]]
    groups = [{"params": p, "lr": lr} for p, lr in zip(parts, rates, strict=True) if p]
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            groups, settings.lr, settings.momentum, weight_decay=decay, fused=fused
        )
    # Scales and shifts are not decayed: pulling a batch norm's scale to 0 switches its channel off.
    groups = [
        group | {"params": [p for p in group["params"] if (p.ndim > 1) == decayed], **rule}
        for group in groups
        for decayed, rule in ((True, {"weight_decay": decay}), (False, {"weight_decay": 0.0}))
    ]
    return torch.optim.AdamW(groups, lr=settings.lr, fused=fused)


def make_scheduler(
    optimizer: torch.optim.Optimizer, settings: TrainSettings, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Return the schedule: one_cycle steps per batch (`steps` in all), the others per epoch."""
    schedulers = torch.optim.lr_scheduler
    match settings.schedule:
        case "one_cycle":
            # +1: the loop steps once more after the last batch. A fifth of fewer than 6 steps is
            # less than one step: torch divides by zero.
            total = max(steps, 5) + 1
            peaks = [group["lr"] for group in optimizer.param_groups]
            return schedulers.OneCycleLR(
                optimizer, peaks, total_steps=total, pct_start=0.2, cycle_momentum=False
            )
        case "cosine":
            return schedulers.CosineAnnealingLR(optimizer, settings.epochs, settings.lr_min)
        case "exponential":
            return schedulers.ExponentialLR(optimizer, settings.gamma)
        case _:  # constant
            return schedulers.ConstantLR(optimizer, factor=1.0)


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of raw scores, or of (scores, auxiliary scores), over a batch.

    `weights` (K,) multiply the losses of the images of each class. Their mean is over the images,
    not over the weights, so that an image counts the same in every batch.
    """

    smoothing: float
    weights: torch.Tensor | None = None

    def __call__(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch, in float32 whatever the scores' precision."""
        if isinstance(output, tuple):
            return self(output[0], targets) + AUXILIARY_WEIGHT * self(output[1], targets)
        scores, smoothing = output.float(), self.smoothing
        if self.weights is None:
            return F.cross_entropy(scores, targets, label_smoothing=smoothing)
        losses = F.cross_entropy(scores, targets, label_smoothing=smoothing, reduction="none")
        return (self.weights.to(targets.device)[targets] * losses).mean()


def balanced_weights(labels: np.ndarray) -> torch.Tensor:
    """Return the weight N / (K N_k) of each class (K,), with which all classes count the same."""
    counts = np.bincount(labels)
    weights = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return torch.tensor(weights, dtype=torch.float32)
