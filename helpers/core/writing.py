"""Writing a file whole or not at all, and saying what the system says against it.

A file is written beside its place and renamed into it, so that a killed run leaves the old file
or the new one.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
LEFTOVER_AGE_S = 3600  # no write takes so long: a temporary file this old belongs to a killed one


class ArtifactError(ValueError):
    """A file of a run is missing, damaged, not what it should be, or cannot be written."""


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Run a block that writes `path`; what the system refuses becomes an error that names it.

    Raises:
        ArtifactError: the disk is full, read-only, not permitted, ...
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _DISK_FULL:
            folder = next(p for p in path.absolute().parents if p.exists())
            reason = (
                f"the disk is full ({_what_is_left(folder, error)}). Make room and run the same "
                "again; what is finished is kept"
            )
        raise ArtifactError(f"{path} cannot be written: {reason}") from error


def _what_is_left(folder: Path, error: OSError) -> str:
    """What a disk has left; where that is room, what else may be used up."""
    free_mb = shutil.disk_usage(folder).free / 1e6
    text = f"{free_mb:.1f} MB free in {folder}"
    if error.errno == errno.EDQUOT:
        return f"{text}, but your quota is used up"
    counts = os.statvfs(folder) if hasattr(os, "statvfs") else None
    if counts and counts.f_files and not counts.f_favail:  # some file systems count none
        return f"{text}, but no file more (inode): remove files"
    return f"{text}; if that is enough, a quota is used up" if free_mb >= 1 else text


@contextmanager
def atomic_path(path: Path, flush: bool = True) -> Iterator[Path]:
    """Give a temporary name in the same folder; rename it to `path` when the block succeeds.

    Without `flush` it is whole after a kill, but perhaps not after a power failure; of many small
    files that takes a fraction of the time.

    Raises:
        ArtifactError: the block or the system cannot write it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            if flush:
                with temporary.open("rb") as handle:
                    os.fsync(handle.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(*folders: Path) -> None:
    """Remove the temporary files that killed writes have left anywhere under these folders.

    They are old, and their process is not alive on this machine.
    """
    for file in (file for folder in folders for file in folder.rglob(".*.tmp")):
        with contextlib.suppress(OSError):  # gone meanwhile, or not ours to remove
            old = time.time() - file.stat().st_mtime > LEFTOVER_AGE_S
            if old and file.is_file() and not _is_written(file):
                file.unlink()


def _is_written(temporary: Path) -> bool:
    """Whether the process that a temporary file is named after is alive."""
    number = temporary.name.split(".")[-2]  # .NAME.PID.tmp
    return number.isdecimal() and psutil.pid_exists(int(number))


def write_bytes(path: Path, content: bytes, flush: bool = True) -> None:
    """Write a file atomically; see `atomic_path`."""
    with atomic_path(path, flush) as temporary:
        temporary.write_bytes(content)
