"""Ours against the plain way, in seconds and memory: `python -m tests.benchmarks [NAME ...]`.

The plain way is what tutorials show: Pillow, a DataLoader with two workers, torchvision's
transforms, float32 in torch's own layout, stock scikit-learn. Each measurement is a process of its
own. A benchmark is a module of this folder with `SIZES`, `SMALL` and `cases(sizes, options)`; the
first line of its docstring says what it compares.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from helpers.core import paths
from tests.benchmarks import report

TRAININGS = ("finetune", "search_step", "baselines", "patchcore")
PREDICTIONS = ("predict",)
BENCHMARKS = ("decode", "features", *TRAININGS, *PREDICTIONS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named benchmarks, or all in order; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    add, build = parser.add_argument, paths.project_root() / "build" / "benchmarks"
    add("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    add("--list", action="store_true", help="name the benchmarks, run nothing")
    add("--small", action="store_true", help="tiny sizes: the numbers say nothing")
    add("--images", type=Path, help="a folder of images instead of made-up ones")
    add("--repeats", type=int, default=1, help="processes per measurement; the quickest counts")
    add("--cpu", action="store_true", help="leave a GPU alone")
    add("--out", type=Path, default=build, help="folder for JSON")
    given = parser.parse_args(arguments)
    for name in given.names:  # with `choices`, Python 3.11 refuses a call without names
        if name not in BENCHMARKS:
            parser.error(f"{name!r} is not one of {', '.join(BENCHMARKS)}")
    if given.cpu:  # before anything asks for a GPU
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ.setdefault("TQDM_DISABLE", "1")
    names = given.names or BENCHMARKS
    print("benchmarks:", ", ".join(names))
    if given.list:
        return 0
    found, kinds = report.describe_machine(), ("device", "precision", "threads", "torch")
    print(", ".join(f"{kind} {found[kind]}" for kind in kinds), flush=True)
    if given.small:
        print("small sizes: the numbers say nothing")
    with tempfile.TemporaryDirectory() as folder:
        options = report.Options(Path(folder), given.images, given.repeats)
        for name in names:
            module = importlib.import_module(f"tests.benchmarks.{name}")
            sizes = module.SMALL if given.small else module.SIZES
            source = given.images.name if given.images else "made up"
            told = sizes | {"small": given.small, "images_from": source, "repeats": given.repeats}
            cases, path = module.cases(sizes, options), given.out / f"{name}.json"
            report.show(name, module.__doc__, told, cases, path)
    print(f"\nMiB: peak of the process, its imports included, + of its workers\n{given.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
