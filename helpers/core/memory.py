"""Full memory, said in the parameters of a notebook."""

from __future__ import annotations

import dataclasses
import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

# What torch and the libraries under it say; torch has an error of its own for CUDA alone.
_SAYS_FULL = re.compile(
    r"can't allocate memory|cannot allocate memory|out of memory|_ALLOC_FAILED|bad_alloc", re.I
)
_SIZES = ("batch_size", "image_size_px")  # endings of the parameters that memory depends on
NOTHING = "close other programs or take a larger machine"


class MemoryFullError(RuntimeError):
    """The memory is full; the message names the parameters to lower."""


@contextmanager
def enough_for(work: str, settings: Any, sizes: Sequence[str] | None = None) -> Iterator[None]:
    """Run a block; where its memory does not suffice, say which settings to lower.

    Args:
        work: what the block does, to open the message with.
        settings: a stage's settings (a dataclass).
        sizes: those of them that the block's memory depends on, to be named with their values;
            all sizes of batches and images when not given.

    Raises:
        MemoryFullError: for MemoryError, torch.OutOfMemoryError, and an error that says so.
    """
    try:
        yield
    except (MemoryError, RuntimeError, OSError) as error:
        if not is_full(error):
            raise
        names = sizes_of(settings) if sizes is None else sizes
        listed = " or ".join(f"{name.upper()} (now {getattr(settings, name)})" for name in names)
        advice = f"lower {listed}" if listed else NOTHING
        raise MemoryFullError(
            f"{work}: the memory is full; {advice}. What is finished is kept"
        ) from error


def sizes_of(settings: Any) -> list[str]:
    """The settings of a stage (the dataclass or its values) that memory depends on."""
    return [field.name for field in dataclasses.fields(settings) if field.name.endswith(_SIZES)]


def is_full(error: BaseException) -> bool:
    """Whether an error says that the memory is full."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return bool(_SAYS_FULL.search(str(error)))
