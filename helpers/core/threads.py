"""How the threads of a process wait for each other, on a machine that may be shared."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import psutil

SAMPLE_S = 0.3
BUSY_PERCENT = 25  # of all cores in use by others: from here on the machine counts as shared
POLICIES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


@contextlib.contextmanager
def polite_waiting() -> Iterator[None]:
    """Let OpenMP's threads sleep while they wait, in processes started in this block.

    By default they spin. That is quicker on free cores, but takes cores from other processes on a
    busy machine: several trainings at once then run at a third of their speed. So they sleep only
    if other processes use a quarter of the cores or more when the block begins. A policy that the
    user has set is kept.
    """
    chosen = any(name in os.environ for name in POLICIES)
    if chosen or psutil.cpu_percent(SAMPLE_S) < BUSY_PERCENT:
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"  # read when torch is imported
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]
