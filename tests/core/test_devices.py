"""The device that computes, its name, and its precision."""

import functools

import pytest
import torch

from helpers.core import devices


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
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "no kernel image is available" in said


@pytest.mark.parametrize(
    ("name", "given", "precision"),
    [
        ("cpu", {}, "no"),  # a CPU takes bf16 only if it multiplies it
        ("cpu", {"avx512_bf16": True}, "bf16"),
        ("cpu", {"amx_bf16": True}, "bf16"),
        ("cuda", (7, 5), "fp16"),
        ("cuda", (8, 0), "bf16"),
        ("mps", None, "no"),
    ],
)
def test_a_precision_is_taken_if_the_device_is_built_for_it(monkeypatch, name, given, precision):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: given, raising=False)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: given)
    assert devices.default_precision(torch.device(name)) == precision
