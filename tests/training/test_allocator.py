"""Memory that is freed in a training stays at hand."""

import subprocess
import sys

import pytest

from helpers.training import allocator

PROGRAM = """
import resource, torch
from helpers.training.loop import Training

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(128 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def epochs(self):
    page_faults()  # takes the memory for good
    print(page_faults())
    yield from ()

Training.epochs = epochs
print(page_faults())
object.__new__(Training).run()
"""


@pytest.mark.skipif(not allocator.is_glibc(), reason="the C library's allocator is another")
def test_the_training_loop_keeps_freed_memory():
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True)
    new, training = map(int, said.split())
    assert training < new / 20
