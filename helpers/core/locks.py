"""One process at a time at one thing: a lock file that frees itself with its process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from helpers.core.writing import ArtifactError, writing

# what a file system says that knows no locks; some network disks do not
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class LockedError(RuntimeError):
    """Another process holds the lock."""


@contextmanager
def held(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold `path` as a lock; `acquire` says what it raises.

    The file is gone afterwards; after a kill it stays, but nobody holds it.
    """
    handle = acquire(path, wait)
    try:
        yield
    finally:
        release(path, handle)


def acquire(path: Path, wait: bool = True) -> IO[str]:
    """A lock file that this process holds until `release` or its end.

    Args:
        path: the lock file; its folder is made where it is missing.
        wait: until no other process or thread holds it.

    Raises:
        LockedError: somebody else holds it, and `wait` is false.
        ArtifactError: the folder cannot be written, or files cannot be locked there.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            handle = path.open("w")
            try:
                take(handle, path, wait)
                if is_file_of(handle, path):
                    return handle
            except BaseException:
                handle.close()
                raise
            handle.close()  # the one before has removed this file: who comes now locks a new one


def release(path: Path, handle: IO[str]) -> None:
    """Free what `acquire` gave."""
    with handle:
        if is_file_of(handle, path):
            path.unlink(missing_ok=True)


def is_file_of(handle: IO, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(handle.fileno()), path.stat())
    except FileNotFoundError:
        return False


def take(handle: IO, path: Path, wait: bool) -> None:
    """Lock an open file; the lock ends when it is closed, or with the process.

    Raises:
        LockedError, ArtifactError: see `acquire`.
    """
    try:
        import fcntl  # not on Windows, where everything that needs no lock works all the same
    except ImportError:
        raise ArtifactError(
            f"{path} cannot be locked: this system has no file locks as on Linux and macOS; on "
            "Windows, work in WSL"
        ) from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LockedError(f"{path} is held by another process") from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise ArtifactError(
            f"{path} cannot be locked: its file system has no locks ({error.strerror}); set "
            "GOOD_BAD_HOME to a folder on a local disk"
        ) from None
