"""The process and its machine: versions, the commit, full memory, and environment variables."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from helpers.core import paths
from helpers.core.errors import UserError

VERSIONED = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "papermill")
# what torch (on any device) and the libraries below it say
_SAYS_FULL = re.compile(r"can(no|')t allocate memory|out of memory|_ALLOC_FAILED|bad_alloc", re.I)
_SIZES = ("batch_size", "image_size_px")  # endings of the parameters that need memory
NOTHING = "close other programs or use a larger machine"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    libraries = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"python": platform.python_version()} | libraries


def commit() -> str | None:
    """Return the clone's git commit, with a plus if files were changed, or None without a clone."""
    command = ["git", "-C", str(paths.project_root()), "describe", "--always", "--dirty=+"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if paths.is_clone():  # another repository may hold the folder of an installed wheel
            told = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=10)
            return told.decode().strip() or None
    return None


@contextlib.contextmanager
def having(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a block, and for the processes that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


class MemoryFullError(UserError):
    """The memory is full; the message names the parameters to lower."""


@contextlib.contextmanager
def enough_for(work: str, settings: Any) -> Iterator[None]:
    """Run a block; if the memory is too small for the `work`, say which settings to lower."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_full(error):
            raise
        sizes = [f"{n.upper()} (now {getattr(settings, n)})" for n in sizes_of(settings)]
        listed = " or ".join(sizes)
        advice = f"lower {listed}" if listed else NOTHING
        text = f"{work}: the memory is full; {advice}. Finished work is kept"
        raise MemoryFullError(text) from error


def sizes_of(settings: Any) -> list[str]:
    """Return the names of the settings (an object or its class) that need memory."""
    return [field.name for field in dataclasses.fields(settings) if field.name.endswith(_SIZES)]


def is_full(error: BaseException) -> bool:
    """Return True if an error says that the memory is full."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(_SAYS_FULL.search(str(error)))
