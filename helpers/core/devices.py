"""The device that computes, its name, and its fastest safe precision."""

from __future__ import annotations

from typing import Any

import torch
from accelerate.utils import parse_flag_from_env


def default_device() -> torch.device:
    """Return CUDA, Apple's MPS or the CPU, whichever is found first.

    `accelerate launch --cpu` forces the CPU.
    """
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        return torch.device("cpu")
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


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
