"""The device that computes, its name, and its fastest safe precision."""

from __future__ import annotations

import functools
import sys
from typing import Any

import torch


def default_device() -> torch.device:
    """Return CUDA, Apple's MPS or the CPU: the first that is available and works.

    CUDA_VISIBLE_DEVICES chooses among several GPUs; if it is empty, the CPU computes.
    """
    mps = "mps" if torch.backends.mps.is_available() else ""
    kind = "cuda" if torch.cuda.is_available() else mps
    return torch.device(kind if kind and not failure(kind) else "cpu")


@functools.cache
def failure(kind: str) -> str:
    """Test a GPU by a small computation, once per process; return why it fails, "" if it works.

    torch may see a card that is too old for its kernels (a P100 on Kaggle).
    """
    try:
        ones = torch.ones(2, 2, device=kind)
        (ones @ ones).add_(1).sum().item()
    except RuntimeError as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        print(f"the GPU does not compute ({reason}): the CPU is used instead", file=sys.stderr)
        return reason
    return ""


def device_name(device: torch.device) -> str:
    """Return the device in words, for run.json and the tables."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return "Apple MPS"
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"


def default_precision(device: torch.device) -> str:
    """Return the name of the fastest safe precision: "bf16", "fp16" or "no" (float32).

    bf16 needs hardware that multiplies it: Ampere or newer GPUs, CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    on_cpu = device.type == "cpu"
    cpu: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if on_cpu else {}
    return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "no"


def precision_name(precision: str) -> str:
    """Return a precision in words, for the tables."""
    return precision.replace("no", "float32")
