"""What each exact speed-up gains: `python -m tests.benchmarks.speedups [STAGE ...]`.

Steps with and without a speed-up alternate in one process; the median of the CPU seconds counts,
which other programs on the machine disturb less than the time that passes. A speed-up whose factor
is below 1.15 on the stage that it was written for does not earn its lines.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from torch import nn

from helpers.darts.genotypes import PUBLISHED
from helpers.darts.network import DerivedNetwork
from helpers.darts.settings import NetworkSettings
from helpers.models import backbones
from helpers.training.allocator import freed_memory_kept
from helpers.training.inference import Scorer, autocast, placed
from helpers.training.patchcore import patch_features

ROUNDS = 15
CPU = torch.device("cpu")


def batch(size: int, size_px: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised images and labels."""
    images = torch.randn(size, 3, size_px, size_px).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(0, 2, (size,))


def training(model: nn.Module, size: int, size_px: int, precision: str) -> Callable[[], None]:
    """Return a step of fine-tuning or retraining."""
    model = placed(model.train(), CPU)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    images, labels = batch(size, size_px)

    def step() -> None:
        with autocast(CPU, precision):
            output = model(images)
            loss = F.cross_entropy(output[0] if isinstance(output, tuple) else output, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def fbp(size_px: int = 192) -> Callable[[], None]:
    """Return a step of fine-tuning as 03 does it."""
    model = backbones.build(backbones.spec_of("efficientnet_lite0", 2, size_px))
    return training(model, 32, size_px, "auto")


def cell() -> Callable[[], None]:
    """Return a step of retraining a cell as `full` does it."""
    network = DerivedNetwork(PUBLISHED["DARTS_V2"], NetworkSettings(16, 5))
    return training(network, 64, 96, "auto")


def inference(patches: bool, compiled: bool) -> Callable[[], None]:
    """Return the scoring or the patch features of 64 images, compiled or not."""
    model = backbones.build(backbones.spec_of("efficientnet_lite0", 2, 192))
    scorer = Scorer(model, CPU, images=10_000 if compiled else 0)
    images = batch(64, 192)[0]
    function = partial(patch_features, model) if patches else scorer._class_scores

    def step() -> None:
        scorer.run(function, images)

    return step


def kept(step: Callable[[], None], keep: bool) -> Callable[[], None]:
    """Return three steps that keep the freed memory or do not."""

    def steps() -> None:
        with freed_memory_kept() if keep else nullcontext():
            for _ in range(3):
                step()

    return steps


def seconds_of(step: Callable[[], None]) -> float:
    """Return the CPU seconds of a step."""
    started = time.process_time()
    step()
    return time.process_time() - started


def pair(name: str, fast: Callable, slow: Callable) -> dict[str, Callable]:
    """Return a fast step and a slow one."""
    return {"": fast, name: slow}


STAGES = {
    "fbp-memory": lambda: pair("memory kept", kept(s := fbp(), True), kept(s, False)),
    "cell-memory": lambda: pair("memory kept", kept(s := cell(), True), kept(s, False)),
    "scores": lambda: pair("OpenVINO", inference(False, True), inference(False, False)),
    "patches": lambda: pair("OpenVINO", inference(True, True), inference(True, False)),
}


def main(names: list[str]) -> None:
    """Print for each stage the seconds of a step, and what each speed-up gains."""
    for name in names or STAGES:
        torch.manual_seed(0)
        variants = STAGES[name]()
        for variant in variants.values():  # a first step compiles and allocates
            seconds_of(variant)
        seconds = {key: [] for key in variants}
        for _ in range(ROUNDS):
            for key, variant in variants.items():
                seconds[key].append(seconds_of(variant))
        base = median(seconds.pop(""))
        gains = (f"{key} {median(values) / base:.2f}x" for key, values in seconds.items())
        print(f"{name}: {base:.2f} s; {', '.join(gains)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
