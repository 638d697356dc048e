"""Small runs without a kernel: in this process, or in one that may be killed; a trained network."""

import dataclasses
import fnmatch
import functools
import itertools
import json
import multiprocessing
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from helpers.commands import cli, kernel, run
from helpers.core import environment, files, paths
from helpers.core.members import Member
from helpers.datasets import cache as images
from helpers.models import backbones
from helpers.models.record import Model
from helpers.runs import record
from helpers.runs.run import Run
from helpers.training import curves_and_costs
from helpers.training.fit import Fitted, trainings

FINETUNING = "03_finetuning"
OPTIONS = {"RUN": "t", "CNN_IMAGE_SIZE_PX": 16, "IMAGE_SIZE_PX": 16, "CNN_EPOCHS": 2}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.small_run"])  # the package is imported once
SMALL = {
    "VAL_PER_CLASS": 10,
    "IMAGE_SIZE_PX": 32,
    "CNN_IMAGE_SIZE_PX": 16,
    "BACKBONE": "efficientnet_lite2",  # nothing is looked for on the network
    "TREES": 10,
    "CNN_EPOCHS": 3,
    "FBP_EPOCHS": 2,
    "RETRAIN_EPOCHS": 2,
    "EXPORT": "",  # its archive holds times
}


def write_images(root: Path, n: int = 40, size_px: int = 32) -> None:
    """Write `n` good and `n` bad parts; the bad ones have a spot that is only just brighter."""
    rng = np.random.default_rng(0)
    for label, name in enumerate(("good", "bad")):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(40, 90, (size_px, size_px), dtype=np.uint8)
            pixels[8:16, 8:16] += np.uint8(30 * label)
            Image.fromarray(pixels).save(root / name / f"{name}{i:02d}.png")


@contextmanager
def in_this_process():
    """Let `helpers.run` execute a notebook's cells here, without a kernel, pictures and speeds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernel, "run_notebook", run_cells)
        patch.setattr(environment, "commit", lambda: None)  # checkpoints hold it; files may change
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")  # the process that dies does all work itself
        patch.setattr(Figure, "savefig", _save_nothing)
        patch.setattr(curves_and_costs, "milliseconds_per_image", lambda *_: 1.0)
        yield


def _save_nothing(_figure: Figure, place: Any, **_options: Any) -> None:
    if hasattr(place, "write"):
        place.write(b"a picture")
    else:
        Path(place).write_bytes(b"a picture")


def run_cells(
    source: Path, target: Path, parameters: dict[str, Any], command: str, skipped: str = ""
) -> dict[str, Any]:
    """Run a notebook's code cells, with the parameters after the tagged cell; return the names."""
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [c for c in json.loads(source.read_text())["cells"] if c["cell_type"] == "code"]
    for cell in cells:
        tags = cell["metadata"].get("tags", [])
        if skipped in tags:
            continue
        try:
            exec(compile("".join(cell["source"]), source.name, "exec"), names)
        except Exception as error:
            raise record.RunError(f"{source.name}: {type(error).__name__}: {error}") from error
        if "parameters" in tags:
            names |= parameters
        plt.close("all")
    return names


@contextmanager
def interrupted(pattern: str, times: int = 1, before: bool = False, kill: bool = False):
    """Stop this process when a file has been written that often: by Ctrl-C, or by a kill.

    The `pattern` is of the end of its path. `before`: just before the file is written.
    """
    replace, written = os.replace, itertools.count(1)

    def replace_and_stop(source: Path, target: Path) -> None:
        stop = fnmatch.fnmatch(str(target), f"*/{pattern}") and next(written) == times
        if not (stop and before):
            replace(source, target)
        if stop and kill:
            os.killpg(0, signal.SIGKILL)
        if stop:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_and_stop)
        yield


def run_in_child(home: Path, arguments: list[str], pattern: str = "", times: int = 1):
    """Call `helpers.run` in a process that is killed as `interrupted` says, with its children.

    Returns its exit code and what it printed.
    """
    log = home.with_suffix(".log")
    child = CONTEXT.Process(target=_run, args=(home, log, arguments, pattern, times))
    child.start()
    child.join()
    return child.exitcode, log.read_text(errors="replace")


def _run(home: Path, log: Path, arguments: list[str], pattern: str, times: int) -> None:
    os.setsid()
    for stream in (1, 2):
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.environ[paths.HOME_VARIABLE] = str(home)
    with in_this_process(), interrupted(pattern, times, kill=True):
        sys.exit(cli.start("run", arguments))


def run_split(parts: Path, *more: str) -> int:
    """Run notebook 01 without a kernel and return the exit code."""
    options = ["-p", "VAL_PER_CLASS=10", "-p", "IMAGE_SIZE_PX=16", *more]
    data = ["--dataset", f"folder:{parts}", "--preset", "smoke", "--name", "t", "--only", "01"]
    with in_this_process():
        return run.main([*data, *options])


def open_run(name: str, settings: object, split: pd.DataFrame) -> Run:
    """Open a notebook of run "r", whose split this becomes."""
    run = Run(name, paths.RunPaths("r"), "quick", settings)
    files.save_csv(run.paths.split_csv, split)
    return run


def train(run: Run) -> Fitted:
    """Train the two-layer CNN on the run's images."""
    (found,) = train_members(run, [Member(0)])
    return found


def train_members(run: Run, members: list[Member], name: str = "cnn", **options) -> list[Fitted]:
    """Train the two-layer CNN on the run's images once for each member."""
    images, model = run.images(16), Model(name, members=tuple(members))
    settings = dataclasses.replace(run.settings.cnn, **options)
    build = functools.partial(small_cnn, images.channels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        fits = run.train({model: trainings(members, build, images, run.split, settings)})[model]
    run.add(model, fits)
    return [*fits.values()]


def untimed(history: list[dict]) -> list[dict]:
    """Return the epochs' records without times."""
    times = {"seconds", "total_seconds", "images_per_s"}
    return [{k: v for k, v in record.items() if k not in times} for record in history]


def small_cnn(channels: int, seed: int) -> backbones.TwoLayerCNN:
    """Return the network of `train`."""
    torch.manual_seed(seed)
    return backbones.build(backbones.spec_of("cnn", 2, 16, channels))


def change_a_byte(path: Path) -> None:
    """Change a byte in the middle; keep the length and the times."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    images._digest_once.cache_clear()  # as in a new process
