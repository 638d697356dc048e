"""Runs of small images without a kernel: in this process, or in one that may be killed."""

import fnmatch
import itertools
import json
import os
import signal
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from helpers.commands import cli, kernel
from helpers.core import environment, paths
from helpers.runs import record, workers
from helpers.training import network_costs
from tests.forked_kernels import CONTEXT

SMALL = {
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
        patch.setenv(workers.LIMIT, "1")  # the process that dies does all work itself
        patch.setattr(Figure, "savefig", _save_nothing)
        patch.setattr(network_costs, "milliseconds_per_image", lambda *_: 1.0)
        yield


def _save_nothing(_figure: Figure, place: Any, **_options: Any) -> None:
    if hasattr(place, "write"):
        place.write(b"a picture")
    else:
        Path(place).write_bytes(b"a picture")


def run_cells(
    source: Path, target: Path, parameters: dict[str, Any], command: str, skipped: str = ""
) -> None:
    """Run the code cells of a notebook in order, with the parameters after the tagged cell."""
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
