"""Seconds and peak memory of scoring many images: `python -m tests.benchmarks.score`.

Each size is scored twice by `helpers.score` in processes of its own: once undisturbed, and once
killed (SIGKILL) three times at random moments and resumed; both files of scores must be equal.
Options that are not known here go to `helpers.score`, e.g. `--flips`.
"""

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from helpers import backbones, seeding
from helpers.datasets.folder import image_files
from helpers.scoring.progress import load_progress

MIB_PER_MAXRSS = 1 / 1024  # Linux counts KiB
IMAGE_SIZE_PX = 280  # of the contest's images


def make_images(folder: Path, n: int) -> list[Path]:
    """Write n gray BMP files: noise over a slope, each shifted otherwise."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 64, (2 * IMAGE_SIZE_PX, 2 * IMAGE_SIZE_PX), dtype=np.uint8)
    slope = np.linspace(0, 190, IMAGE_SIZE_PX, dtype=np.uint8)
    folder.mkdir(parents=True)
    files = [folder / f"{i:06d}.bmp" for i in range(n)]
    for file in files:
        top, left = rng.integers(0, IMAGE_SIZE_PX, 2)
        window = noise[top : top + IMAGE_SIZE_PX, left : left + IMAGE_SIZE_PX]
        Image.fromarray(window + slope).save(file)
    return files


def make_model(path: Path) -> Path:
    """A checkpoint of EfficientNet-Lite0 at 224 px: ImageNet weights, an untrained head."""
    weights = backbones.find_weights("efficientnet_lite0")
    backbones.save_model(path, backbones.pretrained(weights, num_classes=2, image_size_px=224))
    return path


def start(model: Path, table: Path, out: Path, more: list[str]) -> subprocess.Popen:
    """Begin, or go on with, the scoring of a list."""
    command = [sys.executable, "-m", "helpers.score", "--model", model, "--images", table]
    return subprocess.Popen(
        [*command, "--out", out, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def finish(process: subprocess.Popen) -> float:
    """Wait for a scoring to end well; its peak MiB."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{process.args} ended with {process.returncode}")
    return usage.ru_maxrss * MIB_PER_MAXRSS


def kill_at(process: subprocess.Popen, out: Path, position: int) -> None:
    """Kill a scoring, at any moment, once so many images are done."""
    while process.poll() is None:
        progress = load_progress(out)
        if progress and progress.position >= position:
            time.sleep(random.uniform(0, 1))
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()


def measure(model: Path, files: list[Path], folder: Path, kills: int, more: list[str]) -> dict:
    """Score a list undisturbed and killed; what both took, and whether the results are equal."""
    n = len(files)
    table, plain, killed = (folder / f"{n}-{name}.csv" for name in ("list", "plain", "killed"))
    with table.open("w", encoding="utf-8", newline="") as handle:
        csv.writer(handle).writerows([["path"], *([file.absolute()] for file in files)])
    began = time.perf_counter()
    mib = finish(start(model, table, plain, more))
    seconds = time.perf_counter() - began
    began, survived = time.perf_counter(), 0
    for position in sorted(random.randrange(n) for _ in range(kills)):
        process = start(model, table, killed, more)
        kill_at(process, killed, position)
        survived += process.returncode != -signal.SIGKILL
    finish(start(model, table, killed, more))
    return {
        "images": n,
        "seconds": seconds,
        "images_per_s": n / seconds,
        "peak_mib": mib,
        "kills": kills - survived,
        "killed_seconds": time.perf_counter() - began,
        "whole": complete(plain, n) and plain.read_bytes() == killed.read_bytes(),
    }


def complete(out: Path, n: int) -> bool:
    """Whether each of n images has one line, here or among the unreadable ones."""
    paths = list(_paths(out)) + list(_paths(out.with_name(f"{out.stem}.unreadable.csv")))
    return len(paths) == len(set(paths)) == n


def _paths(file: Path) -> Iterator[str]:
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as handle:
            yield from (row["path"] for row in csv.DictReader(handle))


def main() -> None:
    """Print one line per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[3_000, 30_000])
    parser.add_argument("--images", type=Path, help="a folder; default: made-up 280x280 BMP files")
    parser.add_argument("--model", type=Path, help="default: EfficientNet-Lite0 at 224 px")
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--json", help="also write the numbers to this file")
    options, more = parser.parse_known_args()
    print(seeding.device_name(seeding.default_device()))
    print("images  seconds  images/s  peak MiB  kills  seconds  whole and equal")
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        model = options.model or make_model(folder / "model.safetensors")
        if options.images:
            files = image_files(options.images)
        else:
            files = make_images(folder / "images", max(options.sizes))
        for n in options.sizes:
            if n > len(files):
                raise SystemExit(f"{options.images} holds {len(files)} images, not {n}")
            row = measure(model, files[:n], folder, options.kills, more)
            rows.append(row)
            print(
                f"{n:6}  {row['seconds']:7.1f}  {row['images_per_s']:8.1f}  "
                f"{row['peak_mib']:8.0f}  {row['kills']:5}  {row['killed_seconds']:7.1f}  "
                f"{'yes' if row['whole'] else 'NO'}",
                flush=True,
            )
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=2)


if __name__ == "__main__":
    main()
