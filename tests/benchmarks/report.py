"""The benchmarks' table on the screen and their JSON files."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import torch

from helpers.core import devices, environment, files
from tests.benchmarks import made_up, measure
from tests.benchmarks.measure import Measured, Timed

ROW = "{:<34} {:>14} {:>14} {:>7} {:>9} {:>9}"
HEADINGS = ("case", "ours", "plain", "ratio", "peak MiB", "plain")
MEMORY_TERMS = {
    "peak_mib": "largest resident memory of the measuring process, imports included",
    "above_imports_mib": "peak_mib less what was resident before the measured function began",
    "workers_mib": "what the processes it started held for themselves, seen every "
    f"{measure.SAMPLE_S} s",
    "accelerator_mib": "most that torch had allocated on the GPU; null without one",
}


@dataclass(frozen=True)
class Options:
    """Choices of the command line for every benchmark."""

    folder: Path  # made-up images and their caches; removed at the end
    images: Path | None = None  # a folder of images to take instead of made-up ones
    repeats: int = 1  # processes per measurement; the quickest counts

    @property
    def cache_root(self) -> Path:
        return self.folder / "cache"

    def table(self, count: int) -> pd.DataFrame:
        """Return `id, path, label` of so many images, or of all that the given folder holds."""
        return made_up.image_table(self.folder / "images", count, self.images)

    def measure(self, function: Callable[..., Timed], *arguments: Any) -> Measured:
        """Call a function in a fresh process, as often as the command line says."""
        return measure.fresh(function, *arguments, repeats=self.repeats)


@dataclass(frozen=True)
class Case:
    """One line of a benchmark: our way, the plain way if there is one, and a remark."""

    name: str
    ours: Measured
    plain: Measured | None = None
    unit: str = "s"  # "s", "s/step": the seconds; "images/s": the rate
    remark: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # of both sides, for the JSON

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the plain way ours is, item by item."""
        return self.plain.seconds_each / self.ours.seconds_each if self.plain else None

    def line(self) -> str:
        """Return the case as a line of the table."""
        sides = [self.ours, self.plain]
        ratio = f"{self.ratio:.1f}x" if self.ratio else "-"
        values, memory = map(self._value, sides), map(self._memory, sides)
        gpu = [f"{side.accelerator_mib:.0f}" for side in sides if side and side.accelerator_mib]
        remarks = [self.remark, f"GPU {' and '.join(gpu)} MiB" if gpu else ""]
        row = ROW.format(self.name, *values, ratio, *memory)
        return f"{row}  {', '.join(filter(None, remarks))}".rstrip()

    def record(self) -> dict[str, Any]:
        """Return the case for JSON."""
        names = ("name", "unit", "ratio", "remark", "facts")
        sides = {"ours": self.ours.record(), "plain": self.plain.record() if self.plain else None}
        return {name: getattr(self, name) for name in names} | sides

    def _value(self, side: Measured | None) -> str:
        if side is None:
            return "-"
        if not self.unit.endswith("/s"):
            return f"{side.seconds:.2f} {self.unit}"
        return f"{1 / side.seconds_each:.1f} {self.unit}"

    def _memory(self, side: Measured | None) -> str:
        if side is None:
            return "-"
        return f"{side.peak_mib:.0f}" + (f"+{side.workers_mib:.0f}" if side.workers_mib else "")


def show(name: str, about: str, sizes: dict[str, Any], cases: Iterator[Case], path: Path) -> None:
    """Print each case when it is there, and write those so far: a long run may be stopped."""
    title, done = about.splitlines()[0], []
    print(f"\n{name}: {title}\n{ROW.format(*HEADINGS)}", flush=True)
    facts = {"benchmark": name, "title": title, **describe_machine(), "sizes": sizes}
    for case in cases:
        done.append(case.record())
        print(case.line(), flush=True)
        files.save_json(path, facts | {"memory": MEMORY_TERMS, "cases": done})


def describe_machine() -> dict[str, Any]:
    """Return the machine, without its name, and the software that the numbers are measured on."""
    device, processor = devices.default_device(), platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.is_file() else ():
        if line.startswith("model name"):
            processor = line.partition(":")[2].strip()
    return {
        "machine": {
            "system": f"{platform.system()} {platform.machine()}",
            "processor": processor,
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
