"""The one training loop: of the CNN, the last layer, all layers, DARTS search and retraining.

An epoch's randomness is a function of (seed, epoch), and everything else that an epoch starts from
is in the resume file written at the end of the epoch before. A training killed at any moment and
started again gives, on the CPU, the same bits as one never killed.

Several processes divide every batch (see `processes`); what they train is what one would train on
the whole batch, but for augmentation, dropout and drop path, which each draws for its own images,
and batch normalisation, which each does over its own. Taken up again by another number of
processes a training goes on, with other draws.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from helpers.core import processes, seeding, tensors
from helpers.runs.settings import TrainSettings
from helpers.runs.stages import OutOfTime
from helpers.training import resume as resuming
from helpers.training.allocator import freed_memory_kept
from helpers.training.batches import Batches
from helpers.training.inference import ScoresError, autocast, evaluate, placed, precision_of
from helpers.training.loop import Hooks, Loop
from helpers.training.optim import Loss, make_optimizer, make_scheduler


class TrainingError(RuntimeError):
    """The training cannot go on; the message says what to change."""


@dataclass
class Fit:
    """A finished training: the model holds the weights of its best epoch, or of its last."""

    history: list[dict[str, Any]]
    best_epoch: int

    @property
    def seconds(self) -> float:
        """Of all epochs, also of those before a kill."""
        return round(sum(record["total_seconds"] for record in self.history), 2)


@freed_memory_kept()
def fit(
    model: nn.Module,
    train: Batches,
    val: Batches,
    settings: TrainSettings,
    *,
    seed: int,
    name: str,
    resume: Path | None = None,
    inputs: Any = None,
    hooks: Hooks | None = None,
    parameters: list[nn.Parameter] | None = None,
    deadline_s: float | None = None,
) -> Fit:
    """Train a model with cross-entropy and keep the epoch of the best validation AUC (or the last).

    Args:
        model: gives raw class scores (B, K), or (scores, auxiliary scores) in training.
        train, val: labelled batches; class 1 is bad.
        settings: epochs, optimiser, schedule, precision, ...
        seed: of the order, the augmentation and the dropout.
        name: what the progress bar calls this training.
        resume: file to continue from and to write after every epoch; the caller removes it.
        inputs: what the training depends on beside its settings (JSON-able); a resume file of
            other inputs is not taken up but moved aside.
        hooks: additions to the loop.
        parameters: those to train; all that require gradients when not given.
        deadline_s: on `time.monotonic`'s clock; no epoch is begun that would hardly end before.

    Raises:
        TrainingError: a loss or a score is not finite, or batches are too small to be divided.
        ArtifactError: the resume file is damaged, or cannot be read.
        OutOfTime: the deadline has come; the resume file holds the epochs until then.
    """
    rank, count = processes.share()
    _check_batch(name, train.batch_size, count)
    hooks = hooks or Hooks()
    placed(model, processes.device())
    parameters = parameters or [p for p in model.parameters() if p.requires_grad]
    loop = _start(model, parameters, train.epoch_size, train.batch_size, settings, hooks)
    key = resuming.key_of(settings, seed, inputs)
    if resuming.take_up(loop, resume, key) and rank == 0:
        print(f"{name}: going on after epoch {loop.epoch} of {settings.epochs}")
    loss_of = Loss(settings.label_smoothing)
    draws = f"train {rank} of {count}" if count > 1 else "train"
    spent_s = None  # by the last whole epoch of this call, its validation and saving included
    while loop.epoch < settings.epochs and not loop.stopped:
        _check_time(loop, deadline_s, spent_s, name, settings.epochs)
        began = time.monotonic()
        hooks.epoch_starts(loop.epoch, settings.epochs)
        with seeding.torch_stream(seed, draws, loop.epoch):
            record = _train_epoch(train, loop, parameters, loss_of, settings, seed, name)
        _end_epoch(loop, record, val, settings, name, began)
        if resume is not None and rank == 0:
            tensors.save_state(resume, {"key": key, "loop": loop.state()})
        spent_s = time.monotonic() - began
    if settings.keep == "best":
        model.load_state_dict(loop.best)
    model.eval()
    return Fit(loop.history, loop.best_epoch)


def _start(
    model: nn.Module,
    parameters: list[nn.Parameter],
    n: int,
    batch_size: int,
    settings: TrainSettings,
    hooks: Hooks,
) -> Loop:
    processes.same_weights(model)
    optimizer = make_optimizer(parameters, settings)
    steps = max(1, math.ceil(n / batch_size)) * settings.epochs
    device = parameters[0].device
    fp16 = device.type == "cuda" and precision_of(device, settings.precision) == "fp16"
    ema = None
    if settings.ema_decay:
        average = get_ema_multi_avg_fn(settings.ema_decay)
        ema = AveragedModel(model, multi_avg_fn=average, use_buffers=True)
    scheduler = make_scheduler(optimizer, settings, steps)
    hooks.training_starts(optimizer)
    return Loop(model, optimizer, scheduler, torch.amp.GradScaler(enabled=fp16), ema, hooks)


def _train_epoch(
    train: Batches,
    loop: Loop,
    parameters: list[nn.Parameter],
    loss_of: Loss,
    settings: TrainSettings,
    seed: int,
    name: str,
) -> dict[str, Any]:
    """One pass over the training rows; returns the epoch's record."""
    loop.model.train()
    device, share = processes.device(), processes.share()
    labels = torch.tensor(train.labels, device=device)
    total, seen, started = 0.0, 0, time.monotonic()
    lr = loop.optimizer.param_groups[0]["lr"]
    description = f"{name} {loop.epoch + 1}/{settings.epochs}"
    options = {"unit": "img", "leave": False, "mininterval": 1, "disable": share[0] > 0}
    with tqdm(total=train.epoch_size, desc=description, **options) as bar:
        if loop.history:
            bar.set_postfix(val_auc=f"{loop.history[-1]['val_auc']:.4f}", refresh=False)
        for rows, inputs in train.shuffled(seed, loop.epoch, share):
            targets = labels[torch.from_numpy(rows).to(device)]
            lr = loop.optimizer.param_groups[0]["lr"]
            loop.hooks.before_step(inputs, targets)
            loop.optimizer.zero_grad(set_to_none=True)
            value, n = _backward(loop, inputs, targets, parameters, loss_of, settings.precision)
            if not math.isfinite(value):
                raise _not_finite(name, loop.epoch, train.ids[rows], settings)
            loop.scaler.unscale_(loop.optimizer)
            if settings.grad_clip:
                nn.utils.clip_grad_norm_(parameters, settings.grad_clip)
            loop.scaler.step(loop.optimizer)
            loop.scaler.update()
            if loop.ema:
                loop.ema.update_parameters(loop.model)
            if settings.schedule == "one_cycle":
                loop.scheduler.step()
            total, seen = total + value * n, seen + n
            bar.set_postfix(loss=f"{total / seen:.4f}", refresh=False)
            bar.update(n)
    if settings.schedule != "one_cycle":
        loop.scheduler.step()
    seconds = time.monotonic() - started
    return {
        "epoch": loop.epoch + 1,
        "lr": lr,
        "train_loss": total / max(1, seen),
        "seconds": round(seconds, 2),
        "images": seen,
        "images_per_s": round(seen / seconds, 1),
    }


