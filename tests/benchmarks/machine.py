"""The machine and the software that numbers were measured on, and what the memory's names mean."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil
import torch

from helpers.core import devices, environment
from tests.benchmarks.measure import SAMPLE_S

MEMORY_TERMS = {
    "peak_mib": "largest resident memory of the measuring process, imports included",
    "above_imports_mib": "peak_mib less what was resident before the measured function began",
    "workers_mib": f"what the processes it started held for themselves, seen every {SAMPLE_S} s",
    "accelerator_mib": "most that torch had allocated on the GPU; null without one",
}


def describe() -> dict[str, Any]:
    """The machine and the software that the numbers were measured on, without its name."""
    device = devices.default_device()
    return {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        },
        "device": devices.device_name(device),
        "precision": devices.default_precision(device),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "versions": environment.versions(),
        "commit": environment.commit(),
    }


def line() -> str:
    """The device and what else the numbers depend on most, in a line."""
    found, kinds = describe(), ("device", "precision", "threads", "torch")
    return ", ".join(f"{kind} {found[kind]}" for kind in kinds)


def hide_gpu() -> None:
    """Keep this process and its children on the CPU; before anything asks for a GPU."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


def _processor() -> str:
    """The processor's name, where the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()
