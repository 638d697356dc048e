"""Seconds and peak memory of a function in a fresh process of its own.

Spawned, so that nothing of an earlier measurement (imports, warm caches, memory) is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import torch

MIB = 2**20
SAMPLE_S = 0.5  # between two looks at the worker processes: rare enough not to disturb


@dataclass(frozen=True)
class Timed:
    """What a measured function returns."""

    seconds: float
    amount: float = 1.0  # images, steps, ... done in these seconds
    facts: dict[str, Any] = field(default_factory=dict)  # for the JSON
    result: Any = None  # for the caller alone, to compare ours with the plain way


@dataclass(frozen=True)
class Measured(Timed):
    """Seconds of some work, and the memory of the process that did it, in MiB."""

    peak_mib: float = 0.0
    above_imports_mib: float | None = None
    workers_mib: float = 0.0
    accelerator_mib: float | None = None
    all_seconds: tuple[float, ...] = ()  # of every repetition; `seconds` is the best one's

    @property
    def seconds_each(self) -> float:
        return self.seconds / self.amount

    def record(self) -> dict[str, Any]:
        """Return all but the result, for JSON."""
        numbers = {name: value for name, value in vars(self).items() if name != "result"}
        return numbers | {"per_second": 1 / self.seconds_each}


def fresh(function: Callable[..., Timed], *arguments: Any, repeats: int = 1) -> Measured:
    """Call `function` in `repeats` new processes, one after another; the quickest one counts.

    The function and its arguments must be picklable. Its own exceptions come through.
    """
    found = [_in_fresh_process(function, *arguments) for _ in range(max(1, repeats))]
    best = min(found, key=lambda one: one.seconds_each)
    return dataclasses.replace(best, all_seconds=tuple(one.seconds for one in found))


def here(function: Callable[..., Timed], *arguments: Any) -> Measured:
    """Call `function` in this process and note its memory."""
    before = psutil.Process().memory_info().rss / MIB
    timed = function(*arguments)
    peak = peak_mib()
    gpu = torch.cuda.max_memory_allocated() / MIB if torch.cuda.is_available() else None
    return Measured(
        **vars(timed), peak_mib=peak, above_imports_mib=peak - before, accelerator_mib=gpu
    )


def seconds_of(work: Callable[[], Any]) -> float:
    """Return the seconds that `work` takes, until the GPU is done too."""
    synchronise()
    start = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - start


def synchronise() -> None:
    """Wait for the GPU, if this process has used one."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def peak_mib() -> float:
    """Return the largest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss would count the process that started this one, too
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (MIB if sys.platform == "darwin" else 1024)


def _in_fresh_process(function: Callable[..., Timed], *arguments: Any) -> Measured:
    context, usual = multiprocessing.get_context("spawn"), multiprocessing.get_start_method()
    with ProcessPoolExecutor(1, context, _start_workers_by, (usual,)) as pool:
        process = psutil.Process(pool.submit(os.getpid).result())
        future, most = pool.submit(here, function, *arguments), 0.0
        while not wait([future], timeout=SAMPLE_S).done:
            most = max(most, _workers_mib(process))
        return dataclasses.replace(future.result(), workers_mib=most)


def _start_workers_by(method: str) -> None:
    """Let a DataLoader start its workers as in a user's process, not spawned like this one."""
    multiprocessing.set_start_method(method, force=True)


def _workers_mib(process: psutil.Process) -> float:
    total = 0  # memory that the children share with nobody
    with contextlib.suppress(psutil.Error):  # a child has ended meanwhile
        for child in process.children(recursive=True):
            total += child.memory_full_info().uss
    return total / MIB
