"""Ours against the plain way, in seconds and memory: `python -m tests.benchmarks [NAME ...]`.

The plain way is what tutorials show: Pillow, a DataLoader with two workers, torchvision's
transforms, float32 in torch's own layout. Each measurement is a process of its own. A benchmark is
a module of this folder with `cases(folder, small)`.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from helpers.core import devices, environment

BENCHMARKS = ("features", "finetune", "search_step")
ROW = "{:<44} {:>16} {:>16} {:>7} {:>9} {:>9}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all in order; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--small", action="store_true", help="tiny sizes: the numbers say nothing")
    given = parser.parse_args(arguments)
    os.environ.setdefault("TQDM_DISABLE", "1")
    device = devices.default_device()
    print(devices.device_name(device), devices.default_precision(device), environment.versions())
    print(ROW.format("case", "ours", "plain", "ratio", "peak MB", "plain"))
    with tempfile.TemporaryDirectory() as folder:
        for name in given.names or BENCHMARKS:
            module = importlib.import_module(f"tests.benchmarks.{name}")
            for case, ours, plain in module.cases(Path(folder), given.small):
                each = [side.seconds / side.amount for side in (ours, plain)]
                speeds = [f"{1 / s:.1f}/s" if s < 0.5 else f"{s:.2f} s" for s in each]
                ratio = f"{each[1] / each[0]:.1f}x"
                peaks = (ours.peak_mb, plain.peak_mb)
                print(ROW.format(f"{name}: {case}", *speeds, ratio, *peaks), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
