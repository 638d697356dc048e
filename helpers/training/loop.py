"""The one training loop: for the CNN, the last layer, all layers, the DARTS search and retraining.

The randomness of an epoch is a function of (seed, epoch); everything else that it starts from is in
the resume file of the epoch before. So a training that is killed and started again gives, on the
CPU, the same bits as one that was never killed.
"""

import ctypes
import math
import platform
import time
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from helpers.core import environment, files, seeding, tensors, work
from helpers.core.errors import OutOfTime, UserError
from helpers.training.batches import Batches
from helpers.training.inference import ScoresError, autocast, evaluate, placed, precision_of
from helpers.training.settings import TrainSettings

Record = dict[str, Any]  # of one epoch
PLAIN = ("epoch", "history", "best", "best_epoch")  # values of a training's state
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # as in glibc's malloc.h
AUXILIARY_WEIGHT = 0.4  # DARTS (arXiv 1806.09055), appendix A.2: weight of the auxiliary tower


class TrainingError(UserError):
    """The training cannot continue; the message says what to change."""


class Training:
    """A training that keeps the epoch of the best validation AUC (or the last).

    `run` does all of it. A caller that adds steps, such as the DARTS search, writes the body of the
    loop instead:

        training = Training(model, train, val, TrainSettings(epochs=3), seed=0)
        for record in training.epochs():
            for images, targets in training.batches():
                training.step(images, targets)
        training.history[training.best_epoch]["val_auc"]

    The model returns raw class scores (B, K), or (scores, auxiliary scores) in training. Without
    `val` the last epoch has to be kept. Name, resume file and deadline are those of
    `work.current()`; no epoch starts that would probably end after the deadline. A caller with
    other state puts it into `extra`: objects with `state_dict` and `load_state_dict`.
    """

    def __init__(
        self,
        model: nn.Module,
        train: Batches,
        val: Batches | None,
        settings: TrainSettings,
        *,
        seed: int,
        parameters: list[nn.Parameter] | None = None,
    ) -> None:
        device = environment.default_device()
        self.model, self.train, self.val = placed(model, device), train, val
        self.settings, self.seed = settings, seed
        doing = work.current()
        self.name, self.resume, self.deadline_s = doing.name, doing.resume, doing.deadline_s
        self.parameters = parameters or [p for p in model.parameters() if p.requires_grad]
        self.precision = precision_of(device, settings.precision)
        self.optimizer = make_optimizer(self.parameters, settings)
        steps = max(1, math.ceil(train.epoch_size / train.batch_size)) * settings.epochs
        self.scheduler = make_scheduler(self.optimizer, settings, steps)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16")
        self.extra: dict[str, Any] = {}
        self.epoch = 0
        self.history: list[Record] = []  # of the finished epochs
        self.best_epoch = -1
        self.best: dict[str, Tensor] = {}  # the weights of that epoch
        self._rows = np.empty(0, dtype=np.int64)  # of the current batch
        self._lr, self._total, self._seen = settings.lr, 0.0, 0  # of this epoch: rate, loss, images

    @property
    def seconds(self) -> float:
        """Return the seconds of all epochs, including those before a kill."""
        return round(sum(record["total_seconds"] for record in self.history), 2)

    def run(self) -> Self:
        """Train to the end; see `epochs`."""
        keep_freed_memory()
        for _ in self.epochs():
            for images, targets in self.batches():
                self.step(images, targets)
        return self

    def epochs(self) -> Iterator[Record]:
        """Yield the record of each epoch at its start; the caller trains, and may add to it.

        Afterwards the model holds the weights of its best epoch, or of its last. If the deadline
        has come, `OutOfTime` is raised; the resume file holds the finished epochs.
        """
        settings = self.settings
        self._continue()
        while self.epoch < settings.epochs:
            self._check_time()
            work.tell(self._progress())
            started, self._total, self._seen = time.monotonic(), 0.0, 0
            record: Record = {"epoch": self.epoch + 1}
            yield record
            if settings.schedule != "one_cycle":
                self.scheduler.step()
            seconds = time.monotonic() - started
            record |= {"lr": self._lr, "train_loss": self._total / max(1, self._seen)}
            record |= {"seconds": round(seconds, 2), "images": self._seen}
            record |= {"images_per_s": round(self._seen / seconds, 1)} | self._validated()
            record["total_seconds"] = round(time.monotonic() - started, 2)
            self.history.append(record)
            self.epoch += 1
            if self.resume is not None:
                tensors.save_state(self.resume, self.state())
        work.tell("")
        if settings.keep == "best":
            self.model.load_state_dict(self.best)
        self.model.eval()

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the inputs and the targets of this epoch's batches, shuffled; show a bar."""
        self.model.train()
        words = f"{self.name} {self.epoch + 1}/{self.settings.epochs}"
        total = self.train.epoch_size
        with (
            seeding.torch_stream(self.seed, "train", self.epoch),
            tqdm(total=total, desc=words, unit="img", leave=False, mininterval=1) as bar,
        ):
            for rows, images, targets in self.train.shuffled(self.seed, self.epoch):
                self._rows = rows
                yield images, targets
                loss = self._total / max(1, self._seen)
                bar.set_postfix(loss=f"{loss:.4f}", refresh=False)
                bar.update(len(targets))

    def step(self, images: Tensor, targets: Tensor) -> float:
        """Take a step of the weights on one batch; return its loss, which must be finite."""
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(images.device, self.precision):
            loss = loss_of(self.model(images), targets, self.settings.label_smoothing)
        self.scaler.scale(loss).backward(inputs=self.parameters)  # not alpha's in a search
        if not math.isfinite(value := loss.item()):
            ids = ", ".join(self.train.ids[self._rows])
            raise self._error(f"the loss is not finite in epoch {self.epoch + 1}, on {ids}")
        self.scaler.unscale_(self.optimizer)
        if self.settings.grad_clip:
            nn.utils.clip_grad_norm_(self.parameters, self.settings.grad_clip)
        self._lr = self.optimizer.param_groups[0]["lr"]
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.settings.schedule == "one_cycle":
            self.scheduler.step()
        self._total, self._seen = self._total + value * len(targets), self._seen + len(targets)
        return value

    def _validated(self) -> Record:
        """Return validation's numbers, and keep the weights if they are the best."""
        if self.val is None:
            return {}
        try:
            record = evaluate(self.model, self.val, self.settings.precision)
        except ScoresError as error:
            raise self._error(f"after epoch {self.epoch + 1} {error}") from None
        best = self.history[self.best_epoch]["val_auc"] if self.history else -math.inf
        if record["val_auc"] > best:  # the first of equals
            self.best_epoch = self.epoch
            self.best = {k: v.detach().cpu().clone() for k, v in self.model.state_dict().items()}
        return record

    def _progress(self) -> str:
        """Return what is trained, how good it was after the last epoch, and the time left."""
        line = f"{self.name}: epoch {self.epoch + 1} of {self.settings.epochs}"
        if not self.history:
            return line
        last = self.history[-1]
        line += f", validation AUC {100 * last['val_auc']:.1f}" if "val_auc" in last else ""
        left_s = last["total_seconds"] * (self.settings.epochs - self.epoch)
        return f"{line}, {last['images_per_s']:.0f} images/s, {tqdm.format_interval(left_s)} left"

    def _check_time(self) -> None:
        """Stop before an epoch that would probably end after the deadline; start the first."""
        needed_s = self.history[-1]["total_seconds"] if self.history else 0.0
        if time.time() + needed_s > (self.deadline_s or math.inf):
            raise OutOfTime(
                f"{self.name}: the time budget is used up after epoch {self.epoch} of "
                f"{self.settings.epochs}: run the same command again to continue"
            )

    def _error(self, problem: str) -> TrainingError:
        way_out = f"Lower the learning rate (now {self.settings.lr:g})"
        way_out += "" if self.settings.precision == "no" else " or set PRECISION='no'"
        return TrainingError(f"{self.name}: {problem}. {way_out}")

    def _stateful(self) -> dict[str, Any]:
        names = ("model", "optimizer", "scheduler", "scaler")
        return {name: getattr(self, name) for name in names} | self.extra

    def state(self) -> dict[str, Any]:
        """Return everything that changes during the training: nested tensors and plain values."""
        plain = {name: getattr(self, name) for name in PLAIN}
        return {name: part.state_dict() for name, part in self._stateful().items()} | plain

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        for name, part in self._stateful().items():
            if state[name] or name != "scaler":  # empty if no loss was scaled: there was no fp16
                part.load_state_dict(state[name])
        for name in PLAIN:
            setattr(self, name, state[name])

    def _continue(self) -> None:
        """Load the resume file if there is one."""
        if self.resume is None or not self.resume.is_file():
            return
        with files.reading(self.resume):
            self.load_state(tensors.load_state(self.resume))
        print(f"{self.name}: continuing after epoch {self.epoch} of {self.settings.epochs}")


def keep_freed_memory() -> None:
    """Keep the memory that one step frees for the next, in this process from now on.

    glibc takes a block of more than 32 MB from the kernel, and gives it back when it is freed. To
    map and zero large activations in every step takes a third of the time of fine-tuning
    EfficientNet-Lite0 at 256 px on a CPU. The peak memory grows by a tenth.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_MAX, 0)
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)  # bytes: never give back the end of the heap


def make_optimizer(
    parameters: list[nn.Parameter], settings: TrainSettings
) -> torch.optim.Optimizer:
    """Return SGD with momentum, or AdamW without weight decay of scales and shifts."""
    # One kernel for all tensors. On a CPU it saves 1 %, and a resumed search is not bit-equal.
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
            # +1: the loop steps once more after the last batch. At least 6: a fifth of 5 steps is
            # one step, for which torch divides by zero.
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


def loss_of(output: Any, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of raw scores, or of (scores, auxiliary scores), in float32."""
    if isinstance(output, tuple):
        auxiliary = loss_of(output[1], targets, smoothing)
        return loss_of(output[0], targets, smoothing) + AUXILIARY_WEIGHT * auxiliary
    return F.cross_entropy(output.float(), targets, label_smoothing=smoothing)
