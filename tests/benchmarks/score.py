"""Scoring many images by helpers.score: undisturbed, killed three times, in shards, through Ray.

Every way has to give each image one line, and all ways the scores of the undisturbed run: its bytes
after kills and in shards, within 0.001 through Ray, whose actors may use other threads.
"""

from __future__ import annotations

import importlib.util
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from helpers.commands.score.listing import PART_IMAGES
from helpers.models import backbones
from tests.benchmarks.measure import Measured
from tests.benchmarks.report import Case, Options

# 96 px: what is shown is the reading and writing; `features` shows the network at 224 px
SIZES = {"images": [3_000, 30_000], "size_px": 96, "kills": 3}
SMALL = {"images": [40], "size_px": 32, "kills": 0}  # one part: over before it can be killed
SAMPLE_S = 0.2  # between two looks at a process


def make_model(path: Path, size_px: int) -> Path:
    """Write a checkpoint of EfficientNet-Lite0: ImageNet weights, an untrained head."""
    weights = backbones.find_weights("efficientnet_lite0")
    backbones.save_model(path, backbones.pretrained(weights, 2, size_px))
    return path


def start(model: Path, images: Path, out: Path, *more: str) -> subprocess.Popen:
    """Start or continue the scoring of a list."""
    command = [sys.executable, "-m", "helpers.score", "--model", model, "--images", images]
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([*command, "--out", out, *more], **silent)


def finish(process: subprocess.Popen) -> float:
    """Wait for a scoring to end well; return its peak MiB (wait4 would count the parent's too)."""
    status, peak = Path(f"/proc/{process.pid}/status"), 0.0
    while process.poll() is None:
        lines = status.read_text().splitlines() if status.is_file() else []
        found = [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")]
        peak = max([peak, *found])
        time.sleep(SAMPLE_S)
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return peak


def undisturbed(n: int, model: Path, images: Path, out: Path, *more: str) -> Measured:
    """Measure one run from start to end, the start of Python included."""
    began = time.perf_counter()
    peak = finish(start(model, images, out, *more))
    return Measured(time.perf_counter() - began, n, peak_mib=peak)


def killed(n: int, model: Path, images: Path, out: Path, kills: int) -> Measured:
    """Measure a run that is killed at random moments, and started again each time."""
    began, hits, rng = time.perf_counter(), 0, random.Random(0)
    for position in sorted(rng.randrange(n) for _ in range(kills)):
        process = start(model, images, out)
        while process.poll() is None:
            written = len(list(out.with_name(f"{out.name}.parts").glob("[0-9]*.csv")))
            if written * PART_IMAGES >= position:
                time.sleep(rng.random())
                break
            time.sleep(SAMPLE_S / 4)
        process.send_signal(signal.SIGKILL)
        hits += process.wait() == -signal.SIGKILL
    if hits < kills:
        raise SystemExit(f"only {hits} of {kills} kills hit")
    peak = finish(start(model, images, out))
    return Measured(time.perf_counter() - began, n, {"kills": hits}, peak_mib=peak)


def in_shards(n: int, model: Path, images: Path, out: Path) -> Measured:
    """Measure both halves, one after the other; the second one joins the parts."""
    began = time.perf_counter()
    peak = max(finish(start(model, images, out, "--shard", f"{i}/2")) for i in range(2))
    return Measured(time.perf_counter() - began, n, peak_mib=peak)


def verdict(out: Path, listed: list[str], first: Path, exactly: bool = False) -> str:
    """Check that a file has one line for each listed image, in order, and the first file's scores.

    Raises:
        SystemExit: lines are missing, or scores are not within 0.001 (`exactly`: not the same).
    """
    found = pd.read_csv(out, dtype={"path": str, "id": str})
    if found.path.tolist() != listed:
        raise SystemExit(f"{out} has not one line for each image, in order")
    if exactly:
        if out.read_bytes() != first.read_bytes():
            raise SystemExit(f"{out} has other bytes than {first}")
        return "complete, the same bytes"
    apart = (found.defect_score - pd.read_csv(first).defect_score).abs().max()
    if not apart <= 1e-3:
        raise SystemExit(f"{out} has scores {apart:.2g} apart from {first}")
    return f"complete, scores within {max(apart, 1e-9):.0e}"


def cases(sizes: dict[str, Any], options: Options) -> Iterator[Case]:
    """Yield one case for each number of images and way of scoring."""
    folder, kills = options.folder / "score", sizes["kills"]
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(folder / "model.safetensors", sizes["size_px"])
    ways = [
        ("{} images", "", undisturbed, ()),
        ("{}, killed", f"{kills} kills, ", killed, (kills,)),
        ("{}, 0/2 and 1/2", "", in_shards, ()),
    ]
    if importlib.util.find_spec("ray"):
        ways.append(("{}, Ray", "driver's memory; ", undisturbed, ("--engine", "ray")))
    for count in sizes["images"]:
        table = options.table(count)
        images, first = folder / f"{count}.csv", folder / f"{count}-0.csv"
        files = [Path(path).absolute().as_posix() for path in table.path]
        pd.DataFrame({"path": files}).to_csv(images, index=False)
        for number, (name, remarks, way, more) in enumerate(ways):
            out = folder / f"{count}-{number}.csv"
            found = way(len(table), model, images, out, *more)
            checked = verdict(out, files, first, exactly=way in (killed, in_shards))
            title, remark = name.format(f"{len(table):,}"), remarks + checked
            yield Case(title, found, unit="images/s", remark=remark)
