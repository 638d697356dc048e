"""Do independent work in parallel: one process for each core (or GPU), with one thread each.

A training may ask for more threads (`TrainSettings.threads`). joblib's processes do it. The results
do not depend on the number of workers, or on the machine's cores.
"""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import joblib
import psutil
import torch
from tqdm.auto import tqdm

from helpers.core import environment, files, paths, work

BYTES_EACH = 2 * 2**30  # of memory that a training may need
WATCH_S = 1.0
Jobs = list[tuple[Any, ...]]  # the arguments of `_call`


def count(tasks: int) -> int:
    """Return the number of workers for so many tasks here: at most one per core or GPU."""
    gpus = {"cuda": torch.cuda.device_count(), "mps": 1}
    places = gpus.get(environment.default_device().type) or joblib.cpu_count()
    return max(1, min(tasks, places, int(psutil.virtual_memory().available // BYTES_EACH)))


def side_by_side(
    calls: Mapping[str, Callable[[], Any]],
    what: str,
    place: Path,
    threads: Mapping[str, int] | None = None,
) -> Iterator[tuple[str, Any]]:
    """Do independent calls in parallel, and yield each name with its result as soon as it is done.

    The progress bar shows `what`; the folder `place` gets the locks that share out the GPUs. What a
    call raises is raised here, and calls that have not started then are not started. `threads` are
    those of a call with more than one: it waits for the others if there are too few cores for all,
    since its threads wait for each other at each step.
    """
    if count(len(calls)) == 1:
        for name, call in tqdm(calls.items(), desc=what, disable=len(calls) < 2):
            with environment.threads(1):
                result = call()
            yield name, result
        return
    line, home = os.environ.get(work.STATUS_VARIABLE), str(paths.home())
    jobs: Jobs = [
        (name, call, os.getpid(), line and f"{line}.{number}", place, home)
        for number, (name, call) in enumerate(calls.items())
    ]
    yield from tqdm(_done(jobs, threads or {}), desc=what, total=len(calls))


def _done(jobs: Jobs, threads: Mapping[str, int]) -> Iterator[tuple[str, Any]]:
    options: dict[str, Any] = {"backend": "loky", "inner_max_num_threads": 1}
    on_cpu = environment.default_device().type == "cpu"
    of_jobs = [threads.get(job[0], 1) if on_cpu else 1 for job in jobs]
    is_crowded = sum(of_jobs) > joblib.cpu_count()
    for number in sorted({*of_jobs}) if is_crowded else [1]:
        own = [job for job, n in zip(jobs, of_jobs, strict=True) if n == number or not is_crowded]
        quiet = environment.having("TQDM_DISABLE", "1")  # bars of several processes would mix
        n_jobs = max(1, count(len(own) * number) // number)
        with quiet, joblib.parallel_config(**options, n_jobs=n_jobs):
            parallel = joblib.Parallel(return_as="generator_unordered", pre_dispatch="all")
            yield from parallel(joblib.delayed(_call)(*job) for job in own)


def _call(
    name: str, call: Callable[[], Any], parent: int, line: str | None, place: Path, home: str
) -> tuple[str, Any]:
    """Do a call in a worker process, on a GPU that no other worker of the run uses."""
    _end_with(parent)
    os.environ[paths.HOME_VARIABLE] = home
    if line:
        os.environ[work.STATUS_VARIABLE] = line
    with _own_gpu(place), environment.threads(1):
        result = call()
    work.tell("")
    return name, result


def _end_with(parent: int) -> None:
    """Leave Ctrl-C to the parent, and end this process soon after the parent has been killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if any(thread.name == "parent" for thread in threading.enumerate()):
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def _own_gpu(place: Path) -> contextlib.AbstractContextManager[Any]:
    """Choose a GPU that no other worker uses, and return its lock."""
    if environment.default_device().type != "cuda":
        return contextlib.nullcontext()
    while True:  # there are no more workers than GPUs
        for number in range(torch.cuda.device_count()):
            with contextlib.suppress(files.LockedError):
                held = files.held(place / f".gpu{number}.lock", wait=False)
                torch.cuda.set_device(number)
                return held
        time.sleep(WATCH_S)
