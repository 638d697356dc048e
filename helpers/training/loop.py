"""What changes during a training, to be kept and taken up again, and what a stage may add to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from helpers.core import processes


class Hooks:
    """What a stage may add to the loop; the search's architecture steps, say."""

    def training_starts(self, optimizer: torch.optim.Optimizer) -> None:
        """Before everything else, also of a training that is taken up again."""

    def epoch_starts(self, epoch: int, epochs: int) -> None:
        """Before the first batch of an epoch (counted from 0)."""

    def before_step(self, images: torch.Tensor, targets: torch.Tensor) -> None:
        """Before the weights' step on this batch."""

    def epoch_ends(self, record: dict[str, Any]) -> bool:
        """After validation; may add to the record. True ends the training."""
        return False

    def state(self) -> dict[str, Any]:
        """What resuming needs."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""


@dataclass
class Loop:
    """All that changes during a training."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    scaler: torch.amp.GradScaler
    ema: AveragedModel | None
    hooks: Hooks
    epoch: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    best_epoch: int = -1

    @property
    def judged(self) -> nn.Module:
        """The model that validation looks at: the average of the weights where one is kept."""
        return self.ema.module if self.ema else self.model

    @property
    def stopped(self) -> bool:
        """Whether the hooks have ended the training."""
        return bool(self.history) and self.history[-1]["stopped"]

    def keep_best(self) -> None:
        """Keep the weights of the epoch just judged where it is the best; the first of equals."""
        aucs = [record["val_auc"] for record in self.history]
        if self.best_epoch < 0 or aucs[-1] > aucs[self.best_epoch]:
            self.best_epoch = self.epoch
            self.best = {k: v.detach().cpu().clone() for k, v in self.judged.state_dict().items()}

    def end_epoch(self, record: dict[str, Any]) -> None:
        """Note a judged epoch, let the hooks add to it and stop, and keep the best weights.

        Of several processes the main one's record counts: all have to stop at the same epoch.
        """
        record["stopped"] = bool(self.hooks.epoch_ends(record))
        self.history.append(processes.from_main(lambda: record))
        self.keep_best()
        self.epoch += 1

    def state(self) -> dict[str, Any]:
        """All of it as nested dicts and lists of tensors and plain values."""
        parts = {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "hooks": self.hooks.state(),
            "epoch": self.epoch,
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }
        return parts | ({"ema": self.ema.state_dict()} if self.ema else {})

    def load(self, state: dict[str, Any]) -> None:
        """Take up what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"]:  # empty where no loss was scaled: the machine had no fp16
            self.scaler.load_state_dict(state["scaler"])
        self.hooks.load_state(state["hooks"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.epoch, self.history = state["epoch"], state["history"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]
