"""Turn out-of-memory errors into advice about notebook parameters."""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from helpers.core.errors import UserError

# what torch (on any device) and the libraries below it say
_SAYS_FULL = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|_ALLOC_FAILED|bad_alloc", re.I
)
_SIZES = ("batch_size", "image_size_px")  # endings of the parameters that need memory
NOTHING = "close other programs or use a larger machine"


class MemoryFullError(UserError):
    """The memory is full; the message names the parameters to lower."""


@contextmanager
def enough_for(work: str, settings: Any) -> Iterator[None]:
    """Run a block; if the memory is too small for it, say which settings to lower.

    Args:
        work: name of the work, to open the message with.
        settings: a stage's settings (a dataclass).

    Raises:
        MemoryFullError: from any error that says that the memory is full; other errors pass.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_full(error):
            raise
        sizes = {name.upper(): getattr(settings, name) for name in sizes_of(settings)}
        listed = " or ".join(f"{name} (now {value})" for name, value in sizes.items())
        advice = f"lower {listed}" if listed else NOTHING
        message = f"{work}: the memory is full; {advice}. Finished work is kept"
        raise MemoryFullError(message) from error


def sizes_of(settings: Any) -> list[str]:
    """Return the names of the settings (an object or its class) that need memory."""
    return [field.name for field in dataclasses.fields(settings) if field.name.endswith(_SIZES)]


def is_full(error: BaseException) -> bool:
    """Return True if an error says that the memory is full."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(_SAYS_FULL.search(str(error)))
