"""A small run for tests of faults: a split, a trained network, features and a cell."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from helpers.commands import run
from helpers.core import paths
from helpers.darts import genotypes
from helpers.datasets import cache as images
from helpers.models import backbones
from helpers.runs import predictions, stages
from helpers.training import features, trained
from tests import faults

FINETUNING = "03_finetuning"
OPTIONS = {"RUN": "t", "CNN_IMAGE_SIZE_PX": 16, "IMAGE_SIZE_PX": 16, "CNN_EPOCHS": 2}


def split_command(parts: Path, *more: str) -> list[str]:
    """The arguments of `helpers.run` for notebook 01."""
    options = ["-p", "VAL_PER_CLASS=10", "-p", "IMAGE_SIZE_PX=16", *more]
    data = ["--dataset", f"folder:{parts}", "--preset", "smoke", "--name", "t", "--only", "01"]
    return [*data, *options]


def run_split(parts: Path, *more: str) -> int:
    """Run notebook 01 without a kernel; the exit code."""
    with faults.in_this_process(quick=True):
        return run.main(split_command(parts, *more))


def train(stage: stages.Stage, **options) -> trained.Trained:
    """The two-layer CNN on the run's images."""
    split = predictions.read_split(stage.paths)
    return trained.train_once(stage, "cnn", *small_network(stage, split), seed=0, **options)


def small_network(stage: stages.Stage, split: pd.DataFrame) -> tuple:
    cache = features.cache_of(split, 16)
    torch.manual_seed(0)
    model = backbones.TwoLayerCNN(backbones.spec_of("cnn", 2, 16, cache.channels), hidden=20)
    return model, split, cache, stage.settings.cnn


def make_run(place: Path) -> Path:
    """A home with a split, a trained network, features and a cell, and its images beside it."""
    faults.write_images(place / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(place / "home"))
        assert run_split(place / "parts") == 0
        make_files(stages.begin(FINETUNING, OPTIONS))
    return place


def make_files(stage: stages.Stage) -> None:
    """What a stage leaves, each file by a step of its own."""
    train(stage)
    ids = predictions.read_split(stage.paths).id.to_numpy(dtype=str)
    made = features.Features(ids, np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2))
    with stage.step("features", {}, [stage.paths.features("net")]) as needed:
        if needed:
            features.save_features(stage.paths.features("net"), made)
    with stage.step("search", {}, [stage.paths.genotype("searched")]) as needed:
        if needed:
            cell = genotypes.PUBLISHED["DARTS_V2"]
            genotypes.save(stage.paths.genotype("searched"), cell, {"method": "none"})
    stage.finish()


def run_file(home: Path, name: str) -> Path:
    """A file of the run; the only one of its name pattern in the cache where it lies there."""
    found = sorted((home / "data").rglob(name))
    assert len(found) == 1, found
    return found[0]


def change_a_byte(path: Path) -> None:
    """Another byte in the middle, the length and the times as they were."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    images._digest_once.cache_clear()  # as in a new process


def cut(path: Path) -> None:
    """The first half alone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
