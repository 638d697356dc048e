"""A small run for tests: a split and a trained network."""

import dataclasses
import functools
import os
from pathlib import Path

import pandas as pd
import pytest
import torch

from helpers import runs
from helpers.commands import run
from helpers.core import files, paths
from helpers.core.members import Member
from helpers.datasets import cache as images
from helpers.models import backbones
from helpers.models.record import Model
from helpers.runs import workers
from helpers.runs.run import Run
from helpers.training.fit import Fitted, trainings
from tests import faults

FINETUNING = "03_finetuning"
OPTIONS = {"RUN": "t", "CNN_IMAGE_SIZE_PX": 16, "IMAGE_SIZE_PX": 16, "CNN_EPOCHS": 2}


def run_split(parts: Path, *more: str) -> int:
    """Run notebook 01 without a kernel and return the exit code."""
    options = ["-p", "VAL_PER_CLASS=10", "-p", "IMAGE_SIZE_PX=16", *more]
    data = ["--dataset", f"folder:{parts}", "--preset", "smoke", "--name", "t", "--only", "01"]
    with faults.in_this_process():
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
        patch.setenv(workers.LIMIT, "1")
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


def make_run(place: Path) -> Path:
    """Make a home with a split and a trained network; its images are beside it."""
    faults.write_images(place / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(place / "home"))
        assert run_split(place / "parts") == 0
        run = runs.open(FINETUNING, OPTIONS)
        train(run)
        run.finish()
    return place


def change_a_byte(path: Path) -> None:
    """Change a byte in the middle; keep the length and the times."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    images._digest_once.cache_clear()  # as in a new process
