"""Random streams that depend on (seed, purpose, epoch) alone.

A training that stops after any epoch and resumes draws the same numbers as one that never stopped.

    order = numpy_stream(seed, "order", epoch).permutation(n)
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from helpers.core.environment import default_device


def stream_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """Return a 63-bit seed for one purpose and epoch; different purposes are independent."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def numpy_stream(seed: int, purpose: str, epoch: int = 0) -> np.random.Generator:
    """Return a NumPy generator for one purpose and epoch."""
    return np.random.default_rng(stream_seed(seed, purpose, epoch))


@contextmanager
def torch_stream(seed: int, purpose: str, epoch: int = 0) -> Iterator[None]:
    """Run a block with torch's global generators set to this stream, and restore them.

    Dropout, weight initialisation and kornia's augmentations draw from the global generators.
    """
    devices = [torch.cuda.current_device()] if default_device().type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(stream_seed(seed, purpose, epoch))
        yield
