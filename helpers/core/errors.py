"""Errors that a user can fix, the end of the time budget, and the end of the memory."""

import contextlib
import dataclasses
import errno
import re
from collections.abc import Iterator
from typing import Any

# messages of torch (on any device) and of the libraries below it
_SAYS_FULL = re.compile(r"can(no|')t allocate memory|out of memory|_ALLOC_FAILED|bad_alloc", re.I)
_SIZES = ("batch_size", "image_size_px")  # endings of the parameters that need memory


class UserError(Exception):
    """The message says what is wrong and what to do; commands print it and exit with status 1."""


class OutOfTime(RuntimeError):
    """The time budget is used up; finished work is kept, and the same call continues it."""


@contextlib.contextmanager
def enough_for(work: str, settings: Any) -> Iterator[None]:
    """Run a block; if the memory is too small for the `work`, say which settings to lower."""
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_full(error):
            raise
        text = f"{work}: the memory is full; {advice(settings)}. Finished work is kept"
        raise UserError(text) from error


def advice(settings: Any) -> str:
    """Return which settings to lower if the memory is full; a class has no values to name."""
    known = {} if isinstance(settings, type) else dataclasses.asdict(settings)
    names = [field.name for field in dataclasses.fields(settings) if field.name.endswith(_SIZES)]
    words = [f"{name.upper()} (now {known[name]})" if known else name.upper() for name in names]
    no_setting = "close other programs or use a larger machine"
    return f"lower {' or '.join(words)}" if words else no_setting


def is_full(error: BaseException) -> bool:
    """Return True if an error says that the memory is full."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(_SAYS_FULL.search(str(error)))
