"""The piece of work that is being done: its name, its resume file, and when it has to stop.

A long training asks for it; its result does not depend on it, so no function takes it as an
argument:

    with work.doing("FBP, fold 1", resume=Path("fbp.resume"), deadline_s=time.time() + 3600):
        fit(network, images, table, settings, seed=0)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Work:
    """Name, resume file and deadline of the piece of work that is being done."""

    name: str = "training"  # in progress bars and messages
    resume: Path | None = None  # continue from this file, and write it after every epoch
    deadline_s: float | None = None  # on `time.time`'s clock; see `OutOfTime`


ALONE = Work()  # no file, no deadline
_CURRENT: ContextVar[Work] = ContextVar("work", default=ALONE)


def current() -> Work:
    """Return the work that is being done; outside of `doing` it has no file and no deadline."""
    return _CURRENT.get()


@contextlib.contextmanager
def doing(name: str, resume: Path | None = None, deadline_s: float | None = None) -> Iterator[Work]:
    """Make a piece of work the current one for a `with` block."""
    token = _CURRENT.set(Work(name, resume, deadline_s))
    try:
        yield current()
    finally:
        _CURRENT.reset(token)
