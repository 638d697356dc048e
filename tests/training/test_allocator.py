"""Memory that is freed in a training stays at hand."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource
from helpers.training import allocator

def page_faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(128 * 2**20)[::4096] = bytes(2**15)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

new = page_faults()
allocator.keep_freed_memory()
page_faults()  # takes the memory for good
print(new, page_faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="not glibc")
def test_freed_memory_is_kept():
    said = subprocess.check_output([sys.executable, "-c", PROGRAM], text=True)
    new, training = map(int, said.split())
    assert training < new / 20
