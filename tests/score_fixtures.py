"""A folder of images and a model, for the tests of scoring."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from helpers.commands import score
from helpers.core import devices, files
from helpers.datasets import cache, decoding
from helpers.models import backbones
from helpers.training import inference
from helpers.training.features import image_batches

SIZE_PX = 16


def make_model(path: Path, seed: int = 0, **options) -> Path:
    """Save an untrained two-layer CNN."""
    torch.manual_seed(seed)
    spec = backbones.spec_of("cnn", options.pop("num_classes", 2), SIZE_PX, **options)
    backbones.save_model(path, backbones.build(spec), precision="no")
    return path


def command(folder: Path, *more: str, images: str = "parts") -> list[str]:
    """Return the arguments that score `folder`/parts into `folder`/scores.csv."""
    images = str(folder / images)
    model, out = str(folder / "m.safetensors"), str(folder / "scores.csv")
    return ["--model", model, "--images", images, "--out", out, *more]


def scores(folder: Path, name: str = "scores.csv") -> pd.DataFrame:
    """Return the scores by path."""
    frame = files.load_csv(folder / name, ("path", "id", "defect_score"))
    return frame.set_index("path")


def both(folder: Path, name: str = "scores") -> list[bytes]:
    """Return the bytes of the scores and of the list of unreadable files."""
    return [(folder / f"{name}{kind}.csv").read_bytes() for kind in ("", ".unreadable")]


def by_the_series(folder: Path, views: int = 1, fit: decoding.Fit = "squash") -> pd.Series:
    """Return what the series itself predicts, by path below `folder`/parts."""
    root = folder / "parts"
    found = sorted(p for p in root.rglob("*") if p.is_file())
    table = pd.DataFrame({"id": [p.relative_to(root).as_posix() for p in found], "path": found})
    cached = cache.open_cache(table, SIZE_PX, folder / "cache", True, fit)
    table = table[table.id.isin(cached.table.id)].assign(label=0)
    model = backbones.load_model(folder / "m.safetensors").to(devices.default_device())
    batches = image_batches(cached, table, model, 8)
    return pd.Series(inference.predict(model, batches, "no", views), index=table.id)


@pytest.fixture
def folder(tmp_path, parts_folder, monkeypatch) -> Path:
    """120 images and a model; parts of 16 images."""
    monkeypatch.setattr(score, "PART_IMAGES", 16)
    make_model(tmp_path / "m.safetensors")
    return tmp_path


def save(path: Path, *shape: int, high: int = 256, dtype: type = np.uint8) -> None:
    """Save an image of noise."""
    pixels = np.random.default_rng(1).integers(0, high, shape).astype(dtype)
    Image.fromarray(pixels).save(path)
