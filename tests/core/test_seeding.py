import itertools

import numpy as np
import pytest
import torch

from helpers.core import devices, seeding


def test_a_stream_depends_on_seed_purpose_and_epoch_alone():
    keys = list(itertools.product((0, 1, 11), ("order", "augment"), (0, 1, 11)))
    seeds = [seeding.stream_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys)
    assert seeds == [seeding.stream_seed(*key) for key in keys]
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_are_the_same_on_every_machine():
    # printf '0/order/0' | b2sum -l 64: the first 8 bytes, big-endian, without the lowest bit
    assert seeding.stream_seed(0, "order") == 1829853113658518448


def test_numpy_streams_repeat_and_differ():
    first = seeding.numpy_stream(0, "order", 1).random(8)
    np.testing.assert_array_equal(first, seeding.numpy_stream(0, "order", 1).random(8))
    for other in ((1, "order", 1), (0, "augment", 1), (0, "order", 2)):
        assert np.abs(first - seeding.numpy_stream(*other).random(8)).max() > 0.01


def draw(*key) -> torch.Tensor:
    with seeding.torch_stream(*key):
        return torch.rand(8)


def test_a_torch_stream_repeats_and_differs():
    assert torch.equal(draw(0, "dropout", 3), draw(0, "dropout", 3))
    assert not torch.equal(draw(0, "dropout", 3), draw(0, "dropout", 4))


def test_a_torch_stream_puts_the_outer_generator_back():
    torch.manual_seed(5)
    expected = torch.rand(6)
    torch.manual_seed(5)
    first = torch.rand(3)
    draw(0, "dropout")
    torch.testing.assert_close(torch.cat([first, torch.rand(3)]), expected, rtol=0, atol=0)


def test_a_torch_stream_puts_the_generator_back_after_an_error():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match=r"^stop$"), seeding.torch_stream(0, "dropout"):
        torch.rand(3)
        raise RuntimeError("stop")
    assert torch.equal(torch.get_rng_state(), before)


def test_a_device_has_a_name_and_a_precision_for_it():
    cpu = torch.device("cpu")
    assert devices.device_name(cpu) == f"CPU, {torch.get_num_threads()} threads"
    assert devices.default_precision(torch.device("mps")) == "no"
    assert devices.default_device().type in ("cuda", "mps", "cpu")


def test_a_launcher_that_wants_the_cpu_gets_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert devices.default_device() == torch.device("cuda")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert devices.default_device() == torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({}, "no"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
)
def test_a_cpu_takes_bf16_only_where_it_multiplies_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert devices.default_precision(torch.device("cpu")) == precision


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16")])
def test_older_gpus_take_fp16(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.default_precision(torch.device("cuda")) == precision
