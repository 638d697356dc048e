"""Locks: one process at a time does one thing.

    with locks.held(folder / ".lock"):
        ...

A lock ends with its process, even if that is killed. Its file stays, and may be deleted whenever
nothing runs.
"""

from __future__ import annotations

import errno
from pathlib import Path

import filelock

from helpers.core.errors import UserError
from helpers.core.files import ArtifactError, writing

# errors of file systems without locks, such as some network disks
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)


class LockedError(UserError):
    """Another process holds the lock."""


def held(path: Path, wait: bool = True) -> filelock.AcquireReturnProxy:
    """Lock a file for a `with` block, or until this process ends; its folder is created if needed.

    Raises:
        LockedError: somebody else holds it, and `wait` is false.
        ArtifactError: the folder cannot be written, or its file system has no locks.
    """
    lock = filelock.FileLock(path, timeout=-1 if wait else 0, thread_local=False)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return lock.acquire()
        except filelock.Timeout:
            raise LockedError(f"{path} is held by another process") from None
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise
            raise ArtifactError(
                f"{path} cannot be locked: its file system has no locks ({error}); set "
                "GOOD_BAD_HOME to a folder on a local disk"
            ) from None
