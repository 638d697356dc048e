"""Freed memory stays at hand during a training, and goes back after it."""

import ctypes
import resource

import pytest
import torch

from helpers.training import allocator
from helpers.training.loop import Training

BLOCK_BYTES = 128 * 2**20
needs_glibc = pytest.mark.skipif(
    not allocator.is_glibc(), reason="the C library's allocator is another"
)


def _page_faults() -> int:
    """Of taking a large block and freeing it."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(BLOCK_BYTES, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def _page_faults_of_new_memory() -> int:
    # earlier tests may leave a free block inside the heap, which would be taken without a fault
    ctypes.CDLL(None).malloc_trim(0)
    return _page_faults()


@needs_glibc
def test_the_training_loop_keeps_freed_memory_and_gives_it_back_when_it_fails(monkeypatch):
    faults = []

    def failing(self):
        _page_faults()  # takes it for good
        faults.append(_page_faults())
        raise ZeroDivisionError
        yield

    monkeypatch.setattr(Training, "epochs", failing)
    new, training = _page_faults_of_new_memory(), object.__new__(Training)
    with pytest.raises(ZeroDivisionError):
        training.run()
    assert faults[0] < new / 20
    assert _page_faults() > new / 2
