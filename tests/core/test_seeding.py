"""Random streams depend on seed, purpose and epoch alone, and disturb no other stream."""

import itertools

import numpy as np
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


def torch_draw(*key):
    with seeding.torch_stream(*key):
        return torch.rand(8).numpy()


@pytest.mark.parametrize(
    "draw", [lambda *key: seeding.numpy_stream(*key).random(8), torch_draw], ids=["numpy", "torch"]
)
def test_streams_repeat_and_differ(draw):
    first = draw(0, "order", 1)
    np.testing.assert_array_equal(first, draw(0, "order", 1))
    for other in ((1, "order", 1), (0, "augment", 1), (0, "order", 2)):
        assert np.abs(first - draw(*other)).max() > 0.01


def test_a_torch_stream_restores_the_outer_generator_even_after_an_error():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    torch_draw(0, "dropout")
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(RuntimeError, match=r"^stop$"), seeding.torch_stream(0, "dropout"):
        torch.rand(3)
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), before)
