"""The benchmarks' table on the screen and their JSON files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.core import files
from tests.benchmarks import machine, made_up, measure
from tests.benchmarks.measure import Measured, Timed

WIDTHS = (34, 14, 14, 7, 9, 9)
HEADINGS = ("case", "ours", "plain", "ratio", "peak MiB", "plain")


@dataclass(frozen=True)
class Options:
    """What the command line says to every benchmark."""

    folder: Path  # made-up images and their caches; removed at the end
    images: Path | None = None  # a folder of images to take instead of made-up ones
    repeats: int = 1  # processes per measurement; the quickest counts

    @property
    def cache_root(self) -> Path:
        """Where decoded images are kept."""
        return self.folder / "cache"

    def table(self, count: int) -> pd.DataFrame:
        """`id, path, label` of so many images, or of all that the given folder holds."""
        return made_up.image_table(self.folder / "images", count, self.images)

    def measure(self, function: Callable[..., Timed], *arguments: Any) -> Measured:
        """Call a function in a fresh process, as often as the command line says."""
        return measure.fresh(function, *arguments, repeats=self.repeats)


@dataclass(frozen=True)
class Case:
    """One line of a benchmark: our way, the plain way where there is one, and a remark."""

    name: str
    ours: Measured | None
    plain: Measured | None = None
    unit: str = "s"  # "s", "s/step": the seconds; "images/s", "maps/s": the rate
    remark: str = ""
    facts: dict[str, Any] = field(default_factory=dict)  # of both sides, for the JSON

    @property
    def ratio(self) -> float | None:
        """How many times as fast as the plain way ours is, item by item."""
        if self.ours is None or self.plain is None:
            return None
        return self.plain.seconds_each / self.ours.seconds_each

    def line(self) -> str:
        """The case as a line of the table."""
        ratio = "-" if self.ratio is None else f"{self.ratio:.1f}x"
        values = [self._value(self.ours), self._value(self.plain), ratio]
        memory = [_mib(self.ours), _mib(self.plain)]
        remarks = [text for text in (self.remark, self._gpu_memory()) if text]
        return f"{row(self.name, *values, *memory)}  {', '.join(remarks)}".rstrip()

    def record(self) -> dict[str, Any]:
        """The case for JSON."""
        sides = {"ours": self.ours, "plain": self.plain}
        numbers = {name: side.record() if side else None for name, side in sides.items()}
        return {
            "name": self.name,
            "unit": self.unit,
            "ratio": self.ratio,
            "remark": self.remark,
            "facts": self.facts,
            **numbers,
        }

    def _gpu_memory(self) -> str:
        """Most that was allocated on the GPU, where there is one."""
        sides = [side for side in (self.ours, self.plain) if side and side.accelerator_mib]
        found = " and ".join(f"{side.accelerator_mib:.0f}" for side in sides)
        return f"GPU {found} MiB" if found else ""

    def _value(self, side: Measured | None) -> str:
        if side is None:
            return "-"
        if not self.unit.endswith("/s"):
            return f"{side.seconds:.2f} {self.unit}"
        return f"{1 / side.seconds_each:.1f} {self.unit}"


def row(*fields: str) -> str:
    """Fields of the table under each other: the first to the left, the others to the right."""
    first, *others = zip(fields, WIDTHS, strict=True)
    parts = [f"{first[0]:<{first[1]}}", *(f"{text:>{width}}" for text, width in others)]
    return " ".join(parts)


def show(
    name: str,
    about: str,
    sizes: dict[str, Any],
    cases: Iterator[Case],
    path: Path | None = None,
) -> list[Case]:
    """Print each case when it is there, and write those so far: a long run may be stopped.

    Args:
        name: of the benchmark.
        about: its docstring, whose first line is the title.
        sizes: of what is measured, for the JSON.
        path: of the JSON file; none is written where it is None.
    """
    title, done = about.splitlines()[0], []
    print(f"\n{name}: {title}\n{row(*HEADINGS)}", flush=True)
    for case in cases:
        done.append(case)
        print(case.line(), flush=True)
        if path is not None:
            files.save_json(path, content(name, title, sizes, done))
    return done


def content(name: str, title: str, sizes: dict[str, Any], cases: list[Case]) -> dict[str, Any]:
    """What a benchmark's JSON file holds."""
    facts = {"benchmark": name, "title": title, **machine.describe(), "sizes": sizes}
    return facts | {
        "memory": machine.MEMORY_TERMS,
        "cases": [case.record() for case in cases],
    }


def _mib(side: Measured | None) -> str:
    """Peak memory; after a plus that of the worker processes."""
    if side is None:
        return "-"
    workers = f"+{side.workers_mib:.0f}" if side.workers_mib else ""
    return f"{side.peak_mib:.0f}{workers}"
