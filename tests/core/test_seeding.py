"""Random streams depend on seed, purpose and epoch alone, and disturb no other stream."""

import itertools

from helpers.core import seeding


def test_a_stream_depends_on_seed_purpose_and_epoch_alone():
    keys = list(itertools.product((0, 1, 11), ("order", "augment"), (0, 1, 11)))
    seeds = [seeding.stream_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    # the same on every machine:
    # printf '0/order/0' | b2sum -l 64: the first 8 bytes, big-endian, without the lowest bit
    assert seeding.stream_seed(0, "order") == 1829853113658518448
