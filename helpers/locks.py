"""One process at a time at one thing: a lock file that frees itself with its process."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from helpers.writing import writing


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold `path` as a lock; waits while another process or thread holds it.

    The file is gone afterwards; after a kill it stays, but nobody holds it.

    Raises:
        ArtifactError: the folder cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(path)
    with handle:
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> IO[str]:
    while True:
        handle = path.open("w")
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(handle.fileno()), path.stat()):
                return handle
        except FileNotFoundError:
            pass
        handle.close()  # the one before has removed this file: who comes now locks a new one
