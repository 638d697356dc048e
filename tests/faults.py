"""Kill every stage at random moments, give the same command again, compare with a run left alone.

    python -m tests.faults --kills 50

A stage is run by `helpers.run` itself, but its cells in this process's children instead of a
notebook's kernel, and the libraries are imported once: a kill costs seconds. Of some 80 made-up
images of 32 px, with the smoke preset.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers import artifacts, baselines, config, paths, run
from helpers.darts import search_plots

RUN = "t"
PARAMETERS = {
    "VAL_PER_CLASS": 10,
    "IMAGE_SIZE_PX": 32,
    "CNN_IMAGE_SIZE_PX": 16,
    "BACKBONE": "efficientnet_lite0",  # nothing is looked for on the network
    "CNN_EPOCHS": 3,
    "FBP_EPOCHS": 2,
    "RETRAIN_EPOCHS": 2,
    "MAP_IMAGES": 4,
}
IMPORTED = ("kornia.augmentation", "papermill", "openTSNE", "timm", "sklearnex", "seaborn")
UNEQUAL = re.compile(r"seconds|_s$|images_per_s|^Seconds$|device|^run$")  # columns and JSON keys


@dataclass(frozen=True)
class Kill:
    """One kill of a stage and what the same command then made of it."""

    stage: str
    moment: float  # fraction of the undisturbed stage's duration
    where: str  # the cell it was in, or "" when the stage had ended before
    result: str  # "equal", or what differed


def write_images(root: Path, n: int = 40, size_px: int = 32) -> None:
    """`n` good and `n` bad parts; the bad ones have a spot that is only just brighter."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("good", "bad")):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(40, 90, (size_px, size_px), dtype=np.uint8)
            pixels[8:16, 8:16] += np.uint8(30 * label)
            Image.fromarray(pixels).save(root / name / f"{name}{i:02d}.png")


