"""The learning-rate range test (Smith 2017, arXiv 1506.01186): the loss while the rate grows."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Generator

import numpy as np
import pandas as pd
from torch import Tensor

from helpers.datasets.cache import ImageCache
from helpers.models.spec import Network
from helpers.training.augment import augmentation
from helpers.training.batches import image_batches
from helpers.training.loop import Training, TrainingError
from helpers.training.settings import Steering, TrainSettings

RATES = (1e-6, 1.0)  # of the first and the last step
SMOOTHING = 0.9  # of the running mean of the losses
DIVERGED = 4.0  # times the least loss: the test ends


def lr_range_test(
    build: Callable[[int], Network],
    images: ImageCache,
    table: pd.DataFrame,
    settings: TrainSettings,
    seed: int = 0,
    steps: int = 100,
) -> pd.DataFrame:
    """Train a network while the learning rate grows exponentially.

    A good peak rate is some three to ten times below the rate at which the smoothed loss is least;
    above that the training diverges. The test ends early if the smoothed loss exceeds `DIVERGED`
    times the least one, or if a loss is not finite.

    The arguments are those of `fit.fit`; the rate of `settings` does not matter.

    Returns:
        A row for each step: `lr`, `loss`, and `smoothed`, its exponential running mean.

    Raises:
        TrainingError: the first loss is not finite.
    """
    model, rows = build(seed), table[table.split == "train"]
    train = image_batches(images, rows, model, settings.batch_size, augmentation(settings.augment))
    settings = dataclasses.replace(settings, schedule="constant", ema_decay=0.0, keep="last")
    training = Training(model, train, None, settings, seed=seed, steering=Steering("range test"))
    found: list[tuple[float, float, float]] = []
    total, batches = 0.0, _batches(training)
    for step, lr in enumerate(np.geomspace(*RATES, steps), 1):
        for group in training.optimizer.param_groups:
            group["lr"] = lr
        try:
            loss = training.step(*next(batches))
        except TrainingError:  # the loss is not finite
            if not found:  # not even at the lowest rate
                raise
            break
        total = SMOOTHING * total + (1 - SMOOTHING) * loss
        found.append((float(lr), loss, total / (1 - SMOOTHING**step)))
        if found[-1][2] > DIVERGED * min(smoothed for _, _, smoothed in found):
            break
    batches.close()
    return pd.DataFrame(found, columns=["lr", "loss", "smoothed"])


def _batches(training: Training) -> Generator[tuple[Tensor, Tensor]]:
    for training.epoch in itertools.count():
        yield from training.batches()
