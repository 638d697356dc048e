"""Random streams depend on seed, purpose and epoch alone, and disturb no other stream."""

import itertools

import pytest
import torch

from helpers.core import seeding


def test_a_stream_depends_on_seed_purpose_and_epoch_alone():
    keys = list(itertools.product((0, 1, 11), ("order", "augment"), (0, 1, 11)))
    seeds = [seeding.stream_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    # the same on every machine:
    # printf '0/order/0' | b2sum -l 64: the first 8 bytes, big-endian, without the lowest bit
    assert seeding.stream_seed(0, "order") == 1829853113658518448


def test_a_torch_stream_repeats_and_restores_the_outer_generator_even_after_an_error():
    before, drawn = torch.get_rng_state(), []
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"^stop$"), seeding.torch_stream(0, "dropout"):
            drawn.append(torch.rand(3))
            raise RuntimeError("stop")
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*drawn)
