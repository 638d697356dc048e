"""The work that is being done: its name, its resume file, its end, and a line about it.

A long training asks `current` for these. Its result does not depend on them, so they are no
arguments of a function:

    with work.doing("FBP, fold 1", resume=Path("fbp.resume"), deadline_s=time.time() + 3600):
        fit(network, images, table, settings, seed=0)

The command that runs a notebook shows the line beside its bar. It names a file in the environment
of the kernel; a training in the kernel, or in one of its processes, writes the line to this file.
"""

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

STATUS_VARIABLE = "GOOD_BAD_STATUS"  # path of a file for `tell`; if it is not set, none is written


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


def tell(line: str) -> None:
    """Replace the line; "" if the work is done. A line that cannot be written is left out."""
    if path := os.environ.get(STATUS_VARIABLE):
        with contextlib.suppress(OSError):
            Path(path).write_text(line, encoding="utf-8")


def heard(path: Path) -> str:
    """Return the latest lines, joined; several workers write files beside it (PATH.3)."""
    lines = []
    for file in sorted(path.parent.glob(f"{path.name}*")):
        with contextlib.suppress(OSError):
            lines.append(file.read_text(encoding="utf-8", errors="replace"))
    return " | ".join(filter(None, lines))