def _end_epoch(
    loop: Loop,
    record: dict[str, Any],
    val: Batches,
    settings: TrainSettings,
    name: str,
    began_s: float,
) -> None:
    processes.average_buffers(loop.model)
    if loop.ema:
        processes.average_buffers(loop.ema.module)
    try:
        record |= evaluate(loop.judged, val, settings.precision)
        record["total_seconds"] = round(time.monotonic() - began_s, 2)
        loop.end_epoch(record)
    except ScoresError as error:
        raise TrainingError(
            f"{name}: after epoch {loop.epoch + 1} {error}. {_way_out(settings)}"
        ) from None


def _backward(
    loop: Loop,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    parameters: list[nn.Parameter],
    loss_of: Loss,
    precision: str,
) -> tuple[float, int]:
    """Leave the gradients of a batch's (scaled) loss; give the loss and the batch's images.

    Of several processes each does its share, and all get the whole batch's.
    """
    loss, n = torch.zeros(()), len(targets)
    if n:
        with autocast(inputs.device, precision):
            loss = loss_of(loop.model(inputs), targets)
        loop.scaler.scale(loss).backward()
    if processes.count() == 1:
        return loss.item(), n
    return processes.average_gradients(parameters, loss.detach(), n)


def _check_batch(name: str, batch_size: int, count: int) -> None:
    """Batch normalisation needs two images in every share."""
    if count > 1 and batch_size < 2 * count:
        raise TrainingError(
            f"{name}: a batch of {batch_size} cannot be divided among {count} processes, two "
            f"images to each: raise the batch size to {2 * count}, or start fewer processes"
        )


def _check_time(
    loop: Loop, deadline_s: float | None, spent_s: float | None, name: str, epochs: int
) -> None:
    """Stop before an epoch that the time would not suffice for, judged by the one before it.

    The first one of all is begun whenever there is time at all.
    """
    if deadline_s is None:
        return
    last = loop.history[-1] if loop.history else {"total_seconds": 0.0}
    needed = max(last["total_seconds"], spent_s or 0.0)
    if processes.from_main(lambda: time.monotonic() + needed > deadline_s):
        raise OutOfTime(
            f"{name}: the time budget is used up after epoch {loop.epoch} of {epochs}; what is "
            "done is kept: run the same again to go on from there"
        )


def _not_finite(name: str, epoch: int, ids: np.ndarray, settings: TrainSettings) -> TrainingError:
    ids = np.concatenate(processes.gather(ids))
    return TrainingError(
        f"{name}: the loss is not finite in epoch {epoch + 1}, on the batch of "
        f"{', '.join(map(str, ids))}. {_way_out(settings)}"
    )


def _way_out(settings: TrainSettings) -> str:
    other = "" if settings.precision == "no" else " or set PRECISION='no'"
    return (
        f"Lower the learning rate (now {settings.lr:g}){other}: with another setting the training "
        "begins anew"
    )
