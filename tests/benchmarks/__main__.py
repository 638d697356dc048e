"""Ours against the plain way, in seconds and memory: `python -m tests.benchmarks [NAME ...]`.

The plain way is what tutorials show: Pillow, a DataLoader with two workers, torchvision's
transforms, float32 in torch's own layout, stock scikit-learn. Each measurement is a process of its
own. A benchmark is a module of this folder with `SIZES`, `SMALL` and `cases(sizes, options)`; the
first line of its docstring says what it compares.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from helpers.core import paths
from tests.benchmarks import machine, report

BENCHMARKS = (
    "decode",
    "features",
    "finetune",
    "search_step",
    "retrain",
    "baselines",
    "tsne",
    "gradcam",
    "score",
    "end_to_end",
)


def load(name: str) -> ModuleType | None:
    """The module of a benchmark, imported now; None where it is not there or gives no cases."""
    full_name = f"{__package__}.{name}"
    if not importlib.util.find_spec(full_name):
        return None
    module = importlib.import_module(full_name)
    return module if hasattr(module, "cases") else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all in order; returns the exit code."""
    given = parser().parse_args(arguments)
    if given.cpu:
        machine.hide_gpu()
    os.environ.setdefault("TQDM_DISABLE", "1")
    names = given.names or BENCHMARKS
    print("benchmarks:", ", ".join(names))
    if given.list:
        return 0
    print(machine.line(), flush=True)
    if given.small:
        print("small sizes: the numbers say nothing")
    with tempfile.TemporaryDirectory() as folder:
        options = report.Options(Path(folder), given.images, given.repeats)
        for name in names:
            module = load(name)
            if module is None:
                print(f"\n{name}: tests/benchmarks/{name}.py gives no cases, left out", flush=True)
                continue
            sizes = module.SMALL if given.small else module.SIZES
            source = given.images.name if given.images else "made up"
            told = sizes | {"small": given.small, "images_from": source, "repeats": given.repeats}
            cases, path = module.cases(sizes, options), given.out / f"{name}.json"
            report.show(name, module.__doc__, told, cases, path)
    print(f"\nMiB: peak of the process, its imports included, + of its workers\n{given.out}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line's options."""
    command = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    command.add_argument(
        "names", nargs="*", metavar="NAME", type=name_of, help=f"of {', '.join(BENCHMARKS)}"
    )
    command.add_argument("--list", action="store_true", help="name the benchmarks, run nothing")
    command.add_argument(
        "--small", action="store_true", help="tiny sizes: whether they run; the numbers say nothing"
    )
    command.add_argument("--images", type=Path, help="a folder of images instead of made-up ones")
    command.add_argument(
        "--repeats", type=int, default=1, help="processes per measurement; the quickest one counts"
    )
    command.add_argument("--cpu", action="store_true", help="leave a GPU alone")
    command.add_argument(
        "--out", type=Path, default=paths.project_root() / "build" / "benchmarks", help="for JSON"
    )
    return command


def name_of(text: str) -> str:
    """A benchmark's name.

    Raises:
        argparse.ArgumentTypeError: no benchmark is called so; the message lists all.
    """
    if text not in BENCHMARKS:
        raise argparse.ArgumentTypeError(
            f"no benchmark is called {text!r}; there are {', '.join(BENCHMARKS)}"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
