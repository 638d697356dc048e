"""The device that computes, its name, and its fastest safe precision."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from accelerate.utils import parse_flag_from_env


def default_device() -> torch.device:
    """Return CUDA, Apple's MPS or the CPU: the first that is here and computes.

    `accelerate launch --cpu` forces the CPU.
    """
    kind = gpu_kind()
    return torch.device(kind if kind and not failure(kind) else "cpu")


def gpu_kind() -> str:
    """Return "cuda" or "mps" if torch sees such a device and may use it, else ""."""
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return ""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else ""


@contextlib.contextmanager
def without_tf32() -> Iterator[None]:
    """Convolve in whole float32 on a GPU inside; cuDNN rounds to ten bits otherwise."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@functools.cache
def failure(kind: str) -> str:
    """Compute something on a GPU, once in a process; return why it fails, "" if it does not.

    torch may see a card that is too old for its kernels (a P100 on Kaggle). A line on stderr then
    says that the CPU is used. If there are several GPUs, the one that Accelerate gives to this
    process computes: memory of another would stay occupied.
    """
    device = torch.device(kind)
    if kind == "cuda":
        process = int(os.environ.get("LOCAL_RANK", "0"))  # of this machine
        device = torch.device(kind, process % torch.cuda.device_count())
    try:
        ones = torch.ones(2, 2, device=device)
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
    """Return Accelerate's name of the fastest safe precision: "bf16", "fp16" or "no" (float32).

    bf16 needs hardware that multiplies it: Ampere or newer GPUs, CPUs with AVX512-BF16 or AMX.
    Older CUDA GPUs get fp16 with loss scaling.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    on_cpu = device.type == "cpu"
    cpu: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if on_cpu else {}
    return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "no"
