"""Kill every stage at random moments, give the same command again, compare with a run left alone.

    python -m tests.faults --kills 50
    python -m tests.faults --events

The second kills when certain files have been written: inside a training, and between what a step
leaves and its record.

`helpers.run` itself runs a stage, in a child of this process instead of a notebook's kernel, and
the libraries are imported once: a kill costs seconds. The images are 80 made-up ones of 32 px.
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
from helpers.commands import cli, kernel
from helpers.core import environment, files, paths
from helpers.darts import plots
from helpers.runs import classical, record, settings, workers
from helpers.training import network_costs

RUN = "t"
PARAMETERS = {
    "VAL_PER_CLASS": 10,
    "IMAGE_SIZE_PX": 32,
    "CNN_IMAGE_SIZE_PX": 16,
    "BACKBONE": "efficientnet_lite0",  # nothing is looked for on the network
    "TREES": 10,
    "CNN_EPOCHS": 3,
    "FBP_EPOCHS": 2,
    "RETRAIN_EPOCHS": 2,
    "HALVING_EPOCHS": 0,  # its trainings are made as those of the cells are
    "MAP_IMAGES": 4,
    "EXPORT": "",  # its archive holds times
}
IMPORTED = ("kornia.augmentation", "papermill", "timm", "sklearnex", "seaborn")
# after which file, written how many times, each stage is killed
EVENTS = (
    ("01_data_split", "split.csv", 1),
    ("02_features_baselines", "rf.csv", 1),
    ("03_finetuning", "cnn/*.resume", 2),  # of three epochs
    ("03_finetuning", "fbp/seed0.safetensors", 1),
    ("04_darts_search", "supernet/*.resume", 1),
    ("04_darts_search", "supernet/seed0.safetensors", 1),
    ("05_genotype_retraining", "*.resume", 1),
    ("05_genotype_retraining", "darts_v2/seed0.safetensors", 1),
    ("06_analysis", "06_results.csv", 1),
    ("07_decision", "07_operating_points.csv", 1),
)
# columns and JSON keys
UNEQUAL = re.compile(r"seconds|_s$|images_per_s|^Seconds$|^ms[ ,_]|device|^run$")


def write_images(root: Path, n: int = 40, size_px: int = 32) -> None:
    """Write `n` good and `n` bad parts; the bad ones have a spot that is only just brighter."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("good", "bad")):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(40, 90, (size_px, size_px), dtype=np.uint8)
            pixels[8:16, 8:16] += np.uint8(30 * label)
            Image.fromarray(pixels).save(root / name / f"{name}{i:02d}.png")


