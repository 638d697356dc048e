"""Optimiser, learning-rate schedule and loss from a `TrainSettings`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from helpers.training.settings import TrainSettings

AUXILIARY_WEIGHT = 0.4  # DARTS (arXiv 1806.09055), appendix A.2: weight of the auxiliary tower


def make_optimizer(
    parameters: list[nn.Parameter], settings: TrainSettings
) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW that leaves scales and shifts undecayed."""
    # One kernel for all tensors. On a CPU it saves 1 % and a resumed search's bits differ.
    fused, decay = parameters[0].device.type == "cuda", settings.weight_decay
    if settings.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, settings.lr, settings.momentum, weight_decay=decay, fused=fused
        )
    # Scales and shifts are not decayed: pulling a batch norm's scale to 0 switches its channel off.
    groups = [
        {"params": [p for p in parameters if (p.ndim > 1) == decayed], "weight_decay": rate}
        for decayed, rate in ((True, decay), (False, 0.0))
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
            return schedulers.OneCycleLR(
                optimizer, settings.lr, total_steps=total, pct_start=0.2, cycle_momentum=False
            )
        case "cosine":
            return schedulers.CosineAnnealingLR(optimizer, settings.epochs, settings.lr_min)
        case "exponential":
            return schedulers.ExponentialLR(optimizer, settings.gamma)
        case _:  # constant
            return schedulers.ConstantLR(optimizer, factor=1.0)


@dataclass(frozen=True)
class Loss:
    """Cross-entropy of raw scores, or of (scores, auxiliary scores), over a batch."""

    smoothing: float

    def __call__(self, output: Any, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean over the batch, in float32 whatever the scores' precision."""
        if isinstance(output, tuple):
            return self(output[0], targets) + AUXILIARY_WEIGHT * self(output[1], targets)
        return F.cross_entropy(output.float(), targets, label_smoothing=self.smoothing)
