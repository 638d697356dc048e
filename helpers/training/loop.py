"""The one training loop: for the CNN, the last layer, all layers, the DARTS search and retraining.

The randomness of an epoch is a function of (seed, epoch); everything else that an epoch starts from
is in the resume file written after the epoch before. A training killed at any moment and started
again therefore gives, on the CPU, the same bits as a training that was never killed.

Several processes divide every batch (see `processes`). They train what one process would train on
the whole batch, except that each process draws augmentation, dropout and drop path for its own
images and normalises its own share of the batch. A training continued by another number of
processes uses other random draws.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from helpers.core import files, memory, processes, seeding, status, tensors
from helpers.core.errors import OutOfTime, UserError
from helpers.core.style import percent
from helpers.training.allocator import freed_memory_kept
from helpers.training.batches import Batches
from helpers.training.events import event_file
from helpers.training.inference import ScoresError, autocast, evaluate, placed, precision_of
from helpers.training.optim import Loss, balanced_weights, make_optimizer, make_scheduler
from helpers.training.settings import TrainSettings


class TrainingError(UserError):
    """The training cannot continue; the message says what to change."""


class Hooks:
    """Additions of a stage to the loop, for example the architecture steps of the search."""

    def training_starts(self, optimizer: torch.optim.Optimizer) -> None:
        """Run before everything else, also if the training is continued."""

    def epoch_starts(self, epoch: int, epochs: int) -> None:
        """Run before the first batch of an epoch (counted from 0)."""

    def before_step(self, images: Tensor, targets: Tensor) -> None:
        """Run before the step of the weights on this batch."""

    def epoch_ends(self, record: dict[str, Any], past: Sequence[dict[str, Any]]) -> bool:
        """Run after validation; may add to the record, which follows `past`. True stops."""
        return False

    def state(self) -> dict[str, Any]:
        """Return what a continued training needs."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""


