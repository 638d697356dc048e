"""True float32: no autocast, no TF32, no bf16 inside products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


def _switches() -> list[tuple[Any, str, Any]]:
    """(owner, attribute, exact value) of each setting that lets float32 products be rounded."""
    backends: Any = torch.backends  # which settings it has depends on torch's version
    if not hasattr(backends.cudnn, "conv"):  # before torch 2.9
        return [(backends.cuda.matmul, "allow_tf32", False), (backends.cudnn, "allow_tf32", False)]
    owners = (backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul)
    return [(owner, "fp32_precision", "ieee") for owner in (*owners, backends.mkldnn.conv)]


def _matmul_precision() -> str | None:
    """The older global setting; None where the newer ones, set since, contradict it."""
    try:
        return torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


@contextmanager
def true_float32(device: torch.device) -> Iterator[None]:
    """Inside, float32 is computed as float32 on this device; the settings come back after."""
    older = _matmul_precision()
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in _switches()]
    try:
        # Both generations of settings: torch refuses to multiply while they contradict each other.
        torch.set_float32_matmul_precision("highest")
        for owner, name, value in _switches():
            setattr(owner, name, value)
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for owner, name, value in before:
            setattr(owner, name, value)
