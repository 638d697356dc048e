"""Seconds and peak memory of a function in a fresh process of its own.

Spawned, so that nothing of an earlier measurement (imports, warm caches, memory) is there.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch

from helpers.core import environment


@dataclass(frozen=True)
class Timed:
    """Seconds of some work, and the largest memory of the process that did it."""

    seconds: float
    amount: float = 1.0  # images, steps, ... done in these seconds
    result: Any = None  # to compare ours with the plain way
    peak_mb: int = 0


def fresh(function: Callable[..., Timed], *arguments: Any) -> Timed:
    """Call a function in a new process; the function and its arguments must be picklable."""
    context, usual = multiprocessing.get_context("spawn"), multiprocessing.get_start_method()
    with ProcessPoolExecutor(1, context, _start_workers_by, (usual,)) as pool:
        return pool.submit(_with_peak, function, *arguments).result()


def _start_workers_by(method: str) -> None:
    """Let a DataLoader start its workers as in a user's process, not spawned like this one."""
    multiprocessing.set_start_method(method, force=True)


def _with_peak(function: Callable[..., Timed], *arguments: Any) -> Timed:
    return dataclasses.replace(function(*arguments), peak_mb=environment.peak_memory_mb())


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the seconds that `work` takes, until the GPU is done too."""
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start
