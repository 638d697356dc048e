"""The process and its machine: versions, commit, environment variables, device, precision."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from helpers.core import paths

VERSIONED = ("torch", "torchvision", "timm", "scikit-learn", "numpy", "papermill")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that numbers depend on."""
    libraries = {name: importlib.metadata.version(name) for name in VERSIONED}
    return {"python": platform.python_version()} | libraries


def commit() -> str | None:
    """Return the clone's git commit, with a plus if files were changed, or None without a clone."""
    command = ["git", "-C", str(paths.project_root()), "describe", "--always", "--dirty=+"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        if paths.is_clone():  # another repository may hold the folder of an installed wheel
            told = subprocess.check_output(command, stderr=subprocess.DEVNULL, timeout=10)
            return told.decode().strip() or None
    return None


@contextlib.contextmanager
def having(name: str, value: str) -> Iterator[None]:
    """Set an environment variable for a block, and for the processes that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


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


@contextlib.contextmanager
def threads(number: int) -> Iterator[None]:
    """Compute a block with so many threads on a CPU; sums then have the same order anywhere."""
    before, on_cpu = torch.get_num_threads(), default_device().type == "cpu"
    try:
        with threadpool_limits(number if on_cpu else None):
            torch.set_num_threads(number if on_cpu else before)
            yield
    finally:
        torch.set_num_threads(before)


def default_precision(device: torch.device) -> str:
    """Return the name of the fastest safe precision: "bf16", "fp16" or "no" (float32).

    bf16 needs hardware that multiplies it: Ampere or newer GPUs, CPUs with AVX512-BF16 or AMX.
    """
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    on_cpu = device.type == "cpu"
    cpu: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)() if on_cpu else {}
    return "bf16" if cpu.get("avx512_bf16") or cpu.get("amx_bf16") else "no"
