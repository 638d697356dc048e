"""Keep the memory that a training on a CPU frees in one step for the next step.

glibc takes a block of more than 32 MB from the kernel, and gives it back when it is freed. If the
activations of a network are that large, every page of them is mapped and zeroed again in every
step, which takes a third of the time of fine-tuning EfficientNet-Lite0 at 256 px.
"""

from __future__ import annotations

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # as in malloc.h
_NEVER = 2**31 - 1  # bytes: never give back the end of the heap
# the values that glibc adapts to after large blocks were freed; once set, it adapts no longer
_AFTERWARDS = {
    _MMAP_MAX: 65536,
    _MMAP_THRESHOLD: 32 * 2**20,
    _TRIM_THRESHOLD: 64 * 2**20,
}


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Run a block that keeps freed memory in the process, and give it back at the end.

    The peak memory grows by a tenth. Without glibc the block runs as usual.
    """
    if not is_glibc():
        yield
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_MAX, 0)
    libc.mallopt(_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        for option, value in _AFTERWARDS.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)


def is_glibc() -> bool:
    """Return True if the C library is glibc."""
    return platform.libc_ver()[0] == "glibc"
