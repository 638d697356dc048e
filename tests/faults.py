"""Kill every stage at random moments, give the same command again, compare with a run left alone.

    python -m tests.faults --kills 50
    python -m tests.faults --events

The second kills when certain files have been written: inside a training, and between what a step
leaves and its record.

A stage is run by `helpers.run` itself, but its cells in this process's children instead of a
notebook's kernel, and the libraries are imported once: a kill costs seconds. Of some 80 made-up
images of 32 px, with the smoke preset.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import itertools
import json
import os
import pkgutil
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
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

import helpers
from helpers.commands import run
from helpers.commands.plan import Plan
from helpers.core import files, paths
from helpers.darts import search_plots
from helpers.runs import settings
from helpers.training import baselines

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
# after which file, written how many times, each stage is killed
EVENTS = (
    ("01_data_split", "split.csv", 1),
    ("02_features_baselines", "rf.csv", 1),
    ("03_finetuning", "cnn/*.resume", 2),  # of three epochs
    ("03_finetuning", "fbp/seed0.safetensors", 1),
    ("04_darts_search", "supernet/*.resume", 1),
    ("04_darts_search", "supernet/seed0.safetensors", 1),
    ("05_genotype_retraining", "*.resume", 1),
    ("05_genotype_retraining", "darts_imagenet/seed0.safetensors", 1),
    ("06_analysis", "06_results.csv", 1),
)
UNEQUAL = re.compile(r"seconds|_s$|images_per_s|^Seconds$|device|^run$")  # columns and JSON keys


@dataclass(frozen=True)
class Kill:
    """One kill of a stage and what the same command then made of it."""

    stage: str
    moment: str  # a fraction of the undisturbed stage's duration, or after which file
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

    def start(self, stage: str, after: tuple[str, int] | None = None, **parameters: Any) -> int:
        """The process id of a child that runs the stage; what it says goes to the log.

        With `after` (a file's name, how many times) it dies when that has been written.
        """
        arguments = self.command(stage, **parameters)
        sys.stdout.flush()
        child = os.fork()
        if child:
            with contextlib.suppress(OSError):  # the child does so too: who comes first does it
                os.setpgid(child, child)
            return child
        code = 1
        try:
            os.setpgid(0, 0)
            os.environ[paths.HOME_VARIABLE] = str(self.home)
            with self.log.open("w") as log:
                os.dup2(log.fileno(), 1)
                os.dup2(log.fileno(), 2)
            with in_this_process(self.quick), dying_after(*after or ("", 0)):
                code = run.main(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def finish(self, stage: str, **parameters: Any) -> None:
        """Run a stage to its end, or raise what it said."""
        _, status = os.waitpid(self.start(stage, **parameters), 0)
        if status:
            raise RuntimeError(f"{stage} ended with {status}:\n{self.log.read_text()[-3000:]}")

    def run_undisturbed(self) -> None:
        """All stages once; keeps the home before each, its duration, and what it left."""
        for stage in settings.STAGES:
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

    def kill(self, stage: str) -> Kill:
        """Kill the stage at a random moment, run it again, and compare."""
        fraction = float(self.rng.uniform())
        self.back_to(stage)
        child = self.start(stage)
        time.sleep(fraction * self.seconds[stage])
        os.killpg(child, signal.SIGKILL)
        where = self._where_it_died(child)
        return Kill(stage, f"{100 * fraction:.0f} %", where, self._run_again(stage))

    def kill_after(self, stage: str, name: str, times: int) -> Kill:
        """Kill the stage when a file has been written so many times, run it again, and compare.

        A training has to go on from the epochs that it had.
        """
        self.back_to(stage)
        where = self._where_it_died(self.start(stage, (name, times)))
        moment = f"{name}, {times}"
        if not where or not list(self.home.rglob(name.rpartition("/")[2])):
            return Kill(stage, moment, where, f"was not killed:\n{self.log.read_text()[-3000:]}")
        result = self._run_again(stage)
        if (
            name.endswith((".resume", ".safetensors"))
            and "continuing after epoch" not in self.log.read_text()
        ):
            result = f"started from scratch, {result}"
        return Kill(stage, moment, where, result)

    def _where_it_died(self, child: int) -> str:
        """The cell in which a child was killed; "" when it has ended by itself."""
        _, status = os.waitpid(child, 0)
        _wait_for_group(child)
        return _last_cell(self.log) if os.WIFSIGNALED(status) else ""

    def _run_again(self, stage: str) -> str:
        """Give the same command once more: "equal", what differs, or what it said."""
        try:
            self.finish(stage)
        except RuntimeError as error:
            return str(error)
        sweep(self.home)
        return difference(self.expected[stage], contents(self.home))


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


@contextmanager
def dying_after(name: str, times: int):
    """Kill this process and its children when a file has been written `times` times."""
    replace, written = os.replace, itertools.count(1)

    def replace_and_die(source: Path, target: Path) -> None:
        """As `os.replace`, the last thing that a write does."""
        replace(source, target)
        if fnmatch.fnmatch(str(target), f"*/{name}") and next(written) == times:
            os.killpg(0, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_and_die)
        yield


def sweep(home: Path) -> None:
    """Remove what killed writes have left, as a stage does that begins an hour later."""
    folders = [home / "data" / "runs" / RUN, home / "submissions"]
    for file in (file for folder in folders for file in folder.rglob(".*.tmp")):
        os.utime(file, (time.time() - 2 * files.LEFTOVER_AGE_S,) * 2)
    files.remove_leftovers(*folders)


def run_cells(
    source: Path, target: Path, plan: Plan, parameters: dict[str, Any], stage: str
) -> None:
    """The code cells of a notebook in order, with the parameters after the tagged cell."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [c for c in json.loads(source.read_text())["cells"] if c["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        print(f"\n@cell {number}", flush=True)
        try:
            exec(compile("".join(cell["source"]), source.name, "exec"), names)
        except Exception as error:
            raise run.RunError(f"{source.name}: {type(error).__name__}: {error}") from error
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
        plt.close("all")


def contents(home: Path) -> dict[str, Any]:
    """What a run has left under a home, without times and machines, by file."""
    root = home / "data" / "runs" / RUN
    found: dict[str, Any] = {}
    for file in sorted([*root.rglob("*"), *(home / "submissions").rglob("*")]):
        if file.is_dir() or file.name == "run.json" or file.suffix == ".lock":
            continue
        name = file.relative_to(home).as_posix()
        if file.name.startswith("."):
            found[name] = "a leftover"  # of a kill or a write: nothing removes it
        elif file.suffix == ".json":
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
            found[name] = files.file_digest(file)
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
    own = [module.name for module in pkgutil.walk_packages(helpers.__path__, "helpers.")]
    for name in (*IMPORTED, *own):
        with contextlib.suppress(ImportError):
            __import__(name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Kill and compare; returns the number of kills after which something differed."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=1, help="of each stage (1)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (0)")
    parser.add_argument("--only", metavar="NN", help="kill this stage alone")
    parser.add_argument("--events", action="store_true", help="after certain files instead")
    parser.add_argument("--quick", action="store_true", help="without LDA and pictures")
    options = parser.parse_args(arguments)
    import_all()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        series = Series(Path(place), options.quick, options.seed)
        series.run_undisturbed()
        print("| stage | undisturbed s | killed at | in | result |\n|---|---|---|---|---|")
        stages = [settings.stage_name(options.only)] if options.only else list(settings.STAGES)
        kills = (series.kill(stage) for stage in stages for _ in range(options.kills))
        if options.events:
            kills = (series.kill_after(*event) for event in EVENTS if event[0] in stages)
        for kill in kills:
            bad += kill.result != "equal"
            took = series.seconds[kill.stage]
            cells = (kill.stage, f"{took:.1f}", kill.moment, kill.where or "done", kill.result)
            print("| " + " | ".join(cells) + " |", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
