"""What `python -m helpers.doctor` looks at in the machine: device, cores, disk and memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from helpers.commands import estimates
from helpers.commands.doctor_checks import Line, existing
from helpers.core import paths

if TYPE_CHECKING:
    import torch


# what a preset means without a GPU
SLOW = {
    "full": "takes about one to two hours on two CPU cores; quick takes minutes",
    "paper": "is made for a GPU and takes days here; quick takes minutes",
}


def device(preset: str) -> Line:
    """CPU or GPU, and the precisions that it multiplies fast."""
    import torch

    from helpers.core import devices

    chosen = devices.default_device()
    name, precision = devices.device_name(chosen), devices.default_precision(chosen)
    if chosen.type == "cuda":
        memory_gb = torch.cuda.get_device_properties(chosen).total_memory / 1e9
        try:
            torch.zeros(1, device=chosen).add_(1).item()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            way_out = "install the torch build for this driver, or set CUDA_VISIBLE_DEVICES=''"
            return Line("PROBLEM", "device", f"{name} does not compute ({reason}): {way_out}")
        return Line("ok", "device", f"{name}, {memory_gb:.0f} GB; {precision}")
    text = f"{name}; {_cpu_precision(precision)}" if chosen.type == "cpu" else f"{name}; float32"
    if preset in SLOW:
        return Line("note", "device", f"{text}; the preset {preset} {SLOW[preset]}")
    return Line("ok", "device", text)


def cores() -> Line:
    """Cores that this process may use, beside the threads that torch uses."""
    import torch

    known = hasattr(os, "sched_getaffinity")
    usable = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    threads = torch.get_num_threads()
    text = f"{usable} usable, torch takes {threads} threads"
    limit = os.environ.get("OMP_NUM_THREADS")
    if limit and threads < usable:
        return Line("note", "cores", f"{text}: OMP_NUM_THREADS={limit} holds it back; unset it")
    return Line("ok", "cores", text)


def disk(needed: Mapping[str, int]) -> Line:
    """Free bytes where the run will be written, beside the estimated need."""
    free = shutil.disk_usage(existing(paths.home())).free
    total = sum(needed.values())
    parts = ", ".join(f"{name} {_size(value)}" for name, value in needed.items() if value > 1e6)
    text = f"{_size(free)} free; about {_size(total)} needed (estimate: {parts})"
    if free < total:
        way_out = f"free some, or set {paths.HOME_VARIABLE} to a folder on a larger disk"
        return Line("PROBLEM", "disk", f"{text}: {way_out}")
    return Line("note" if free < 2 * total else "ok", "disk", text)


def memory(needed: Mapping[str, int], gpu_bytes: int | None = None) -> Line:
    """Free memory, beside the estimated need of the hungriest stage.

    Args:
        needed: bytes of each stage above the process itself.
        gpu_bytes: a GPU's memory, when one does the work; None: the main memory.
    """
    stage = max(needed, key=needed.__getitem__)
    free = free_memory_bytes() if gpu_bytes is None else gpu_bytes
    total = needed[stage] + (estimates.PROCESS_BYTES if gpu_bytes is None else 0)
    name, where = ("memory", "free") if gpu_bytes is None else ("gpu memory", "on the GPU")
    text = f"{_size(free)} {where}; about {_size(total)} needed by {stage} (estimate)"
    if free < total:
        way_out = "close other programs, or lower IMAGE_SIZE_PX or BATCH_SIZE with -p"
        return Line("PROBLEM", name, f"{text}: {way_out}")
    return Line("note" if free < 1.5 * total else "ok", name, text)


def gpu_bytes(device: torch.device) -> int | None:
    """The memory of a CUDA GPU; None of other devices, which share the main memory."""
    import torch

    if device.type != "cuda":
        return None
    return torch.cuda.get_device_properties(device).total_memory


def free_memory_bytes() -> int:
    """Memory that this process may still take: the machine's, or what its control group leaves."""
    import psutil

    free = psutil.virtual_memory().available
    group = Path("/sys/fs/cgroup")
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return free
    return min(free, limit - used)


def _cpu_precision(precision: str) -> str:
    import torch

    able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    names = {"amx_bf16": "AMX", "avx512_bf16": "AVX512-BF16", "amx_fp16": "AMX-FP16"}
    units = [name for key, name in names.items() if able.get(key)]
    if precision == "bf16":
        return f"bf16 ({', '.join(units)})"
    return "float32 only: the processor multiplies neither bf16 nor fp16"


def _size(number: float) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e8 else f"{number / 1e6:.0f} MB"
