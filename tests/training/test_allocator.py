"""Freed memory stays at hand during a training, and goes back after it."""

import ctypes
import resource

import numpy as np
import pytest
import torch
from torch import nn

from helpers.training import allocator
from helpers.training.batches import EmbeddingBatches
from helpers.training.loop import Training
from helpers.training.settings import TrainSettings

BLOCK_BYTES = 128 * 2**20
needs_glibc = pytest.mark.skipif(
    not allocator.is_adjustable(), reason="the C library's allocator is another, or set by hand"
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
def test_a_block_that_is_freed_is_not_taken_from_the_kernel_again():
    new = _page_faults_of_new_memory()
    with allocator.freed_memory_kept():
        _page_faults()  # takes it for good
        kept = _page_faults()
    after = _page_faults()
    assert kept < new / 20
    assert after > new / 2


@needs_glibc
def test_the_memory_goes_back_at_the_end_also_of_a_training_that_fails():
    with pytest.raises(ZeroDivisionError), allocator.freed_memory_kept():
        _page_faults()
        _ = 1 / 0
    assert _page_faults() > BLOCK_BYTES / 2**21  # at least each huge page again


def test_an_allocator_that_the_user_has_set_is_left_alone(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    assert not allocator.is_adjustable()
    with allocator.freed_memory_kept():
        pass


class _Observed(nn.Linear):
    """Counts the page faults of a large block that was freed before."""

    def before_epoch(self, epoch, epochs):
        _page_faults()  # takes it for good
        self.faults = _page_faults()


@needs_glibc
def test_the_training_loop_keeps_freed_memory():
    new, model = _page_faults_of_new_memory(), _Observed(4, 2)
    labels = np.arange(16) % 2
    x = np.random.default_rng(0).normal(size=(16, 4)).astype(np.float32)
    batches = EmbeddingBatches(x, labels, labels.astype(str), 8)
    settings = TrainSettings(epochs=2)
    Training(model, batches, batches, settings, seed=0, name="toy").run()
    assert model.faults < new / 20