class Series:
    """The stages of a run in a home of its own, each run in a child of this process."""

    def __init__(self, place: Path, seed: int) -> None:
        self.images, self.home, self.saved = place / "parts", place / "home", place / "saved"
        self.log, self.rng = place / "log.txt", np.random.default_rng(seed)
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, Any]] = {}
        write_images(self.images)

    def start(self, stage: str, after: Sequence = ("", 0)) -> int:
        """Return the process id of a child that runs the stage; its output goes to the log.

        With `after` (a file's name, how many times) it dies when that has been written.
        """
        options = [f"-p{name}={value}" for name, value in PARAMETERS.items()]
        data = ["--dataset", f"folder:{self.images}", "--preset", "smoke", "--name", RUN]
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
            with in_this_process(), dying_after(*after):
                code = cli.start("run", [*data, "--only", stage[:2], *options])
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def finish(self, stage: str) -> None:
        """Run a stage to its end, or raise what it said."""
        _, status = os.waitpid(self.start(stage), 0)
        if status:
            raise RuntimeError(f"{stage} ended with {status}:\n{self.log.read_text()[-3000:]}")

    def run_undisturbed(self) -> None:
        """Run all stages once; keep the home before each, its duration, and what it left."""
        self.home.mkdir()
        for stage in settings.STAGES:
            shutil.copytree(self.home, self.saved / stage)
            started = time.monotonic()
            self.finish(stage)
            self.seconds[stage] = time.monotonic() - started
            self.expected[stage] = contents(self.home)

    def kill(self, stage: str, after: Sequence = ()) -> tuple[str, str, str]:
        """Kill the stage, run it again, and return moment, place, and result.

        It is killed at a random moment, or `after` a file (its name, how many times) has been
        written; then a training has to continue from the epochs that it had. The place is a cell,
        "done" if the stage had ended before; the result is "equal", or what differed.
        """
        shutil.rmtree(self.home)
        shutil.copytree(self.saved / stage, self.home)
        if after:
            moment, child = f"{after[0]}, {after[1]}", self.start(stage, after)
        else:
            fraction = float(self.rng.uniform())
            moment, child = f"{100 * fraction:.0f} %", self.start(stage)
            time.sleep(fraction * self.seconds[stage])
            os.killpg(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        for _ in range(200):  # until its own children, which may still hold its lock, are gone too
            try:
                os.killpg(child, 0)
            except ProcessLookupError:
                break
            time.sleep(0.05)
        said = self.log.read_text(errors="replace")
        cells = ["before the first cell", *re.findall(r"@(cell \d+)", said)]
        where = cells[-1] if os.WIFSIGNALED(status) else "done"
        if after and (where == "done" or not list(self.home.rglob(after[0].rpartition("/")[2]))):
            return moment, where, f"was not killed:\n{said[-3000:]}"
        try:
            self.finish(stage)
        except RuntimeError as error:
            return moment, where, str(error)
        sweep(self.home)
        expected, found = self.expected[stage], contents(self.home)
        names = sorted(expected.keys() | found.keys())
        wrong = [name for name in names if expected.get(name) != found.get(name)]
        result = f"differs in {', '.join(wrong)}" if wrong else "equal"
        is_training = after and after[0].endswith((".resume", ".safetensors"))
        if is_training and "continuing after epoch" not in self.log.read_text():
            result = f"started from scratch, {result}"
        return moment, where, result


def _save_nothing(_figure: Figure, place: Any, **_options: Any) -> None:
    with contextlib.nullcontext(place) if hasattr(place, "write") else place.open("wb") as file:
        file.write(b"a picture")


@contextmanager
def in_this_process():
    """Let `helpers.run` execute a notebook's cells here, without a kernel.

    What takes long is left out: LDA, SVM, pictures, speeds.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "run_notebook", run_cells)
        patch.setattr(environment, "commit", lambda: None)  # checkpoints hold it; files may change
        patch.setenv(workers.LIMIT, "1")  # the process that dies does all work itself
        patch.setattr(Figure, "savefig", _save_nothing)
        patch.setattr(plots, "alpha_heat_maps", lambda *_: plt.figure())
        patch.setattr(classical, "CLASSICAL", ("rf", "lr"))
        patch.setattr(network_costs, "milliseconds_per_image", lambda *_: 1.0)
        yield


@contextmanager
def dying_after(name: str, times: int):
    """Kill this process and its children when a file has been written `times` times."""
    replace, written = os.replace, itertools.count(1)

    def replace_and_die(source: Path, target: Path) -> None:
        replace(source, target)
        if fnmatch.fnmatch(str(target), f"*/{name}") and next(written) == times:
            os.killpg(0, signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_and_die)
        yield


def sweep(home: Path) -> None:
    """Remove what killed writes have left, as a stage that starts an hour later does."""
    folders = [home / "data" / "runs" / RUN, home / "submissions"]
    for file in (file for folder in folders for file in folder.rglob(".*.tmp")):
        os.utime(file, (time.time() - 2 * files.LEFTOVER_AGE_S,) * 2)
    files.remove_leftovers(*folders)


def run_cells(
    source: Path, target: Path, parameters: dict[str, Any], command: str, skipped: str = ""
) -> None:
    """Run the code cells of a notebook in order, with the parameters after the tagged cell."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [c for c in json.loads(source.read_text())["cells"] if c["cell_type"] == "code"]
    cells = [cell for cell in cells if skipped not in cell["metadata"].get("tags", [])]
    for number, cell in enumerate(cells, start=1):
        print(f"\n@cell {number}", flush=True)
        try:
            exec(compile("".join(cell["source"]), source.name, "exec"), names)
        except Exception as error:
            raise record.RunError(f"{source.name}: {type(error).__name__}: {error}") from error
        if "parameters" in cell["metadata"].get("tags", []):
            names |= parameters
        plt.close("all")


def contents(home: Path) -> dict[str, Any]:
    """Return what a run has left under a home by file, without times and machines."""
    root = home / "data" / "runs" / RUN
    found: dict[str, Any] = {}
    for file in sorted([*root.rglob("*"), *(home / "submissions").rglob("*")]):
        if file.is_dir() or file.name == "run.json" or file.suffix == ".lock":
            continue
        name = file.relative_to(home).as_posix()
        if file.name.startswith("."):
            found[name] = "a leftover"  # of a killed write
        elif file.suffix == ".json":
            found[name] = _timeless(json.loads(file.read_text()))
        elif file.parent.name == "metrics":
            table = pd.read_csv(file)
            found[name] = table[[c for c in table if not UNEQUAL.search(c)]].to_csv()
        else:
            found[name] = files.file_digest(file)
    record = json.loads((root / "run.json").read_text())
    found["run.json"] = {
        stage: (entry["status"], entry["key"], sorted(entry.get("outputs", {})))
        for stage, entry in record["stages"].items()
    }
    return found


def _timeless(content: Any) -> Any:
    if isinstance(content, dict):
        return {k: _timeless(v) for k, v in content.items() if not UNEQUAL.search(k)}
    return [_timeless(item) for item in content] if isinstance(content, list) else content


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
    parser.add_argument("--events", action="store_true", help="after certain files instead")
    options = parser.parse_args(arguments)
    import_all()
    bad = 0
    with tempfile.TemporaryDirectory() as place:
        series = Series(Path(place), options.seed)
        series.run_undisturbed()
        print("| stage | undisturbed s | killed at | in | result |\n|---|---|---|---|---|")
        at_random = ((stage,) for stage in settings.STAGES for _ in range(options.kills))
        for stage, *after in EVENTS if options.events else at_random:
            cells = series.kill(stage, after)
            bad += cells[-1] != "equal"
            print(f"| {stage} | {series.seconds[stage]:.1f} | {' | '.join(cells)} |", flush=True)
    return bad


if __name__ == "__main__":
    sys.exit(main())
