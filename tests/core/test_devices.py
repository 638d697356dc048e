"""The device that computes, its name, and its precision."""

import functools

import pytest
import torch

from helpers.core import devices


def test_a_device_has_a_name_and_a_precision_for_it():
    cpu, threads = torch.device("cpu"), torch.get_num_threads()
    assert devices.device_name(cpu) == f"CPU, {threads} thread{'s' if threads > 1 else ''}"
    assert devices.default_precision(torch.device("mps")) == "no"
    assert devices.default_device().type in ("cuda", "mps", "cpu")


def test_a_card_that_does_not_compute_is_left_out_with_one_line(monkeypatch, capsys):
    def refuse(*_, device):
        raise RuntimeError(f"no kernel image is available for execution on the {device}\nmore")

    # a GPU that torch sees; what it computes is computed on the CPU
    ones, failure = torch.ones, functools.cache(devices.failure.__wrapped__)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", lambda rows, columns, device: ones(rows, columns))
    monkeypatch.setattr(devices, "failure", failure)
    assert devices.default_device() == torch.device("cuda")
    assert capsys.readouterr().err == ""
    failure.cache_clear()
    monkeypatch.setattr(torch, "ones", refuse)
    for _ in range(2):
        assert devices.default_device() == torch.device("cpu")
    assert capsys.readouterr().err == (
        "the GPU does not compute (no kernel image is available for execution on the cuda): the "
        "CPU is used instead\n"
    )


@pytest.mark.parametrize(
    ("capabilities", "precision"),
    [({}, "no"), ({"avx512_bf16": True}, "bf16"), ({"amx_bf16": True}, "bf16")],
)
def test_a_cpu_takes_bf16_only_if_it_multiplies_it(monkeypatch, capabilities, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert devices.default_precision(torch.device("cpu")) == precision


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "fp16"), ((8, 0), "bf16")])
def test_older_gpus_take_fp16(monkeypatch, capability, precision):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert devices.default_precision(torch.device("cuda")) == precision
