"""A small run for tests of faults: a split, a trained network, features and a cell."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers.commands import run
from helpers.core import paths
from helpers.core.members import Member
from helpers.darts import genotypes
from helpers.datasets import cache as images
from helpers.models import backbones
from helpers.runs import stages
from helpers.training import features, trained
from tests import faults

FINETUNING = "03_finetuning"
OPTIONS = {"RUN": "t", "CNN_IMAGE_SIZE_PX": 16, "IMAGE_SIZE_PX": 16, "CNN_EPOCHS": 2}


def split_command(parts: Path, *more: str) -> list[str]:
    """Return the arguments of `helpers.run` for notebook 01."""
    options = ["-p", "VAL_PER_CLASS=10", "-p", "IMAGE_SIZE_PX=16", *more]
    data = ["--dataset", f"folder:{parts}", "--preset", "smoke", "--name", "t", "--only", "01"]
    return [*data, *options]


def run_split(parts: Path, *more: str) -> int:
    """Run notebook 01 without a kernel and return the exit code."""
    with faults.in_this_process(quick=True):
        return run.main(split_command(parts, *more))


def train(stage: stages.Stage, seed: int = 0, before_epoch=None, **options) -> trained.Trained:
    """Train the two-layer CNN on the run's images; `before_epoch(network, epoch)` disturbs it."""
    (found,) = train_members(stage, [Member(seed)], before_epoch, **options)
    return found


def train_members(
    stage: stages.Stage, members: list[Member], before_epoch=None, **options
) -> list[trained.Trained]:
    """Train the two-layer CNN on the run's images once for each member."""
    cache = stage.images(16)

    def build(seed: int) -> backbones.TwoLayerCNN:
        torch.manual_seed(0)
        spec = backbones.spec_of("cnn", 2, 16, cache.channels)
        network = backbones.TwoLayerCNN(spec, hidden=20)
        if before_epoch:
            network.before_epoch = lambda epoch, epochs: before_epoch(network, epoch)
        return network

    recipe = trained.Recipe("cnn", build, stage.settings.cnn, {"architecture": "cnn"}, **options)
    return trained.train_model(stage, recipe, cache, members)


def make_run(place: Path) -> Path:
    """Make a home with a split, a trained network, features and a cell; its images beside it."""
    faults.write_images(place / "parts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(paths.HOME_VARIABLE, str(place / "home"))
        assert run_split(place / "parts") == 0
        make_files(stages.begin(FINETUNING, OPTIONS))
    return place


def make_files(stage: stages.Stage) -> None:
    """Write what a stage leaves, each file by a step of its own."""
    train(stage)
    ids = stage.split.id.to_numpy(dtype=str)
    made = features.Features(ids, np.arange(2 * len(ids), dtype=np.float32).reshape(-1, 2))
    stage.once(
        "features",
        {},
        lambda features_file: features.save_features(features_file, made),
        features_file=stage.paths.features("net"),
    )
    cell = genotypes.PUBLISHED["DARTS_V2"]
    stage.once(
        "search",
        {},
        lambda genotype: genotypes.save(genotype, cell, {"method": "none"}),
        genotype=stage.paths.genotype("searched"),
    )
    stage.finish()


def run_file(home: Path, name: str) -> Path:
    """Return the only file of the run or its cache with this name pattern."""
    found = sorted((home / "data").rglob(name))
    assert len(found) == 1, found
    return found[0]


def change_a_byte(path: Path) -> None:
    """Change a byte in the middle; keep the length and the times."""
    before, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    images._digest_once.cache_clear()  # as in a new process


def cut(path: Path) -> None:
    """Keep the first half alone."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