class Series:
    """The stages of a run in a home of its own, each run in a child of this process."""

    def __init__(self, place: Path, quick: bool = False, seed: int = 0) -> None:
        """`quick` leaves out what takes long and writes no other kind of file: LDA, pictures."""
        self.images, self.home, self.saved = place / "parts", place / "home", place / "saved"
        self.log, self.quick, self.rng = place / "log.txt", quick, np.random.default_rng(seed)
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, Any]] = {}
        write_images(self.images)

    def command(self, stage: str, **parameters: Any) -> list[str]:
        """The arguments of `helpers.run` for one stage."""
        values = {**PARAMETERS, **parameters}
        options = [part for name, value in values.items() for part in ("-p", f"{name}={value}")]
        data = ["--dataset", f"folder:{self.images}", "--preset", "smoke", "--name", RUN]
        return [*data, "--only", stage[:2], *options]

    def start(self, stage: str, **parameters: Any) -> int:
        """The process id of a child that runs the stage; what it says goes to the log."""
        arguments = self.command(stage, **parameters)
        sys.stdout.flush()
        child = os.fork()
        if child:
            return child
        code = 1
        try:
            os.setsid()
            os.environ[paths.HOME_VARIABLE] = str(self.home)
            with self.log.open("w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            with in_this_process(self.quick):
                code = run.main(arguments)
        finally:
            sys.stdout.flush()
            os._exit(code)

    def finish(self, stage: str, **parameters: Any) -> None:
        """Run a stage to its end, or raise what it said."""
        _, status = os.waitpid(self.start(stage, **parameters), 0)
        if status:
            raise RuntimeError(f"{stage} ended with {status}:\n{self.log.read_text()[-3000:]}")

    def run_undisturbed(self) -> None:
        """All stages once; keeps the home before each, its duration, and what it left."""
        for stage in config.STAGES:
            self.keep(stage)
            started = time.monotonic()
            self.finish(stage)
            self.seconds[stage] = time.monotonic() - started
            self.expected[stage] = contents(self.home)

    def keep(self, stage: str) -> None:
        """Keep the home as it is before a stage."""
        self.home.mkdir(exist_ok=True)
        shutil.copytree(self.home, self.saved / stage)

    def back_to(self, stage: str) -> None:
        """The home as it was before a stage."""
        shutil.rmtree(self.home)
        shutil.copytree(self.saved / stage, self.home)

    def kill(self, stage: str, restore: bool = True) -> Kill:
        """Kill the stage at a random moment, run it again, and compare."""
        moment = float(self.rng.uniform())
        if restore:
            self.back_to(stage)
        child = self.start(stage)
        time.sleep(moment * self.seconds[stage])
        os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        _wait_for_group(child)
        where = _last_cell(self.log) if os.WIFSIGNALED(status) else ""
        try:
            self.finish(stage)
        except RuntimeError as error:
            return Kill(stage, moment, where, str(error))
        return Kill(stage, moment, where, difference(self.expected[stage], contents(self.home)))


@contextmanager
def in_this_process(quick: bool = False):
    """Let `helpers.run` execute a notebook's cells here, without a kernel."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_run_notebook", run_cells)
        if quick:
            patch.setattr(Figure, "savefig", lambda _, path, **__: path.write_bytes(b"a picture"))
            patch.setattr(search_plots, "alpha_trajectories", lambda *_: plt.figure())
            patch.setattr(baselines, "NAMES", ("RF", "SVM"))
        yield


def run_cells(
    source: Path, target: Path, plan: run.Plan, parameters: dict[str, Any], stage: str
) -> None:
    """The code cells of a notebook in order, with the parameters after the tagged cell."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [c for c in json.loads(source.read_text())["cells"] if c["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        print(f"\n@cell {number}", flush=True)
        try:
            exec(compile("".join(cell["source"]), source.name, "exec"), names)
        except Exception as error:
            raise run._failure(f"{type(error).__name__}: {error}", target, plan) from error
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
        plt.close("all")


def contents(home: Path) -> dict[str, Any]:
    """What a run has left under a home, without times and machines, by file."""
    root = home / "data" / "runs" / RUN
    found: dict[str, Any] = {}
    for file in sorted([*root.rglob("*"), *(home / "submissions").rglob("*")]):
        if file.is_dir() or file.name.startswith(".") or file.name == "run.json":
            continue  # leftovers of a killed write are looked for in `difference`'s caller
        name = file.relative_to(home).as_posix()
        if file.suffix == ".json":
            found[name] = _timeless(json.loads(file.read_text()))
        elif file.parent.name == "metrics":
            table = pd.read_csv(file)
            found[name] = table[[c for c in table if not UNEQUAL.search(c)]].to_csv()
        elif file.suffix == ".png":
            found[name] = "a picture"
        elif file.suffix == ".npz":
            with np.load(file) as arrays:
                found[name] = [arrays[key].tobytes() for key in arrays]
        else:
            found[name] = artifacts.file_digest(file)
    record = json.loads((root / "run.json").read_text())
    found["run.json"] = {
        stage: (entry["status"], entry["key"], sorted(entry.get("outputs", {})))
        for stage, entry in record["stages"].items()
    }
    return found


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """ "equal", or the names of the files that differ."""
    names = sorted(expected.keys() | found.keys())
    wrong = [name for name in names if expected.get(name) != found.get(name)]
    return f"differs in {', '.join(wrong)}" if wrong else "equal"


def _wait_for_group(group: int) -> None:
    """Until the children of a killed process, which may hold its lock still, are gone too."""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _timeless(v) for k, v in content.items() if not UNEQUAL.search(k)}
    return [_timeless(item) for item in content] if isinstance(content, list) else content


def _last_cell(log: Path) -> str:
    found = re.findall(r"@cell (\d+)", log.read_text(errors="replace"))
    return f"cell {found[-1]}" if found else "before the first cell"


def import_all() -> None:
    """Import what the notebooks import, once for all children."""
    for name in (*IMPORTED, *(f"helpers.{p.stem}" for p in _modules("")), *_darts()):
        try:
            __import__(name)
        except ImportError:
            continue


def _modules(folder: str) -> list[Path]:
    return sorted((paths.project_root() / "helpers" / folder).glob("*.py"))


def _darts() -> list[str]:
    return [f"helpers.darts.{path.stem}" for path in _modules("darts")]


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill and compare; returns the number of kills after which something differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1, help="of each stage (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--only", metavar="NN", help="kill this stage alone")
    parser.add_argument("--quick", action="store_true", help="without LDA and pictures")
    options = parser.parse_args(arguments)
    import_all()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        series = Series(Path(place), options.quick, options.seed)
        series.run_undisturbed()
        print("| stage | undisturbed s | killed at | in | result |\n|---|---|---|---|---|")
        stages = [config.stage_name(options.only)] if options.only else list(config.STAGES)
        for stage in stages:
            for _ in range(options.kills):
                kill = series.kill(stage)
                bad += kill.result != "equal"
                took = series.seconds[stage]
                cells = (stage, f"{took:.1f}", f"{100 * kill.moment:.0f} %", kill.where or "done")
                print("| " + " | ".join((*cells, kill.result)) + " |", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