class Training:
    """A training that keeps the epoch of the best validation AUC (or the last).

    Args:
        model: returns raw class scores (B, K), or (scores, auxiliary scores) in training.
        train, val: labelled batches; class 1 is bad.
        settings: epochs, optimiser, schedule, precision, ...
        seed: of the order, the augmentation and the dropout.
        name: shown by the progress bar and in messages.
        loss: of the model's output and the targets of a training batch; by default cross-entropy.
        hooks: additions to the loop.
        parameters: those to train; by default all that require gradients.
        resume: file to continue from and to write after every epoch; the caller removes it.
        deadline_s: on `time.monotonic`'s clock; no epoch starts that would probably end later.
        events: folder for TensorBoard's event file; None writes none.

    Example::

        training = Training(model, train, val, TrainSettings(epochs=3), seed=0, name="CNN").run()
        training.history[training.best_epoch]["val_auc"]
    """

    def __init__(
        self,
        model: nn.Module,
        train: Batches,
        val: Batches,
        settings: TrainSettings,
        *,
        seed: int,
        name: str,
        loss: Callable[[Any, Tensor], Tensor] | None = None,
        hooks: Hooks | None = None,
        parameters: list[nn.Parameter] | None = None,
        resume: Path | None = None,
        deadline_s: float | None = None,
        events: Path | None = None,
    ) -> None:
        self.rank, self.count = processes.share()
        smallest = min(train.batch_size, train.epoch_size)
        # batch norm needs two images, and the last batch of an epoch may be half as large
        if self.count > 1 and smallest < 4 * self.count:
            raise TrainingError(
                f"{name}: a batch of {smallest} cannot be divided among {self.count} "
                "processes with four images each, or two of a last batch of half the size: raise "
                f"the batch size to {4 * self.count}, or start fewer processes"
            )
        device = processes.device()
        self.model, self.train, self.val = placed(model, device), train, val
        self.settings, self.seed, self.name = settings, seed, name
        self.hooks = hooks or Hooks()
        self.parameters = parameters or [p for p in model.parameters() if p.requires_grad]
        self.resume, self.deadline_s = resume, deadline_s
        self.events = events if self.rank == 0 else None
        self.precision = precision_of(device, settings.precision)
        weights = balanced_weights(train.labels) if settings.class_weights else None
        self.loss_of = loss or Loss(settings.label_smoothing, weights)

        processes.same_weights(model)
        own_rate = settings.head_lr_factor != 1
        head = model.get_submodule("head").parameters() if own_rate else ()
        self.optimizer = make_optimizer(self.parameters, settings, head)
        steps = max(1, math.ceil(train.epoch_size / train.batch_size)) * settings.epochs
        self.scheduler = make_scheduler(self.optimizer, settings, steps)
        fp16 = device.type == "cuda" and self.precision == "fp16"
        self.scaler = torch.amp.GradScaler(enabled=fp16)
        self.ema: AveragedModel | None = None
        if settings.ema_decay:
            average = get_ema_multi_avg_fn(settings.ema_decay)
            self.ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)

        self.epoch = 0
        self.history: list[dict[str, Any]] = []  # a record of each finished epoch
        self.best_epoch = -1
        self.best: dict[str, Tensor] = {}  # the weights of that epoch
        self._spent_s = 0.0  # by the last epoch of this call, its saving included

    @property
    def judged(self) -> nn.Module:
        """The model that validation judges: the average of the weights if one is kept."""
        return self.ema.module if self.ema else self.model

    @property
    def stopped(self) -> bool:
        """True if the hooks have ended the training."""
        return bool(self.history) and self.history[-1]["stopped"]

    @property
    def seconds(self) -> float:
        """Seconds of all epochs, those before a kill included."""
        return round(sum(record["total_seconds"] for record in self.history), 2)

    @freed_memory_kept()
    def run(self) -> Training:
        """Train to the end; the model then holds the weights of its best epoch, or of its last.

        Raises:
            TrainingError: a loss or a score is not finite.
            ArtifactError: the resume file is damaged, or cannot be read.
            OutOfTime: the deadline has come; the resume file holds the finished epochs.
        """
        epochs = self.settings.epochs
        self.hooks.training_starts(self.optimizer)
        if self._continue() and self.rank == 0:
            print(f"{self.name}: continuing after epoch {self.epoch} of {epochs}")
        with event_file(self.events, self.history) as write_event:
            while self.epoch < epochs and not self.stopped:
                self._check_time()
                self._tell()
                started = time.monotonic()
                self.run_epoch()
                if self.resume is not None and self.rank == 0:
                    tensors.save_state(self.resume, self.state())
                write_event(self.history[-1])
                self._spent_s = time.monotonic() - started
        if self.rank == 0:
            status.tell("")
        if self.settings.keep == "best":
            self.model.load_state_dict(self.best)
        elif self.ema:
            self.model.load_state_dict(self.ema.module.state_dict())
        self.model.eval()
        return self

    def run_epoch(self) -> None:
        """Train on every batch once, validate, and keep the weights if they are the best."""
        settings, started = self.settings, time.monotonic()
        self.hooks.epoch_starts(self.epoch, settings.epochs)
        self.model.train()
        draws = f"train {self.rank} of {self.count}" if self.count > 1 else "train"
        total, seen = 0.0, 0
        training_started = time.monotonic()
        with seeding.torch_stream(self.seed, draws, self.epoch), self._bar() as bar:
            share = (self.rank, self.count)
            for rows, images, targets in self.train.shuffled(self.seed, self.epoch, share):
                lr = self.optimizer.param_groups[0]["lr"]
                loss, n = self.step(rows, images, targets)
                if self.ema:
                    self.ema.update_parameters(self.model)
                if settings.schedule == "one_cycle":
                    self.scheduler.step()
                total, seen = total + loss * n, seen + n
                bar.set_postfix(loss=f"{total / seen:.4f}", refresh=False)
                bar.update(n)
        if settings.schedule != "one_cycle":
            self.scheduler.step()
        seconds = time.monotonic() - training_started
        record = {
            "epoch": self.epoch + 1,
            "lr": lr,
            "train_loss": total / max(1, seen),
            "seconds": round(seconds, 2),
            "images": seen,
            "images_per_s": round(seen / seconds, 1),
        }
        processes.average_buffers(self.model)
        if self.ema:
            processes.average_buffers(self.ema.module)
        try:
            record |= evaluate(self.judged, self.val, settings.precision)
            record["total_seconds"] = round(time.monotonic() - started, 2)
            record["stopped"] = bool(self.hooks.epoch_ends(record, self.history))
        except ScoresError as error:
            raise TrainingError(
                f"{self.name}: after epoch {self.epoch + 1} {error}. {self._way_out()}"
            ) from None
        # the main process's record counts: all processes have to stop at the same epoch
        self.history.append(processes.from_main(lambda: record))
        aucs = [past["val_auc"] for past in self.history]
        if self.best_epoch < 0 or aucs[-1] > aucs[self.best_epoch]:  # the first of equals
            self.best_epoch = self.epoch
            self.best = {k: v.detach().cpu().clone() for k, v in self.judged.state_dict().items()}
        self.epoch += 1

    def step(self, rows: np.ndarray, images: Tensor, targets: Tensor) -> tuple[float, int]:
        """Take a step of the weights on one batch; return its loss and its size.

        Raises:
            TrainingError: the loss is not finite.
        """
        self.hooks.before_step(images, targets)
        self.optimizer.zero_grad(set_to_none=True)
        loss, n = self._backward(images, targets)
        if not math.isfinite(loss):
            raise self._not_finite(self.train.ids[rows])
        self.scaler.unscale_(self.optimizer)
        if self.settings.grad_clip:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss, n

    def _backward(self, images: Tensor, targets: Tensor) -> tuple[float, int]:
        """Leave the gradients of a batch's (scaled) loss; return the loss and the batch's size.

        Each process computes its share, and all get gradients and loss of the whole batch.
        """
        loss, n = torch.zeros(()), len(targets)
        if n:
            with autocast(images.device, self.precision):
                loss = self.loss_of(self.model(images), targets)
            self.scaler.scale(loss).backward()
        if self.count == 1:
            return loss.item(), n
        return processes.average_gradients(self.parameters, loss.detach(), n)

    def _bar(self) -> tqdm:
        bar = tqdm(
            total=self.train.epoch_size,
            desc=f"{self.name} {self.epoch + 1}/{self.settings.epochs}",
            unit="img",
            leave=False,
            mininterval=1,
            disable=self.rank > 0,
        )
        if self.history:
            bar.set_postfix(val_auc=f"{self.history[-1]['val_auc']:.4f}", refresh=False)
        return bar

    def _tell(self) -> None:
        """Tell `helpers.run` what is trained, how good it was after the last epoch, time left."""
        if self.rank > 0:
            return
        line = f"{self.name}: epoch {self.epoch + 1} of {self.settings.epochs}"
        if self.history:
            last = self.history[-1]
            line += f", validation AUC {percent(last['val_auc'])}, "
            line += f"{last['images_per_s']:.0f} images/s"
        if self._spent_s:  # an epoch of this call, on this machine
            left_s = self._spent_s * (self.settings.epochs - self.epoch)
            line += f", {tqdm.format_interval(left_s)} left"
        status.tell(line)

    def _check_time(self) -> None:
        """Stop before an epoch that would probably end after the deadline.

        The first epoch of all is started whenever there is time at all.
        """
        if self.deadline_s is None:
            return
        last_s = self.history[-1]["total_seconds"] if self.history else 0.0
        needed_s = max(last_s, self._spent_s)
        late = time.monotonic() + needed_s > self.deadline_s
        if processes.from_main(lambda: late):
            raise OutOfTime(
                f"{self.name}: the time budget is used up after epoch {self.epoch} of "
                f"{self.settings.epochs}; finished work is kept: run the same command again to "
                "continue"
            )

    def _not_finite(self, ids: np.ndarray) -> TrainingError:
        ids = np.concatenate(processes.gather(ids))
        return TrainingError(
            f"{self.name}: the loss is not finite in epoch {self.epoch + 1}, on the batch of "
            f"{', '.join(map(str, ids))}. {self._way_out()}"
        )

    def _way_out(self) -> str:
        other = "" if self.settings.precision == "no" else " or set PRECISION='no'"
        return (
            f"Lower the learning rate (now {self.settings.lr:g}){other}: with another setting the "
            "training starts from scratch"
        )

    def state(self) -> dict[str, Any]:
        """Return everything that changes during the training: nested tensors and plain values."""
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

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        if state["scaler"]:  # empty if no loss was scaled: the machine had no fp16
            self.scaler.load_state_dict(state["scaler"])
        self.hooks.load_state(state["hooks"])
        if self.ema:
            self.ema.load_state_dict(state["ema"])
        self.epoch, self.history = state["epoch"], state["history"]
        self.best, self.best_epoch = state["best"], state["best_epoch"]

    def _continue(self) -> bool:
        """Load the resume file if there is one; the main process reads it for all."""
        path = self.resume
        if path is None:
            return False
        state = processes.from_main(lambda: tensors.load_state(path) if path.is_file() else None)
        if state is None:
            return False
        try:
            self.load_state(state)
        except (LookupError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            if memory.is_full(error):
                raise
            raise files.damaged(path, error) from None
        return True


def resume_file(folder: Path, settings: TrainSettings, seed: int, inputs: Any) -> Path:
    """Return the resume file of a training; other settings or `inputs` have a file of their own.

    A trial with other settings therefore costs an interrupted training nothing. The file of a
    training that is never continued stays until somebody deletes it.
    """
    key = files.fingerprint([dataclasses.asdict(settings), seed, inputs])
    return folder / f"{key}.resume"
